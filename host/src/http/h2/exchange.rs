//! One stream: its head becomes a request, `Service` answers it, and the answer goes out; or it is upgraded and passes bytes both
//! ways. It ends as a connection of HTTP/1.1 would with one request on it, and is told of in the same words.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use super::frame::Reason;
use super::incoming::Incoming;
use super::out::Out;
use super::request::Read;
use super::server::Shared;
use super::stream::Stream;
use super::tunnel::Tunnelled;
use super::{fields, websocket};
use crate::base::in_place;
use crate::http::body::{Body, FromClient, Unsent};
use crate::http::client;
use crate::http::delivery::Delivery;
use crate::http::h1;
use crate::http::h1::incoming::Step;
use crate::http::link::{Blame, Closing, Link, Phase};
use crate::http::message::ResponseHead;
use crate::http::pace::{Pace, SHORTEST};
use crate::http::server::{Request, Response, Service, Tunnel, Unreadable};
use crate::http::tunnel;

/// A stream is over when its task is.
struct Place<S> {
    shared: Rc<Shared<S>>,
    stream: Rc<Stream>,
    link: Rc<Link>,
    answered: Cell<bool>,
}

pub(super) fn spawn<S: Service + 'static>(
    shared: &Rc<Shared<S>>,
    stream: Rc<Stream>,
    request: Result<Read, Unreadable>,
) {
    let began = Instant::now();
    let link = Link::of_stream(shared.link.limits().clone());
    shared.enter(stream.id, &link);
    let place = Place {
        shared: shared.clone(),
        stream,
        link,
        answered: Cell::new(false),
    };
    // Boxed: what is spawned is moved into its task.
    let run = in_place(|| run(place, request, began));
    tokio::task::spawn_local(Box::into_pin(run));
}

async fn run<S: Service>(place: Place<S>, request: Result<Read, Unreadable>, began: Instant) {
    // Reset before it was looked at, it costs nobody anything.
    if place.stream.cause().is_some() {
        return;
    }
    let (service, link) = (&place.shared.service, &place.link);
    let exchange = exchange(service, link, &place.stream, request, began);
    let answered = drive(pin!(exchange), link).await;
    place.answered.set(answered.unwrap_or(true));
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        self.stream.conn.forget(&self.stream, Reason::CANCEL);
        self.shared.ended(self.stream.id, !self.answered.get());
    }
}

/// Runs the stream, and ends it when it is to end. None: it was cut.
async fn drive<T>(mut stream: Pin<&mut impl Future<Output = T>>, link: &Link) -> Option<T> {
    poll_fn(|cx| {
        link.owner(cx.waker());
        loop {
            if let Poll::Ready(end) = stream.as_mut().poll(cx) {
                return Poll::Ready(Some(end));
            }
            if link.closing() == Closing::Cut {
                return Poll::Ready(None);
            }
            let Some(late) = link.late() else {
                return Poll::Pending;
            };
            link.expire(late);
        }
    })
    .await
}

/// False: the client reset it before it was answered.
async fn exchange<S: Service>(
    service: &S,
    link: &Rc<Link>,
    stream: &Rc<Stream>,
    request: Result<Read, Unreadable>,
    began: Instant,
) -> bool {
    let mut out = Out::new(stream.clone(), Some(link.clone()));
    let read = match request {
        Ok(read) => read,
        Err(why) => {
            let response = service.unreadable(why, began, link);
            return answer(link, out, response, false).await;
        }
    };
    let h1::request::Heard { head, expects, .. } = *read.heard;
    let bodiless = head.method == Method::HEAD;
    let body = match read.key {
        Some(_) => Body::empty(),
        None => body(stream, expects, link),
    };
    let answered = {
        // What the answer needs takes its place.
        let call = pin!(service.call(Request {
            head,
            body,
            began,
            // It came whole.
            read: began,
            link: link.clone(),
        }));
        while_there(&mut out, link, call).await
    };
    let Some(response) = answered else {
        link.blame(Blame::Client);
        return false;
    };
    match (response.tunnel.is_some(), read.key) {
        (true, Some(key)) => Box::pin(pass(link, out, response, key, stream)).await,
        // To the client it would be a tunnel (RFC 8441, 5).
        (false, Some(_)) if response.head.status.is_success() => {
            fail(link, &mut out, Delivery::new(response.ledger, link));
        }
        // The service upgrades nobody who didn't ask for it.
        (true, None) => link.blame(Blame::Server),
        (false, _) => return answer(link, out, response, bodiless).await,
    }
    true
}

