//! Connections to the admin port: a bounded number at one time, each dropped when nothing moves on it for a while, so that
//! who can reach the port cannot use up the process's file descriptors.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep, sleep};

/// Open connections at one time; further ones wait in the listen queue.
const MOST_CONNECTIONS: usize = 256;
/// A connection on which no byte moves for so long is closed. Longer than any change takes.
const IDLE: Duration = Duration::from_secs(120);
/// How long answers that are under way when the surface is stopped may take.
const GRACE: Duration = Duration::from_secs(1);

/// Serves until `stopped` resolves or its sender is dropped.
pub async fn serve(listener: TcpListener, router: Router, stopped: oneshot::Receiver<()>) {
    let (ended, end) = oneshot::channel::<()>();
    let bounded = Bounded {
        listener,
        permits: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
    };
    let serving = axum::serve(bounded, router).with_graceful_shutdown(async move {
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

struct Bounded {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        // tokio's own accept loop, which waits a second when the process has no descriptor left.
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Connection::new(stream, permit), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

struct Connection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit) -> Connection {
        Connection {
            stream,
            idle: Box::pin(sleep(IDLE)),
            _permit: permit,
        }
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
