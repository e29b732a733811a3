//! Connections to servers: one request at a time, the answer's head, and its body as a stream.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, StatusCode};

use super::body::{Body, Unsent};
use super::fields::Fields;
use super::h1;
use super::h1::head::{self, Framing, ResponseIndex};
use super::h1::incoming::{Broken, Incoming, Piece, Step};
use super::h1::sink::{Coding, Sink, decimal};
use super::h1::wire::Wire;
use super::idle::Idle;
use super::known::Known;
use super::message::{RequestHead, ResponseHead};
use super::patience::Patience;
use super::turn::after_others;
use crate::net::Stream;

/// Bytes of a response's head.
const LARGEST_HEAD: usize = 64 << 10;

/// Interim heads before an answer's own. A server that says for an hour that it is at work (102) says so every 20 seconds.
pub(super) const MOST_INTERIM: u32 = 200;

/// Bytes of the read that a head is expected in. What comes behind it is copied once more, so it is not a whole scratch
/// buffer; HAProxy's `tune.bufsize`.
const HEAD_READ: usize = 16 << 10;

/// A connection that can take a request.
pub struct Connection {
    wire: Rc<Wire>,
}

/// A request's head on its way out.
pub trait Outgoing {
    fn method(&self) -> &Method;
    /// Whether it says how long the body is.
    fn has_length(&self) -> bool;
    /// Writes the request line and the fields, each line with its CRLF; what frames the body and the empty line are ours.
    fn write(&self, out: &mut Vec<u8>);
}

/// A server's answer.
pub struct Answer {
    pub head: ResponseHead,
    pub body: Body,
    /// With status 101.
    pub upgrade: Option<Upgrade>,
}

/// A connection that has changed its protocol.
pub struct Upgrade(Connection);

/// There is no answer.
#[derive(Debug)]
pub struct NoAnswer {
    pub why: Why,
    /// Something had come of it.
    pub begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The server closed or reset the connection.
    Closed,
    /// It says that it has not so much as looked at the request.
    Refused,
    /// What came is no HTTP response.
    Invalid,
    /// The request can't be said in the server's protocol: nothing of it was sent.
    Unsayable,
    /// The request's body broke off.
    RequestBroken,
}

/// A response's body, and what is still on its way to the server.
pub struct Reply {
    incoming: Incoming,
    sending: Sending,
    /// None: it can't be used again.
    back: Option<(Connection, Rc<Idle>)>,
}

/// A request on its way out.
struct Sending {
    sink: Sink,
    body: Body,
    ended: bool,
    /// None: whoever sends it has a deadline of its own.
    patience: Option<Patience>,
}

impl Connection {
    /// Takes a connected socket over.
    pub fn open(socket: impl Into<Stream>) -> Connection {
        Connection {
            wire: Rc::new(Wire::new(socket.into(), None)),
        }
    }

    /// Whether the server has kept it open, and silent, as far as is known.
    pub fn is_ready(&self) -> bool {
        self.wire.is_quiet()
    }

    /// Sends a request. The connection goes back to `home` once the answer has been read. Dropping the future closes it.
    pub async fn send(
        self,
        home: Rc<Idle>,
        request: &impl Outgoing,
        body: Body,
        upgrade: bool,
        patience: Option<Patience>,
        interim: impl Fn(ResponseHead),
    ) -> Result<Answer, NoAnswer> {
        after_others().await;
        let before = self.wire.bytes_read();
        let coding = if body.length().is_none() {
            Coding::Chunked
        } else {
            Coding::Plain
        };
        let mut sending = Sending {
            sink: Sink::new(coding),
            body,
            ended: false,
            patience,
        };
        let mut begun = Begun::default();
        let mut unsent = Some(request);
        let wire = self.wire.clone();
        let answer = poll_fn(|cx| {
            let sent = match unsent.take() {
                Some(request) => sending.begin(&wire, cx, request),
                None => sending.poll(&wire, cx),
            };
            match sent {
                Poll::Ready(Err(Unsent::Body)) => return Poll::Ready(Err(Why::RequestBroken)),
                Poll::Ready(Err(Unsent::Peer)) => sending.give_up(),
                _ => {}
            }
            poll_head(&wire, cx, &mut begun, &interim)
        })
        .await;
        let (head, index, have) = match answer {
            Ok(answer) => answer,
            Err(why) => {
                return Err(NoAnswer {
                    why,
                    begun: wire.bytes_read() != before,
                });
            }
        };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // One that nobody asked for, or within a request: the rest of it would be taken for the new protocol (RFC 9110, 7.8).
            if !upgrade || !sending.is_done() {
                return Err(NoAnswer {
                    why: Why::Invalid,
                    begun: true,
                });
            }
            wire.keep(&have);
            return Ok(Answer {
                head,
                body: Body::empty(),
                upgrade: Some(Upgrade(self)),
            });
        }
        let bodiless = *request.method() == Method::HEAD || head.is_bodiless();
        let framing = if bodiless {
            Framing::Length(0)
        } else {
            index.framing
        };
        let incoming = Incoming::new(framing, !bodiless, have, wire);
        let until_close = framing == Framing::Unsaid;
        let back = (index.keep_alive && !until_close).then_some((self, home));
        let body = Body::from_server(Reply {
            incoming,
            sending,
            back,
        });
        Ok(Answer {
            head,
            body,
            upgrade: None,
        })
    }
}

