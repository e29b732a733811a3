//! A client's connection: its requests are read and handed to a [`Service`], the answers written, until either side has
//! had enough. Deadlines, closing and what becomes of heads that cannot be read are here; what to answer is not.
//!
//! Between requests a connection holds its socket and its `Link`, and no buffer: what a request needs is made when its first
//! byte is there, and gone with its answer.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::Method;

use super::body::{Body, FromClient};
use super::client::Upgrade;
use super::delivery::{Delivery, Ledger, Outgoing, poll_ahead};
use super::h1::head::Refused;
use super::h1::incoming::Incoming;
use super::h1::request::{self, HEAD_READ, Heard};
use super::h1::wire::Wire;
use super::h2;
use super::link::{Blame, Closing, Link, Phase};
use super::message::{RequestHead, ResponseHead};
use super::pace::Pace;
use super::tunnel;
use super::turn::{after_others, yields};
use crate::base::event::Silence;
use crate::base::in_place;
use crate::net::Stream;

/// How long a client may take to see our last answer before the connection is closed under what it still sends.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes of a request's future. It is made, moved and freed for each of them, so what few requests come to is boxed within it.
const LARGEST_EXCHANGE: usize = 3 << 10;

pub struct Request {
    pub head: RequestHead,
    pub body: Body,
    /// When its first byte came.
    pub began: Instant,
    /// When its head was complete.
    pub read: Instant,
    /// What the steps that work for it share: its connection's, or where several share a connection, its own.
    pub link: Rc<Link>,
}

pub struct Response {
    pub head: ResponseHead,
    pub body: Body,
    /// How long its body may pause; zero: as long as it likes.
    pub between_bytes: Duration,
    pub ledger: Box<dyn Ledger>,
    /// With status 101.
    pub tunnel: Option<Tunnel>,
}

/// The other end of an upgraded connection.
pub struct Tunnel {
    pub server: Upgrade,
    /// How long neither side may say anything; zero: as long as they like.
    pub silence: Duration,
}

/// A head that is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It took too long.
    Late,
    /// More than the server reads of one.
    HeadTooLarge,
    Refused(Refused),
    /// HTTP without TLS, where TLS is spoken.
    PlainHttp,
    /// It begins a connection of HTTP/2.
    Preface,
}

/// What answers requests.
pub trait Service {
    fn call(&self, request: Request) -> impl Future<Output = Response>;
    /// The answer to what never became a request; the connection, or the stream, is closed after it.
    fn unreadable(&self, why: Unreadable, began: Instant, link: &Rc<Link>) -> Response;
    /// What a client of HTTP/2 is granted. None: it is not served.
    fn http2(&self) -> Option<h2::Settings>;
    /// The connection is closed because the client makes work of nothing; the link says so.
    fn was_flooding(&self, link: &Rc<Link>);
    /// The connection was closed because the client said nothing for too long.
    fn was_silent(&self, silence: Silence);
}

/// Serves a connection until it ends.
///
/// What this future takes is what an idle connection costs. Hence what is moved into it is moved once (an argument that is
/// pinned within takes its place twice), and what comes after the last request is boxed.
pub fn serve<S: Service + 'static>(
    socket: Stream,
    link: Rc<Link>,
    service: S,
) -> impl Future<Output = ()> {
    let wire = Rc::new(Wire::new(socket, Some(link.clone())));
    async move {
        let end = drive(pin!(requests(&wire, &link, &service)), &link).await;
        Box::pin(finish(end, wire, link, service)).await;
    }
}

async fn finish<S: Service + 'static>(end: End, wire: Rc<Wire>, link: Rc<Link>, service: S) {
    let link = &link;
    match end {
        End::Finished if link.body_was_left() => linger(&wire).await,
        End::Finished => wire.part(),
        End::Idle => {
            wire.part();
            service.was_silent(Silence::NextRequest);
        }
        End::Unread(None) => {
            wire.part();
            service.was_silent(Silence::FirstRequest);
        }
        End::Tunnel(through) => pass(link, wire, through).await,
        End::Unread(Some(Unreadable::Preface)) => change(wire, link, service).await,
        End::Unread(Some(why)) => {
            let began = link.take_head_began().unwrap_or_else(Instant::now);
            refuse(&wire, link, service.unreadable(why, began, link)).await;
        }
        // An answer may have been broken off: the client must not take it for whole.
        End::Cut => wire.cut(),
    }
}