fn body(stream: &Rc<Stream>, expects: bool, link: &Rc<Link>) -> Body {
    Body::from_client_stream(FromClient {
        incoming: Incoming::new(stream.clone()),
        link: link.clone(),
        expects,
        first_byte: Duration::ZERO,
        pace: Pace::default(),
        most: u64::MAX,
    })
}

/// None: the client wants no answer any more.
async fn while_there<T>(
    out: &mut Out,
    link: &Link,
    mut call: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => {
            if say_ahead(out, link) {
                out.flush();
            }
            out.poll_gone(cx).map(|()| None)
        }
    })
    .await
}

/// Interim answers. They are kept as HTTP/1.1 has them. False: there are none.
fn say_ahead(out: &mut Out, link: &Link) -> bool {
    let ahead = link.take_ahead();
    let mut rest = &ahead[..];
    while let Some((head, used)) = client::head_in(rest) {
        rest = &rest[used..];
        if fields::is_interim(&head) {
            out.head(false, |encoder, out| {
                fields::response(&head, None, encoder, out)
            });
        }
    }
    !ahead.is_empty()
}

/// False: the client has reset it.
async fn answer(link: &Rc<Link>, mut out: Out, response: Response, bodiless: bool) -> bool {
    let Response {
        head,
        mut body,
        between_bytes,
        ledger,
        ..
    } = response;
    say_ahead(&mut out, link);
    let mut delivery = Delivery::new(ledger, link);
    link.enter(Phase::Delivery, link.limits().body);
    let bare = bodiless || head.is_bodiless();
    if bare {
        body.withhold();
    }
    let ended = bare || body.is_empty();
    // Of none, the end of the stream says it all.
    let length = body.length().filter(|_| !ended);
    out.head(ended, |encoder, out| {
        fields::response(&head, length, encoder, out)
    });
    if let Err(blame) = deliver(link, &mut out, &mut body, between_bytes, &mut delivery).await {
        link.blame(blame);
        out.reset(reason(blame));
        return blame != Blame::Client;
    }
    delivery.complete = true;
    delivery.ended_well(Instant::now());
    settle(link, &mut out, &mut body).await;
    true
}

fn reason(blame: Blame) -> Reason {
    match blame {
        Blame::Server | Blame::ServerTimeout | Blame::Ourselves => Reason::INTERNAL_ERROR,
        _ => Reason::CANCEL,
    }
}

