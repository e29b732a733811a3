//! One stream: its head becomes a request, `Service` answers it, and the answer goes out; or it is upgraded and passes bytes both
//! ways. It ends as a connection of HTTP/1.1 would with one request on it, and is told of in the same words.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Method, Request as Incoming, StatusCode};

use super::incoming;
use super::out::{Chunk, Out};
use super::server::Shared;
use super::tunnel::Tunnelled;
use super::{fields, request, websocket};
use crate::http::body::{Body, FromClient, Unsent};
use crate::http::client;
use crate::http::delivery::Delivery;
use crate::http::h1;
use crate::http::h1::head::Framing;
use crate::http::h1::incoming::Step;
use crate::http::link::{Blame, Closing, Link, Phase};
use crate::http::message::ResponseHead;
use crate::http::pace::{Pace, SHORTEST};
use crate::http::server::{Request, Response, Service, Tunnel, Unreadable};
use crate::http::tunnel;

/// A stream is over when its task is.
struct Place<S> {
    shared: Rc<Shared<S>>,
    id: u32,
    link: Rc<Link>,
    answered: Cell<bool>,
}

pub(super) fn spawn<S: Service + 'static>(
    shared: &Rc<Shared<S>>,
    request: Incoming<RecvStream>,
    respond: SendResponse<Chunk>,
) {
    let began = Instant::now();
    let link = Link::of_stream(shared.link.limits().clone());
    let id = respond.stream_id().as_u32();
    shared.enter(id, &link);
    let place = Place {
        shared: shared.clone(),
        id,
        link,
        answered: Cell::new(false),
    };
    tokio::task::spawn_local(async move {
        let (shared, link) = (place.shared.clone(), place.link.clone());
        let exchange = pin!(exchange(&shared.service, &link, request, respond, began));
        place
            .answered
            .set(drive(exchange, &link).await.unwrap_or(true));
    });
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        self.shared.ended(self.id, !self.answered.get());
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
    request: Incoming<RecvStream>,
    mut respond: SendResponse<Chunk>,
    began: Instant,
) -> bool {
    let (parts, stream) = request.into_parts();
    let read = match request::read(&parts, link.limits().most_head) {
        Ok(read) => read,
        Err(why) => return refuse(service, link, respond, why, began).await,
    };
    let h1::request::Heard {
        head,
        framing,
        expects,
        ..
    } = *read.heard;
    let bodiless = head.method == Method::HEAD;
    let (body, passing) = match read.key {
        Some(key) => (Body::empty(), Some((key, stream))),
        None => (body(stream, framing, expects, link), None),
    };
    let call = pin!(service.call(Request {
        head,
        body,
        began,
        read: Instant::now(),
        link: link.clone(),
    }));
    let Some(response) = while_there(&mut respond, link, call).await else {
        link.blame(Blame::Client);
        return false;
    };
    match (response.tunnel.is_some(), passing) {
        (true, Some((key, stream))) => pass(link, respond, response, key, stream).await,
        // To the client it would be a tunnel (RFC 8441, 5).
        (false, Some(_)) if response.head.status.is_success() => {
            fail(link, &mut respond, Delivery::new(response.ledger, link));
        }
        // The service upgrades nobody who didn't ask for it.
        (true, None) => link.blame(Blame::Server),
        (false, _) => return answer(link, respond, response, bodiless).await,
    }
    true
}

fn body(stream: RecvStream, framing: Framing, expects: bool, link: &Rc<Link>) -> Body {
    let length = match framing {
        Framing::Length(length) => Some(length),
        _ => None,
    };
    let incoming = incoming::Incoming::new(stream, length);
    Body::from_client_stream(FromClient {
        incoming,
        link: link.clone(),
        expects,
        first_byte: Duration::ZERO,
        pace: Pace::default(),
        most: u64::MAX,
    })
}

/// None: the client wants no answer any more.
async fn while_there<T>(
    respond: &mut SendResponse<Chunk>,
    link: &Link,
    mut call: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => {
            say_ahead(respond, link);
            respond.poll_reset(cx).map(|_| None)
        }
    })
    .await
}

/// Interim answers. They are kept as HTTP/1.1 has them.
fn say_ahead(respond: &mut SendResponse<Chunk>, link: &Link) {
    let ahead = link.take_ahead();
    let mut rest = &ahead[..];
    while let Some((head, used)) = client::head_in(rest) {
        rest = &rest[used..];
        if let Some(head) = fields::interim(&head)
            && respond.send_informational(head).is_err()
        {
            return;
        }
    }
}