enum End {
    /// As HTTP has it.
    Finished,
    /// Between requests, for too long.
    Idle,
    /// A head could not be read; None: not a byte of it came.
    Unread(Option<Unreadable>),
    /// It speaks another protocol from here on.
    Tunnel(Box<(Tunnel, Delivery)>),
    /// In the middle of something.
    Cut,
}

/// Runs the connection, and ends it when it is to end.
async fn drive(mut connection: Pin<&mut impl Future<Output = End>>, link: &Link) -> End {
    poll_fn(|cx| {
        link.owner(cx.waker());
        loop {
            if let Poll::Ready(end) = connection.as_mut().poll(cx) {
                return Poll::Ready(end);
            }
            if link.closing() == Closing::Cut {
                link.blame(Blame::Operator);
                return Poll::Ready(End::Cut);
            }
            if link.closing() == Closing::WhenIdle && link.is_idle() {
                return Poll::Ready(End::Finished);
            }
            let Some(late) = link.late() else {
                return Poll::Pending;
            };
            match late {
                Phase::Idle => return Poll::Ready(End::Idle),
                Phase::Head => {
                    let begun = link.head_has_begun();
                    return Poll::Ready(End::Unread(begun.then_some(Unreadable::Late)));
                }
                // A step waits in this phase: polled again, it learns of it.
                phase => link.expire(phase),
            }
        }
    })
    .await
}

/// Request after request.
async fn requests<S: Service>(wire: &Rc<Wire>, link: &Rc<Link>, service: &S) -> End {
    loop {
        let incoming = match request::next(wire).await {
            Ok(Some(incoming)) => incoming,
            Ok(None) => return End::Finished,
            Err(why) => return End::Unread(Some(why)),
        };
        // Boxed: while it waits for the next request, a connection is as small as that wait.
        let exchange = in_place(|| exchange(wire, link, service, incoming));
        debug_assert!(size_of_val(&*exchange) <= LARGEST_EXCHANGE);
        match Box::into_pin(exchange).await {
            Next::Request => {}
            Next::End(end) => return end,
        }
    }
}

enum Next {
    Request,
    End(End),
}

async fn exchange<S: Service>(
    wire: &Rc<Wire>,
    link: &Rc<Link>,
    service: &S,
    heard: Box<Heard>,
) -> Next {
    let (began, read) = link.take_head_times();
    link.begin_exchange();
    let Heard {
        head,
        framing,
        keep_alive,
        expects,
        have,
    } = *heard;
    let (bodiless, version) = (head.method == Method::HEAD, head.version);
    let expects = expects && have.is_empty();
    let incoming = Incoming::new(framing, false, have, wire.clone());
    let body = Body::from_client(FromClient {
        incoming,
        link: link.clone(),
        expects,
        first_byte: Duration::ZERO,
        pace: Pace::default(),
        most: u64::MAX,
    });
    let answered = {
        // What the answer needs takes its place.
        let call = pin!(service.call(Request {
            head,
            body,
            began,
            read,
            link: link.clone(),
        }));
        while_there(wire, link, call).await
    };
    let Some(response) = answered else {
        link.blame(Blame::Client);
        return Next::End(End::Finished);
    };
    let Response {
        head,
        body,
        between_bytes,
        ledger,
        tunnel,
    } = response;
    after_others().await;
    let mut delivery = Delivery::new(ledger, link);
    let keep = keep_alive && !link.body_was_left() && link.closing() == Closing::No;
    let mut outgoing = Outgoing::new(
        &head,
        body,
        bodiless,
        version,
        keep && tunnel.is_none(),
        between_bytes,
    );
    outgoing.upgraded = tunnel.is_some();
    if !outgoing.deliver(wire, link, &head, &mut delivery).await {
        return Next::End(End::Cut);
    }
    if let Some(tunnel) = tunnel {
        link.enter(Phase::Busy, Duration::ZERO);
        return Next::End(End::Tunnel(Box::new((tunnel, delivery))));
    }
    delivery.ended_well(Instant::now());
    if !outgoing.keep || !outgoing.settle(link).await || link.body_was_left() {
        // What is left of the request's body would be taken for the next request.
        return Next::End(close(wire).await);
    }
    link.enter(Phase::Idle, link.limits().idle);
    Next::Request
}