/// The answer, until the last of it has left.
async fn deliver(
    link: &Link,
    out: &mut Out,
    body: &mut Body,
    between_bytes: Duration,
    delivery: &mut Delivery,
) -> Result<(), Blame> {
    let mut taking = Taking::default();
    let mut others_went = false;
    poll_fn(|cx| {
        match link.take_expired() {
            Some(Phase::ResponseBody) => return Poll::Ready(Err(Blame::ServerTimeout)),
            Some(Phase::Delivery) => return Poll::Ready(Err(taking.blame(link))),
            _ => {}
        }
        loop {
            match out.poll_step(cx, body) {
                Poll::Ready(Ok((step, bytes))) => {
                    taking.flows(link);
                    delivery.body += bytes;
                    if link.phase() == Phase::ResponseBody {
                        link.enter(Phase::Delivery, link.limits().body);
                    }
                    delivery.complete = step == Step::Ended;
                    if step == Step::More {
                        continue;
                    }
                }
                Poll::Ready(Err(Unsent::Body)) => return Poll::Ready(Err(Blame::Server)),
                Poll::Ready(Err(Unsent::Peer)) => return Poll::Ready(Err(Blame::Client)),
                Poll::Pending => {}
            }
            // What other streams of the connection have to say goes out with it.
            if !std::mem::replace(&mut others_went, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match out.poll_flush(cx) {
                Poll::Ready(Ok(())) if out.is_done() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {
                    taking.flows(link);
                    if link.phase() != Phase::ResponseBody {
                        link.enter(Phase::ResponseBody, between_bytes);
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Blame::Client)),
                Poll::Pending => taking.blocked(link),
            }
            return Poll::Pending;
        }
    })
    .await
}

/// How a client takes an answer: whether anything, and whether fast enough. It is judged by what has left for the socket, which
/// its windows allow.
#[derive(Default)]
struct Taking {
    pace: Pace,
    /// What had left when the client was last waited for.
    waiting: Option<u64>,
}

impl Taking {
    fn blocked(&mut self, link: &Link) {
        let written = link.traffic().1;
        let floor = link.limits().floor;
        if !floor.is_set() || self.waiting == Some(written) {
            return;
        }
        self.flows(link);
        self.waiting = Some(written);
        let left = self.pace.wait(floor, Instant::now());
        if left < link.limits().body {
            link.enter(Phase::Delivery, left.max(SHORTEST));
        }
    }

    fn flows(&mut self, link: &Link) {
        if let Some(before) = self.waiting.take() {
            self.pace.moved(link.traffic().1 - before, Instant::now());
        }
    }

    /// It was waited for as long as it may be.
    fn blame(&mut self, link: &Link) -> Blame {
        let floor = link.limits().floor;
        self.flows(link);
        if floor.is_set() && self.pace.wait(floor, Instant::now()).is_zero() {
            Blame::ClientTooSlow
        } else {
            Blame::ClientTimeout
        }
    }
}

/// After the answer: the rest of a request that comes more slowly than it, as long as server and client go on with it.
async fn settle(link: &Link, out: &mut Out, body: &mut Body) {
    poll_fn(|cx| {
        if link.take_expired().is_some() || body.poll_settle(cx).is_ready() {
            return Poll::Ready(());
        }
        if !link.awaits_answer() {
            link.enter(Phase::RequestBody, link.limits().body);
        }
        out.poll_gone(cx)
    })
    .await;
}

/// The server's answer is none to a request for a tunnel.
fn fail(link: &Rc<Link>, out: &mut Out, delivery: Delivery) {
    link.blame(Blame::Server);
    let wrong = ResponseHead::new(StatusCode::BAD_GATEWAY);
    out.head(true, |encoder, out| {
        fields::response(&wrong, None, encoder, out)
    });
    out.flush();
    drop(delivery);
}

/// After the 101 that the client hears of as a 200 (RFC 8441, 5): bytes both ways.
async fn pass(
    link: &Rc<Link>,
    mut out: Out,
    response: Response,
    key: websocket::Key,
    stream: &Rc<Stream>,
) {
    let Response {
        mut head,
        ledger,
        tunnel,
        ..
    } = response;
    let mut delivery = Delivery::new(ledger, link);
    if !key.is_proven(&mut head) {
        return fail(link, &mut out, delivery);
    }
    head.status = StatusCode::OK;
    out.head(false, |encoder, out| {
        fields::response(&head, None, encoder, out)
    });
    out.flush();
    let Some(Tunnel { server, silence }) = tunnel else {
        return;
    };
    let Some((server, from_server)) = server.socket().await else {
        return link.blame(Blame::Server);
    };
    link.enter(Phase::Busy, Duration::ZERO);
    let before = link.traffic();
    let mut client = Tunnelled::new(stream.clone(), out, link.clone());
    let (from_here, from_there) = ((&mut client, Vec::new()), (server, from_server));
    let well = tunnel::run(link, from_here, from_there, silence).await;
    delivery.body = link.traffic().1 - before.1;
    link.count_body((link.traffic().0 - before.0) as usize);
    if well {
        delivery.ended_well(Instant::now());
    } else {
        client.reset(Reason::CANCEL);
    }
}
