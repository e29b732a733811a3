//! An answer on its way to the client, and who is told how that ended.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use super::body::Body;
use super::h1::incoming::{Broken, Step};
use super::h1::sink::{Coding, Sink, decimal};
use super::h1::wire::Wire;
use super::known::Known;
use super::link::{Blame, Link, Phase};
use super::message::ResponseHead;
use super::taking::Taking;

/// Told how an answer ended. Called once.
pub trait Ledger {
    fn ended(&mut self, ending: Ending);
}

pub struct Ending {
    /// None: it was delivered whole.
    pub broken: Option<Blame>,
    /// The answer itself was complete; what broke was its last way to the client.
    pub complete: bool,
    pub at: Instant,
    /// To the client, head and framing included.
    pub bytes_out: u64,
    pub body_bytes_out: u64,
    /// Of the request's body.
    pub bytes_in: u64,
}

/// An answer on its way to the client. Dropped before its end, it has failed.
pub(super) struct Delivery {
    ledger: Option<Box<dyn Ledger>>,
    link: Rc<Link>,
    /// What had been written to the client before.
    before: u64,
    pub(super) body: u64,
    pub(super) complete: bool,
}

/// A response on its way out.
pub(super) struct Outgoing {
    body: Body,
    sink: Sink,
    coding: Framed,
    /// The connection can take another request.
    pub keep: bool,
    version: http::Version,
    pub upgraded: bool,
    between_bytes: Duration,
    taking: Taking,
}

/// How the client learns where the body ends.
#[derive(Clone, Copy, PartialEq)]
enum Framed {
    /// There is none.
    Bodiless,
    Length(u64),
    Chunked,
    UntilClose,
}

/// Has an interim answer (103, 102) sent to the client before the final one (RFC 9110, 15.2). Its hop-by-hop fields are gone.
pub fn send_ahead(link: &Link, mut head: ResponseHead) {
    // It has no body to be long (RFC 9110, 8.6).
    head.fields.remove(&CONTENT_LENGTH);
    link.say_ahead(|out| {
        write_status(&head, out);
        head.fields.write(out, |_| false);
        out.extend_from_slice(b"\r\n");
    });
}

/// Writes what is to go ahead of the answer, as far as the client takes it.
pub(super) fn poll_ahead(wire: &Wire, link: &Link, cx: &mut Context<'_>) {
    let mut ahead = link.take_ahead();
    while !ahead.is_empty() {
        match wire.poll_write(cx, &ahead) {
            Poll::Ready(Ok(written)) if written > 0 => drop(ahead.drain(..written)),
            // One that has gone away is met again when the answer is written.
            _ => break,
        }
    }
    if wire.holds() {
        let _ = wire.poll_flush(cx);
    }
    link.keep_ahead(ahead);
}

impl Outgoing {
    pub fn new(
        head: &ResponseHead,
        body: Body,
        to_head: bool,
        version: http::Version,
        keep: bool,
        between_bytes: Duration,
    ) -> Outgoing {
        let coding = match body.length() {
            _ if to_head || head.is_bodiless() => Framed::Bodiless,
            Some(length) => Framed::Length(length),
            None if version == http::Version::HTTP_10 => Framed::UntilClose,
            None => Framed::Chunked,
        };
        let sink = Sink::new(if coding == Framed::Chunked {
            Coding::Chunked
        } else {
            Coding::Plain
        });
        let mut body = body;
        if coding == Framed::Bodiless {
            body.withhold();
        }
        let keep = keep && coding != Framed::UntilClose;
        Outgoing {
            body,
            sink,
            coding,
            keep,
            version,
            upgraded: false,
            between_bytes,
            taking: Taking::default(),
        }
    }

