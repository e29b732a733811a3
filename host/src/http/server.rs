//! A client's connection: its requests are read and handed to a [`Service`], the answers written, until either side has
//! had enough. Deadlines, closing and what becomes of heads that cannot be read are here; what to answer is not.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use http::header::HOST;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::body::Body;
use super::client::Upgrade;
use super::delivery::{Delivery, Ledger, Outgoing};
use super::link::{Blame, Closing, Link, Phase};
use super::message::{Fields, RequestHead, ResponseHead};
use super::refusal::{linger, refuse};
use super::stream::{ClientStream, Outbox};
use super::tunnel;

/// Bytes of a request's head, and of its trailers; 431 above. What nginx allows (4 buffers of 8 KiB).
const LARGEST_HEAD: usize = 32 << 10;

pub struct Request {
    pub head: RequestHead,
    pub body: Body,
    /// When its first byte came.
    pub began: Instant,
    /// When its head was complete.
    pub read: Instant,
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
    Malformed,
    /// More than the server reads of one.
    HeadTooLarge,
}

/// What answers requests.
pub trait Service {
    fn call(&self, request: Request) -> impl Future<Output = Response>;
    /// The answer to what never became a request; the connection is closed after it.
    fn unreadable(&self, why: Unreadable, began: Instant) -> Response;
}

/// Serves a connection until it ends.
pub async fn serve<S: Service + 'static>(socket: TcpStream, link: Rc<Link>, service: Rc<S>) {
    let outbox = Rc::<Outbox>::default();
    let tunnel = Rc::<RefCell<Option<(Tunnel, Delivery)>>>::default();
    let stream = ClientStream {
        socket,
        link: link.clone(),
        outbox: outbox.clone(),
    };
    let exchange = service_fn(|request| {
        let (link, outbox, tunnel, service) = (
            link.clone(),
            outbox.clone(),
            tunnel.clone(),
            service.clone(),
        );
        async move { Ok::<_, Infallible>(exchange(&*service, link, outbox, &tunnel, request).await) }
    });
    let mut connection = http1::Builder::new()
        .max_header_size(LARGEST_HEAD)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), exchange);
    let end = drive(&mut connection, &link, &outbox).await;
    let parts = connection.into_parts();
    let mut client = parts.io.into_inner();
    let upgraded = tunnel.take();
    match end {
        End::Finished => match upgraded {
            Some((tunnel, delivery)) => pass(&link, client, parts.read_buf, tunnel, delivery).await,
            None if link.body_was_left() => linger(&mut client.socket).await,
            None => {}
        },
        End::Idle => {}
        End::Unread(None) => {}
        End::Unread(Some(why)) => {
            let began = link.take_head_began().unwrap_or_else(Instant::now);
            refuse(client, service.unreadable(why, began)).await;
        }
        // An answer may have been broken off: the client must not take it for whole.
        End::Cut => drop(client.socket.set_zero_linger()),
    }
}

enum End {
    /// As HTTP has it.
    Finished,
    /// Between requests, for too long.
    Idle,
    /// A head could not be read; None: not a byte of it came.
    Unread(Option<Unreadable>),
    /// In the middle of something.
    Cut,
}

/// Runs the connection, and is its clock.
async fn drive<F>(connection: &mut F, link: &Link, outbox: &Outbox) -> End
where
    F: Future<Output = hyper::Result<()>> + Unpin + Gracefully,
{
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let mut told = false;
    poll_fn(|cx| {
        link.owner(cx.waker());
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(if ended.is_ok() {
                    End::Finished
                } else {
                    failed(outbox)
                });
            }
            match link.closing() {
                Closing::Cut => {
                    link.blame(Blame::Operator);
                    return Poll::Ready(End::Cut);
                }
                Closing::WhenIdle if !told => {
                    told = true;
                    Pin::new(&mut *connection).gracefully();
                    continue;
                }
                _ => {}
            }
            let Some(late) = late(&mut timer, link, cx) else {
                return Poll::Pending;
            };
            match late {
                Phase::Idle => return Poll::Ready(End::Idle),
                Phase::Head => {
                    let begun = link.head_has_begun();
                    return Poll::Ready(End::Unread(begun.then_some(Unreadable::Late)));
                }
                Phase::Delivery => {
                    link.blame(Blame::ClientTimeout);
                    return Poll::Ready(End::Cut);
                }
                // The answer was complete before the request was.
                _ if !link.is_busy() => return Poll::Ready(End::Cut),
                // A step waits in this phase: polled again, it learns of it.
                phase => link.expire(phase),
            }
        }
    })
    .await
}