impl Upgrade {
    /// The socket, and what was read of the new protocol already. None: it is gone.
    pub async fn socket(self) -> Option<(Stream, Vec<u8>)> {
        let rest = self.0.wire.take_rest();
        let wire = Rc::try_unwrap(self.0.wire).ok()?;
        Some((wire.into_socket(), rest))
    }
}

type Whole = (ResponseHead, ResponseIndex, Vec<u8>);

/// What has come of an answer whose head is not whole.
#[derive(Default)]
struct Begun {
    partial: Vec<u8>,
    interim: u32,
}

/// A response's head; interim ones before it are told (RFC 9110, 15.2).
fn poll_head(
    wire: &Wire,
    cx: &mut Context<'_>,
    begun: &mut Begun,
    tell: &impl Fn(ResponseHead),
) -> Poll<Result<Whole, Why>> {
    let Begun { partial, interim } = begun;
    loop {
        let read = ready!(wire.poll_read(cx, HEAD_READ, |bytes| {
            if bytes.is_empty() {
                return Err(Why::Closed);
            }
            if partial.is_empty() {
                let (whole, used) = heads(bytes, interim, tell)?;
                if whole.is_none() {
                    partial.extend_from_slice(&bytes[used..]);
                }
                return Ok(whole);
            }
            partial.extend_from_slice(bytes);
            let (whole, used) = heads(partial, interim, tell)?;
            partial.drain(..used);
            Ok(whole)
        }));
        match read {
            Ok(Ok(Some(whole))) => return Poll::Ready(Ok(whole)),
            Ok(Ok(None)) => {}
            Ok(Err(why)) => return Poll::Ready(Err(why)),
            Err(_) => return Poll::Ready(Err(Why::Closed)),
        }
    }
}

/// The final head in these bytes, if it is whole, and how many bytes of interim ones are done with.
fn heads(
    bytes: &[u8],
    interim: &mut u32,
    tell: &impl Fn(ResponseHead),
) -> Result<(Option<Whole>, usize), Why> {
    let mut used = 0;
    h1::with_index(|index| {
        loop {
            let rest = &bytes[used..];
            let head = &rest[..rest.len().min(LARGEST_HEAD)];
            let found = match head::response(head, index).map_err(|_| Why::Invalid)? {
                Some(found) => found,
                None if rest.len() > LARGEST_HEAD => return Err(Why::Invalid),
                None => return Ok((None, used)),
            };
            if (100..200).contains(&found.status) && found.status != 101 {
                *interim += 1;
                if *interim > MOST_INTERIM {
                    return Err(Why::Invalid);
                }
                // What `Expect: 100-continue` asked for we have said ourselves.
                if found.status != 100 {
                    tell(response_head(&rest[..found.end], &found, index)?);
                }
                used += found.end;
                continue;
            }
            let have = rest[found.end..].to_vec();
            let head = response_head(&rest[..found.end], &found, index)?;
            return Ok((Some((head, found, have)), used));
        }
    })
}

/// The head that these bytes begin with, and how long it is.
pub(super) fn head_in(bytes: &[u8]) -> Option<(ResponseHead, usize)> {
    h1::with_index(|index| {
        let found = head::response(bytes, index).ok()??;
        let head = response_head(&bytes[..found.end], &found, index).ok()?;
        Some((head, found.end))
    })
}