    /// False: it broke off.
    pub async fn deliver(
        &mut self,
        wire: &Wire,
        link: &Link,
        head: &ResponseHead,
        delivery: &mut Delivery,
    ) -> bool {
        link.enter(Phase::Delivery, link.limits().body);
        self.sink.begin_with(link.take_ahead());
        let mut head = Some(head);
        let mut ended = false;
        poll_fn(|cx| {
            let late = match link.take_expired() {
                Some(Phase::ResponseBody) => Some(Blame::ServerTimeout),
                Some(Phase::Delivery) => self.taking.judge(wire, link),
                _ => None,
            };
            if let Some(blame) = late {
                link.blame(blame);
                return Poll::Ready(false);
            }
            loop {
                match self.sink.poll_flush(wire, cx) {
                    Poll::Ready(Ok(())) if ended => return Poll::Ready(true),
                    Poll::Ready(Ok(())) => self.taking.flows(wire, link),
                    Poll::Ready(Err(_)) => {
                        link.blame(Blame::Client);
                        return Poll::Ready(false);
                    }
                    Poll::Pending => {
                        self.taking.blocked(wire, link);
                        return Poll::Pending;
                    }
                }
                match self.step(wire, cx, head.take(), delivery) {
                    Ok(Poll::Ready(Ok(Step::Ended))) => {
                        ended = true;
                        delivery.complete = true;
                    }
                    Ok(Poll::Ready(Ok(Step::More))) => {
                        if link.phase() == Phase::ResponseBody {
                            link.enter(Phase::Delivery, link.limits().body);
                        }
                    }
                    Ok(Poll::Ready(Err(Broken))) => {
                        link.blame(Blame::Server);
                        return Poll::Ready(false);
                    }
                    Ok(Poll::Pending) if !self.sink.is_empty() => {}
                    Ok(Poll::Pending) => {
                        if link.phase() != Phase::ResponseBody {
                            link.enter(Phase::ResponseBody, self.between_bytes);
                        }
                        return Poll::Pending;
                    }
                    Err(_) => {
                        link.blame(Blame::Client);
                        return Poll::Ready(false);
                    }
                }
            }
        })
        .await
    }

    /// After the answer: the rest of a request that came more slowly than it. False: it broke off, or took too long.
    pub async fn settle(&mut self, link: &Link) -> bool {
        poll_fn(|cx| {
            if link.take_expired().is_some() {
                return Poll::Ready(false);
            }
            if let Poll::Ready(settled) = self.body.poll_settle(cx) {
                return Poll::Ready(settled);
            }
            if !link.awaits_answer() {
                link.enter(Phase::RequestBody, link.limits().body);
            }
            Poll::Pending
        })
        .await
    }

    /// The head, if it is still to go, and one step of the body.
    fn step(
        &mut self,
        wire: &Wire,
        cx: &mut Context<'_>,
        head: Option<&ResponseHead>,
        delivery: &mut Delivery,
    ) -> std::io::Result<Poll<Result<Step, Broken>>> {
        let Outgoing {
            body,
            sink,
            coding,
            keep,
            version,
            upgraded,
            ..
        } = self;
        let (coding, keep, version, upgraded) = (*coding, *keep, *version, *upgraded);
        sink.send(wire, cx, |gather, cx| {
            if let Some(head) = head {
                write_head(head, coding, keep, version, upgraded, gather.out);
            }
            let (step, bytes) = gather.step(body, cx);
            delivery.body += bytes;
            step
        })
    }
}

fn write_status(head: &ResponseHead, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    match &head.reason {
        Some(reason) => out.extend_from_slice(reason),
        None => out.extend_from_slice(
            head.status
                .canonical_reason()
                .unwrap_or_default()
                .as_bytes(),
        ),
    }
    out.extend_from_slice(b"\r\n");
}

fn write_head(
    head: &ResponseHead,
    coding: Framed,
    keep: bool,
    version: http::Version,
    upgraded: bool,
    out: &mut Vec<u8>,
) {
    write_status(head, out);
    head.fields.write(out, |_| false);
    match coding {
        Framed::Length(length) if head.fields.first_of(Known::ContentLength).is_none() => {
            out.extend_from_slice(b"content-length: ");
            decimal(length, out);
            out.extend_from_slice(b"\r\n");
        }
        Framed::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        _ => {}
    }
    debug_assert!(
        !head.fields.contains(&TRANSFER_ENCODING),
        "hop-by-hop fields are gone"
    );
    if upgraded {
        // What it says of the connection stands among its fields.
    } else if !keep {
        out.extend_from_slice(b"connection: close\r\n");
    } else if version == http::Version::HTTP_10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

impl Delivery {
    pub fn new(ledger: Box<dyn Ledger>, link: &Rc<Link>) -> Delivery {
        Delivery {
            ledger: Some(ledger),
            link: link.clone(),
            before: link.traffic().1,
            body: 0,
            complete: false,
        }
    }

    /// The last byte has been handed to the kernel.
    pub fn ended_well(mut self, at: Instant) {
        self.tell(None, at);
    }

    fn tell(&mut self, broken: Option<Blame>, at: Instant) {
        let Some(mut ledger) = self.ledger.take() else {
            return;
        };
        ledger.ended(Ending {
            broken,
            complete: self.complete,
            at,
            bytes_out: self.link.traffic().1 - self.before,
            body_bytes_out: self.body,
            bytes_in: self.link.body_read(),
        });
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.ledger.is_some() {
            self.tell(Some(self.link.blamed()), Instant::now());
        }
    }
}