/// None: the client is gone. One that has only closed its sending side is waited upon, unless the listener wants it otherwise:
/// it cannot be told from one that has closed for good until something is sent to it.
async fn while_there<T>(
    wire: &Wire,
    link: &Link,
    mut call: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    poll_fn(|cx| match yields(|| call.as_mut().poll(cx)) {
        (Poll::Ready(answer), _) => Poll::Ready(Some(answer)),
        (Poll::Pending, true) => Poll::Pending,
        (Poll::Pending, false) => {
            poll_ahead(wire, link, cx);
            wire.poll_gone(cx, link.limits().abort_on_close)
                .map(|()| None)
        }
    })
    .await
}

async fn close(wire: &Wire) -> End {
    // Over TLS there is a last word to be taken, which a client that reads no more need not take.
    let _ = tokio::time::timeout(LINGER, poll_fn(|cx| wire.poll_shutdown(cx))).await;
    End::Finished
}

/// Answers a connection on which nothing can be heard, and closes it.
pub async fn turn_away<S: Service>(socket: Stream, link: Rc<Link>, service: S, why: Unreadable) {
    let wire = Wire::new(socket, Some(link.clone()));
    refuse(&wire, &link, service.unreadable(why, Instant::now(), &link)).await;
}

/// After the 101: bytes both ways.
async fn pass(link: &Rc<Link>, wire: Rc<Wire>, through: Box<(Tunnel, Delivery)>) {
    let (tunnel, mut delivery) = *through;
    // It is not over with its head.
    delivery.complete = false;
    let from_client = wire.take_rest();
    let (Some((server, from_server)), Ok(wire)) =
        (tunnel.server.socket().await, Rc::try_unwrap(wire))
    else {
        link.blame(Blame::Server);
        return;
    };
    let before = link.traffic();
    let client = tunnel::Counted::new(wire.into_socket(), link.clone());
    let (client, server) = ((client, from_client), (server, from_server));
    let well = tunnel::run(link, client, server, tunnel.silence).await;
    delivery.body = link.traffic().1 - before.1;
    link.count_body((link.traffic().0 - before.0) as usize);
    if well {
        delivery.ended_well(Instant::now());
    }
}

/// The client speaks HTTP/2 (RFC 9113, 3.3), which only a connection's first bytes can say.
async fn change<S: Service + 'static>(wire: Rc<Wire>, link: &Rc<Link>, service: S) {
    let first = wire.take_rest();
    let settings = service.http2().filter(|_| link.traffic().1 == 0);
    match (settings, Rc::try_unwrap(wire)) {
        (Some(settings), Ok(wire)) => {
            h2::server::serve(wire.into_socket(), first, link.clone(), service, settings).await;
        }
        (None, Ok(wire)) => {
            let began = link.take_head_began().unwrap_or_else(Instant::now);
            let why = Unreadable::Preface;
            refuse(&wire, link, service.unreadable(why, began, link)).await;
        }
        // Between requests nobody else has it.
        (_, Err(_)) => link.blame(Blame::Ourselves),
    }
}

/// Answers what could not be read, and closes.
async fn refuse(wire: &Wire, link: &Rc<Link>, response: Response) {
    let Response {
        head, body, ledger, ..
    } = response;
    let mut delivery = Delivery::new(ledger, link);
    let mut outgoing = Outgoing::new(
        &head,
        body,
        false,
        http::Version::HTTP_11,
        false,
        Duration::ZERO,
    );
    match tokio::time::timeout(LINGER, outgoing.deliver(wire, link, &head, &mut delivery)).await {
        Ok(true) => {
            delivery.ended_well(Instant::now());
            close(wire).await;
            linger(wire).await;
        }
        Ok(false) => {}
        Err(_) => link.blame(Blame::ClientTimeout),
    }
}

/// Reads on for a while: closing under what a client still sends resets the connection, and with it the answer may be lost
/// (RFC 9112, 9.6).
async fn linger(wire: &Wire) {
    let reading = async {
        while let Ok(true) =
            poll_fn(|cx| wire.poll_read(cx, HEAD_READ, |bytes| !bytes.is_empty())).await
        {}
    };
    let _ = tokio::time::timeout(LINGER, reading).await;
}