fn failed(outbox: &Outbox) -> End {
    match outbox.held_back() {
        None => End::Cut,
        Some(431) => End::Unread(Some(Unreadable::HeadTooLarge)),
        Some(_) => End::Unread(Some(Unreadable::Malformed)),
    }
}

/// The phase that has lasted too long. Arms the timer for the deadline that holds now.
fn late(timer: &mut Option<Pin<Box<Sleep>>>, link: &Link, cx: &mut Context<'_>) -> Option<Phase> {
    loop {
        let deadline = link.deadline()?;
        let timer =
            timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        if link.armed().is_none_or(|armed| deadline < armed) {
            timer.as_mut().reset(deadline.into());
            link.set_armed(Some(deadline));
        }
        if timer.as_mut().poll(cx).is_pending() {
            return None;
        }
        link.set_armed(None);
        if deadline <= Instant::now() {
            return Some(link.phase());
        }
    }
}

/// What hyper's connections can, whatever their service.
trait Gracefully {
    fn gracefully(self: Pin<&mut Self>);
}

impl<I, B, S> Gracefully for http1::Connection<I, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn gracefully(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

async fn exchange<S: Service>(
    service: &S,
    link: Rc<Link>,
    outbox: Rc<Outbox>,
    tunnel: &RefCell<Option<(Tunnel, Delivery)>>,
    request: http::Request<Incoming>,
) -> http::Response<Outgoing> {
    let read = Instant::now();
    let began = link.take_head_began().unwrap_or(read);
    link.begin_exchange();
    let (parts, incoming) = request.into_parts();
    let body = Body::from_client(incoming, link.clone());
    let before = link.traffic().1;
    let response = service
        .call(Request {
            head: request_head(parts),
            body,
            began,
            read,
        })
        .await;
    let Response {
        head,
        body,
        between_bytes,
        ledger,
        tunnel: through,
    } = response;
    let mut delivery = Some(Delivery::new(ledger, link.clone(), before));
    if let Some(through) = through {
        link.enter(Phase::Busy, Duration::ZERO);
        tunnel.replace(delivery.take().map(|delivery| (through, delivery)));
    } else {
        link.enter(Phase::Delivery, link.timeouts().body);
    }
    let outgoing = Outgoing::new(body, between_bytes, link, outbox, delivery);
    let mut response = http::Response::new(outgoing);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.fields.0;
    if let Some(reason) = head
        .reason
        .and_then(|reason| ReasonPhrase::try_from(reason).ok())
    {
        response.extensions_mut().insert(reason);
    }
    response
}

/// An absolute form's authority replaces Host (RFC 9112, 3.2.2).
fn request_head(parts: http::request::Parts) -> RequestHead {
    let mut fields = Fields(parts.headers);
    let uri = parts.uri.into_parts();
    if let Some(host) = uri
        .authority
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
    {
        fields.set(HOST, host);
    }
    let target = uri
        .path_and_query
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    RequestHead {
        method: parts.method,
        target,
        version: parts.version,
        fields,
    }
}

/// After the 101: bytes both ways.
async fn pass(
    link: &Rc<Link>,
    client: ClientStream,
    from_client: Bytes,
    tunnel: Tunnel,
    mut delivery: Delivery,
) {
    let Some((server, from_server)) = tunnel.server.socket().await else {
        link.blame(Blame::Server);
        return;
    };
    let before = link.traffic();
    let well = tunnel::run(
        link,
        client,
        from_client,
        server,
        from_server,
        tunnel.silence,
    )
    .await;
    delivery.body_was(link.traffic().1 - before.1);
    link.count_body((link.traffic().0 - before.0) as usize);
    if well {
        delivery.ended_well(Instant::now());
    }
}
