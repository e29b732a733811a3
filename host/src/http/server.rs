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
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::body::{Body, Broken};
use super::client::Upgrade;
use super::link::{Blame, Closing, Link, Phase};
use super::message::{Fields, RequestHead, ResponseHead};
use super::stream::{ClientStream, Outbox};
use super::tunnel;

/// Bytes of a request's head, and of its trailers; 431 above. What nginx allows (4 buffers of 8 KiB).
const LARGEST_HEAD: usize = 32 << 10;

/// How long a client may take to see our last answer before the connection is closed under what it still sends.
const LINGER: Duration = Duration::from_secs(2);

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
pub struct Delivery {
    ledger: Option<Box<dyn Ledger>>,
    link: Rc<Link>,
    /// What had been written to the client before.
    before: u64,
    body: u64,
    complete: bool,
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
    let mut delivery = Some(Delivery {
        ledger: Some(ledger),
        link: link.clone(),
        before,
        body: 0,
        complete: false,
    });
    if let Some(through) = through {
        link.enter(Phase::Busy, Duration::ZERO);
        tunnel.replace(delivery.take().map(|delivery| (through, delivery)));
    } else {
        link.enter(Phase::Delivery, link.timeouts().body);
    }
    let outgoing = Outgoing {
        body,
        between_bytes,
        link,
        outbox,
        delivery,
        ended: false,
    };
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

/// A response's body as hyper takes it.
struct Outgoing {
    body: Body,
    between_bytes: Duration,
    link: Rc<Link>,
    outbox: Rc<Outbox>,
    delivery: Option<Delivery>,
    ended: bool,
}

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        if this.link.take_expired() == Some(Phase::ResponseBody) {
            this.link.blame(Blame::ServerTimeout);
            return Poll::Ready(Some(Err(Broken::timed_out())));
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Pending => {
                if this.link.phase() != Phase::ResponseBody {
                    this.link.enter(Phase::ResponseBody, this.between_bytes);
                }
                Poll::Pending
            }
            Poll::Ready(frame) => {
                match &frame {
                    None => this.ended = true,
                    Some(Err(_)) => this.link.blame(Blame::Server),
                    Some(Ok(frame)) => this.count(frame),
                }
                if this.link.phase() == Phase::ResponseBody {
                    this.link.enter(Phase::Delivery, this.link.timeouts().body);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Outgoing {
    fn count(&mut self, frame: &Frame<Bytes>) {
        if let (Some(data), Some(delivery)) = (frame.data_ref(), &mut self.delivery) {
            delivery.body += data.len() as u64;
        }
        // Trailers are the last frame.
        self.ended |= frame.is_trailers();
    }
}

impl Drop for Outgoing {
    /// hyper drops a body when it has all of it in its buffers, or when the connection is gone.
    fn drop(&mut self) {
        let ended = self.ended || hyper::body::Body::is_end_stream(self);
        if let Some(mut delivery) = self.delivery.take().filter(|_| ended) {
            delivery.complete = true;
            self.outbox.complete(delivery);
        }
    }
}

impl Delivery {
    /// The last byte has been handed to the kernel.
    pub(super) fn ended_well(mut self, at: Instant) {
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
    delivery.body = link.traffic().1 - before.1;
    link.count_body((link.traffic().0 - before.0) as usize);
    if well {
        delivery.ended_well(Instant::now());
    }
}

/// Answers what hyper could not read, and closes.
async fn refuse(mut client: ClientStream, response: Response) {
    let link = client.link.clone();
    let before = link.traffic().1;
    link.enter(Phase::Delivery, Duration::ZERO);
    let mut delivery = Delivery {
        ledger: Some(response.ledger),
        link: link.clone(),
        before,
        body: 0,
        complete: false,
    };
    let Ok(body) = response.body.collect(usize::MAX).await else {
        return;
    };
    let bytes = head_bytes(&response.head, body.len());
    let sending = async {
        client.write_all(&bytes).await?;
        client.write_all(&body).await
    };
    match tokio::time::timeout(LINGER, sending).await {
        Ok(Ok(())) => {
            delivery.body = body.len() as u64;
            delivery.ended_well(Instant::now());
            let _ = client.socket.shutdown().await;
            linger(&mut client.socket).await;
        }
        Ok(Err(_)) => {}
        Err(_) => link.blame(Blame::ClientTimeout),
    }
}

fn head_bytes(head: &ResponseHead, length: usize) -> Vec<u8> {
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_str()).into_bytes();
    for (name, value) in head.fields.iter() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(
        format!("content-length: {length}\r\nconnection: close\r\n\r\n").as_bytes(),
    );
    bytes
}

/// Reads on for a while: closing under what a client still sends resets the connection, and with it the answer may be lost
/// (RFC 9112, 9.6).
async fn linger(socket: &mut TcpStream) {
    let mut sink = [0; 4096];
    let reading = async { while matches!(socket.read(&mut sink).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(LINGER, reading).await;
}
