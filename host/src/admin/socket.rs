//! Connections to the admin surface, by TCP or over its Unix socket: a bounded number at one time, each dropped when nothing moves on
//! it for a while, so that who can reach it cannot use up the process's file descriptors.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep};

use crate::net::accept::{self, Outage};

/// Open connections at one time; further ones wait in the listen queue.
const MOST_CONNECTIONS: usize = 256;
/// A connection on which no byte moves for so long is closed. Longer than any change takes.
const IDLE: Duration = Duration::from_secs(120);
/// How long answers that are under way when the surface is stopped may take.
const GRACE: Duration = Duration::from_secs(1);

/// Who is connected, for log and history.
#[derive(Clone, Debug)]
pub struct Who(pub String);

/// Serves until `stopped` resolves or its sender is dropped.
pub async fn serve(door: Door, router: Router, stopped: oneshot::Receiver<()>) {
    let (ended, end) = oneshot::channel::<()>();
    let service = router.into_make_service_with_connect_info::<Who>();
    let serving = axum::serve(door, service).with_graceful_shutdown(async move {
        let _ = stopped.await;
        drop(ended);
    });
    let overdue = async {
        let _ = end.await;
        sleep(GRACE).await;
    };
    tokio::select! {
        _ = serving.into_future() => {}
        () = overdue => {}
    }
}

/// Where HTTP comes from.
pub enum Door {
    Port(TcpListener, Permits, Outage),
    /// Those of the socket's connections that speak it.
    Socket(mpsc::Receiver<(Connection, Who)>),
}

#[derive(Clone)]
pub struct Permits(Arc<Semaphore>);

impl Permits {
    pub fn new() -> Permits {
        Permits(Arc::new(Semaphore::new(MOST_CONNECTIONS)))
    }

    pub async fn one(&self) -> OwnedSemaphorePermit {
        let permit = self.0.clone().acquire_owned().await;
        permit.expect("the semaphore is never closed")
    }
}

impl Listener for Door {
    type Io = Connection;
    type Addr = Who;

    async fn accept(&mut self) -> (Connection, Who) {
        match self {
            Door::Port(listener, permits, outage) => {
                let permit = permits.one().await;
                let (stream, peer) = accept::next(listener, "admin", outage).await;
                let connection = Connection::new(stream, permit);
                (connection, Who(format!("admin port, {peer}")))
            }
            Door::Socket(connections) => match connections.recv().await {
                Some(connection) => connection,
                None => std::future::pending().await,
            },
        }
    }

    fn local_addr(&self) -> io::Result<Who> {
        Ok(Who("admin".to_owned()))
    }
}

impl Connected<IncomingStream<'_, Door>> for Who {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Who {
        stream.remote_addr().clone()
    }
}

/// A connected socket of either kind.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl Wire for TcpStream {}
impl Wire for UnixStream {}

pub struct Connection {
    stream: Box<dyn Wire>,
    /// Was read of it already, and is to be read again.
    ahead: Vec<u8>,
    idle: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    pub fn new(stream: impl Wire + 'static, permit: OwnedSemaphorePermit) -> Connection {
        Connection {
            stream: Box::new(stream),
            ahead: Vec::new(),
            idle: Box::pin(sleep(IDLE)),
            _permit: permit,
        }
    }

    /// Has these bytes read once more, before what is still to come.
    pub fn put_back(&mut self, bytes: Vec<u8>) {
        self.ahead = bytes;
    }

    /// Errs once nothing has moved for too long; asks to be polled again then.
    fn overdue(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.idle.as_mut().poll(cx));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    fn moved(&mut self) {
        self.idle.as_mut().reset(Instant::now() + IDLE);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let most = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..most]);
            self.ahead.drain(..most);
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Pending => self.overdue(cx).map(Err),
            done => {
                self.moved();
                done
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Pending => self.overdue(cx).map(Err),
            done => {
                self.moved();
                done
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