/// Answers what is no request.
async fn refuse<S: Service>(
    service: &S,
    link: &Rc<Link>,
    respond: SendResponse<Chunk>,
    why: Unreadable,
    began: Instant,
) -> bool {
    let response = service.unreadable(why, began, link);
    answer(link, respond, response, false).await
}

/// False: the client has reset it.
async fn answer(
    link: &Rc<Link>,
    mut respond: SendResponse<Chunk>,
    response: Response,
    bodiless: bool,
) -> bool {
    let Response {
        head,
        mut body,
        between_bytes,
        ledger,
        ..
    } = response;
    say_ahead(&mut respond, link);
    let mut delivery = Delivery::new(ledger, link);
    link.enter(Phase::Delivery, link.limits().body);
    let bare = bodiless || head.is_bodiless();
    if bare {
        body.withhold();
    }
    let ended = bare || body.is_empty();
    // Of none, the end of the stream says it all.
    let length = body.length().filter(|_| !ended);
    let Some(mut out) = begin(link, &mut respond, &head, length, ended) else {
        link.blame(Blame::Client);
        return false;
    };
    if !ended
        && let Err(blame) = deliver(link, &mut out, &mut body, between_bytes, &mut delivery).await
    {
        link.blame(blame);
        out.reset(reason(blame));
        return blame != Blame::Client;
    }
    delivery.complete = true;
    delivery.ended_well(Instant::now());
    settle(link, &mut out, &mut body).await;
    true
}

/// Sends the head. None: the client is gone.
fn begin(
    link: &Rc<Link>,
    respond: &mut SendResponse<Chunk>,
    head: &ResponseHead,
    length: Option<u64>,
    ended: bool,
) -> Option<Out> {
    let (head, size) = fields::response(head, length);
    let stream = respond.send_response(head, ended).ok()?;
    link.count_written(size);
    Some(Out::new(stream, Some(link.clone())))
}

fn reason(blame: Blame) -> Reason {
    match blame {
        Blame::Server | Blame::ServerTimeout | Blame::Ourselves => Reason::INTERNAL_ERROR,
        _ => Reason::CANCEL,
    }
}

/// The answer's body, until the last of it has left.
async fn deliver(
    link: &Link,
    out: &mut Out,
    body: &mut Body,
    between_bytes: Duration,
    delivery: &mut Delivery,
) -> Result<(), Blame> {
    let mut taking = Taking::default();
    poll_fn(|cx| {
        match link.take_expired() {
            Some(Phase::ResponseBody) => return Poll::Ready(Err(Blame::ServerTimeout)),
            Some(Phase::Delivery) => return Poll::Ready(Err(taking.blame(link))),
            _ => {}
        }
        loop {
            match out.poll_step(cx, body) {
                Poll::Pending if out.queued() > 0 => {
                    taking.blocked(link);
                    return Poll::Pending;
                }
                Poll::Pending => {
                    taking.flows(link);
                    if link.phase() != Phase::ResponseBody {
                        link.enter(Phase::ResponseBody, between_bytes);
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Ok((step, bytes))) => {
                    taking.flows(link);
                    delivery.body += bytes;
                    if link.phase() == Phase::ResponseBody {
                        link.enter(Phase::Delivery, link.limits().body);
                    }
                    delivery.complete = step == Step::Ended;
                    if out.is_done() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(Unsent::Body)) => return Poll::Ready(Err(Blame::Server)),
                Poll::Ready(Err(Unsent::Peer)) => return Poll::Ready(Err(Blame::Client)),
            }
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
fn fail(link: &Rc<Link>, respond: &mut SendResponse<Chunk>, delivery: Delivery) {
    link.blame(Blame::Server);
    let wrong = ResponseHead::new(StatusCode::BAD_GATEWAY);
    begin(link, respond, &wrong, None, true);
    drop(delivery);
}

/// After the 101 that the client hears of as a 200 (RFC 8441, 5): bytes both ways.
async fn pass(
    link: &Rc<Link>,
    mut respond: SendResponse<Chunk>,
    response: Response,
    key: websocket::Key,
    stream: RecvStream,
) {
    let Response {
        mut head,
        ledger,
        tunnel,
        ..
    } = response;
    let mut delivery = Delivery::new(ledger, link);
    if !key.is_proven(&mut head) {
        return fail(link, &mut respond, delivery);
    }
    head.status = StatusCode::OK;
    let Some(out) = begin(link, &mut respond, &head, None, false) else {
        return link.blame(Blame::Client);
    };
    let Some(Tunnel { server, silence }) = tunnel else {
        return;
    };
    let Some((server, from_server)) = server.socket().await else {
        return link.blame(Blame::Server);
    };
    link.enter(Phase::Busy, Duration::ZERO);
    let before = link.traffic();
    let mut client = Tunnelled::new(stream, out, link.clone());
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
