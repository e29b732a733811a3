//! Connections to servers: one request at a time, the answer's head, and its body as a stream.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Method, StatusCode, Uri};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::body::Body;
use super::idle::{Idle, Lease};
use super::message::{Fields, RequestHead, ResponseHead};

/// Bytes of a response's head, and of its trailers.
const LARGEST_HEAD: usize = 64 << 10;

/// A connection that can take a request, or soon can.
pub struct Connection {
    sender: SendRequest<Body>,
    shared: Rc<Shared>,
}

/// What the connection's own task and its user share.
#[derive(Default)]
struct Shared {
    read: Cell<u64>,
    /// The request under way wants to change the protocol.
    upgrading: Cell<bool>,
    /// The socket after the change, with what was read of the new protocol.
    upgraded: RefCell<Option<(TcpStream, Bytes)>>,
    ended: Notify,
}

/// A server's answer.
pub struct Answer {
    pub head: ResponseHead,
    pub body: Body,
    /// With status 101.
    pub upgrade: Option<Upgrade>,
}

/// A connection that is about to change its protocol.
pub struct Upgrade(Rc<Shared>);

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
    /// What came is no HTTP response.
    Invalid,
    /// The request's body broke off.
    RequestBroken,
}

impl Connection {
    /// Takes a connected socket over. Must be called on a worker: the connection gets a task of its own there.
    pub async fn open(socket: TcpStream) -> Result<Connection, NoAnswer> {
        let shared = Rc::<Shared>::default();
        let stream = TokioIo::new(ServerStream {
            socket,
            shared: shared.clone(),
        });
        let handshake = Builder::new()
            .max_header_size(LARGEST_HEAD)
            .handshake(stream)
            .await;
        let (sender, connection) = handshake.map_err(|_| NoAnswer {
            why: Why::Closed,
            begun: false,
        })?;
        let of_task = shared.clone();
        tokio::task::spawn_local(async move {
            let mut connection = connection;
            // Whoever sent the request is told of an error; an idle connection may end as it likes.
            if (&mut connection).await.is_ok() && of_task.upgrading.get() {
                let parts = connection.into_parts();
                of_task
                    .upgraded
                    .replace(Some((parts.io.into_inner().socket, parts.read_buf)));
            }
            of_task.ended.notify_one();
        });
        Ok(Connection { sender, shared })
    }

    /// Whether it can take a request now. It may still turn out to be closed by the server.
    pub fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until it can take a request. None: it never will.
    pub async fn ready(mut self) -> Option<Connection> {
        self.sender.ready().await.ok()?;
        Some(self)
    }

    /// Sends a request. The connection goes back to `home` once the answer has been read. Dropping the future closes it.
    pub async fn send(
        mut self,
        home: Rc<Idle>,
        head: RequestHead,
        body: Body,
        upgrade: bool,
    ) -> Result<Answer, NoAnswer> {
        let before = self.shared.read.get();
        self.shared.upgrading.set(upgrade);
        let answer = self.sender.send_request(request(head, body)).await;
        let no_answer = |why| NoAnswer {
            why,
            begun: self.shared.read.get() != before,
        };
        let (parts, incoming) = match answer {
            Ok(response) => response.into_parts(),
            Err(error) if error.is_parse() => return Err(no_answer(Why::Invalid)),
            Err(error) if error.is_user() => return Err(no_answer(Why::RequestBroken)),
            Err(_) => return Err(no_answer(Why::Closed)),
        };
        let head = response_head(parts).ok_or_else(|| no_answer(Why::Invalid))?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            // An upgrade that nobody asked for (RFC 9110, 7.8).
            if !upgrade {
                return Err(no_answer(Why::Invalid));
            }
            return Ok(Answer {
                head,
                body: Body::empty(),
                upgrade: Some(Upgrade(self.shared)),
            });
        }
        self.shared.upgrading.set(false);
        let body = Body::from_server(incoming, Lease::new(self, home));
        Ok(Answer {
            head,
            body,
            upgrade: None,
        })
    }
}

impl Upgrade {
    /// The socket, and what was read of the new protocol already. None: it is gone.
    pub async fn socket(self) -> Option<(TcpStream, Bytes)> {
        self.0.ended.notified().await;
        self.0.upgraded.take()
    }
}

fn request(head: RequestHead, body: Body) -> http::Request<Body> {
    let RequestHead {
        method,
        target,
        fields: Fields(mut fields),
        ..
    } = head;
    // hyper takes a body of unknown length with these for none at all.
    let chunked = body.length().is_none() && matches!(method, Method::GET | Method::HEAD);
    if chunked {
        fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut request = http::Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = fields;
    request
}

/// None: a framing that we cannot pass on as it was meant. With Transfer-Encoding, Content-Length says nothing and must
/// go (RFC 9112, 6.3); a coding other than chunked would be taken off with the field, and the body would be garbage.
fn response_head(parts: http::response::Parts) -> Option<ResponseHead> {
    let mut fields = Fields(parts.headers);
    if let Some(coding) = fields.joined(&TRANSFER_ENCODING) {
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return None;
        }
        fields.remove(&CONTENT_LENGTH);
    }
    let reason = parts.extensions.get::<ReasonPhrase>();
    let reason = reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
    Some(ResponseHead {
        status: parts.status,
        reason,
        fields,
    })
}

/// A server's socket, with eyes on whether anything came.
struct ServerStream {
    socket: TcpStream,
    shared: Rc<Shared>,
}

impl AsyncRead for ServerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        let bytes = (buf.filled().len() - before) as u64;
        self.shared.read.set(self.shared.read.get() + bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