fn response_head(
    bytes: &[u8],
    found: &ResponseIndex,
    index: &[head::FieldAt],
) -> Result<ResponseHead, Why> {
    let status = StatusCode::from_u16(found.status).map_err(|_| Why::Invalid)?;
    let reason = &bytes[found.reason.start as usize..found.reason.end as usize];
    let usual = status.canonical_reason().unwrap_or_default().as_bytes();
    let reason = (reason != usual).then(|| Bytes::copy_from_slice(reason));
    Ok(ResponseHead {
        status,
        reason,
        fields: Fields::of_head(bytes, index),
    })
}

impl Sending {
    /// Writes the head, with what there is of the body.
    fn begin(
        &mut self,
        wire: &Wire,
        cx: &mut Context<'_>,
        head: &impl Outgoing,
    ) -> Poll<Result<(), Unsent>> {
        let Sending { sink, body, .. } = self;
        let step = sink.send(wire, cx, |gather, cx| {
            write_head(head, body, gather.out);
            gather.step(body, cx).0
        });
        match self.note(step) {
            Poll::Ready(Ok(())) => self.poll(wire, cx),
            other => other,
        }
    }

    fn poll(&mut self, wire: &Wire, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        loop {
            ready!(self.poll_flush(wire, cx)).map_err(|_| Unsent::Peer)?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            let Sending { sink, body, .. } = self;
            let step = sink.send(wire, cx, |gather, cx| gather.step(body, cx).0);
            ready!(self.note(step))?;
        }
    }

    fn poll_flush(&mut self, wire: &Wire, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let flushed = self.sink.poll_flush(wire, cx);
        match &mut self.patience {
            Some(patience) if flushed.is_pending() => patience.blocked(self.sink.left()),
            Some(patience) => patience.taken(),
            None => {}
        }
        flushed
    }

    fn note(
        &mut self,
        step: std::io::Result<Poll<Result<Step, Broken>>>,
    ) -> Poll<Result<(), Unsent>> {
        match step {
            Err(_) => Poll::Ready(Err(Unsent::Peer)),
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Err(Broken))) => Poll::Ready(Err(Unsent::Body)),
            Ok(Poll::Ready(Ok(step))) => {
                self.ended |= step == Step::Ended;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// The server takes no more.
    fn give_up(&mut self) {
        self.body = Body::empty();
        self.sink = Sink::new(Coding::Plain);
        self.ended = true;
    }

    fn is_done(&self) -> bool {
        self.ended && self.sink.is_empty()
    }
}

impl RequestHead {
    /// Our own version: what the client speaks is between it and us (RFC 9110, 2.5).
    pub fn write_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
    }
}

impl Outgoing for RequestHead {
    fn method(&self) -> &Method {
        &self.method
    }

    fn has_length(&self) -> bool {
        self.fields.first_of(Known::ContentLength).is_some()
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.write_line(out);
        self.fields.write(out, |_| false);
    }
}

fn write_head(head: &impl Outgoing, body: &Body, out: &mut Vec<u8>) {
    head.write(out);
    match body.length() {
        None => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Some(length) if length > 0 && !head.has_length() => {
            out.extend_from_slice(b"content-length: ");
            decimal(length, out);
            out.extend_from_slice(b"\r\n");
        }
        Some(_) => {}
    }
    out.extend_from_slice(b"\r\n");
}

impl Reply {
    pub(super) fn is_settled(&self) -> bool {
        self.incoming.is_done() && self.sending.is_done()
    }

    pub(super) fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.sending.is_done() {
            return Poll::Ready(true);
        }
        let Some((connection, _)) = &self.back else {
            return Poll::Ready(false);
        };
        let wire = connection.wire.clone();
        self.sending.poll(&wire, cx).map(|sent| sent.is_ok())
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.incoming.length()
    }

    pub(super) fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Piece<'_>),
    ) -> Poll<Result<Step, Broken>> {
        // The request goes on while its answer has begun already.
        if !self.sending.is_done() && self.back.is_some() {
            let wire = self
                .back
                .as_ref()
                .map(|(connection, _)| connection.wire.clone());
            let sent = wire.map(|wire| self.sending.poll(&wire, cx));
            if let Some(Poll::Ready(Err(_))) = sent {
                self.sending.give_up();
                self.back = None;
            }
        }
        self.incoming.poll_step(cx, take)
    }
}

impl Drop for Reply {
    /// Read to its end, the connection can be used again.
    fn drop(&mut self) {
        let done = self.is_settled();
        if let Some((connection, home)) = self.back.take().filter(|_| done) {
            // Bytes that nobody asked for would be taken for the next answer.
            if !connection.wire.has_rest() {
                home.put(connection);
            }
        }
    }
}
