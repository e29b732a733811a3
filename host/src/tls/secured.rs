//! A TLS stream as the floors above read and write it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rustls::CommonState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use crate::net::Stream;
use crate::net::stream::Layer;

#[derive(Debug)]
struct Secured(TlsStream<Stream>);

pub fn stream(tls: impl Into<TlsStream<Stream>>) -> Stream {
    Stream::Layered(Box::new(Secured(tls.into())))
}

impl Secured {
    fn state(&self) -> &CommonState {
        self.0.get_ref().1
    }
}

impl Layer for Secured {
    fn below(&self) -> &Stream {
        self.0.get_ref().0
    }

    fn holds(&self) -> bool {
        self.state().wants_write()
    }
}

impl Drop for Secured {
    /// Towards servers every end is orderly: what we send says itself where it ends. Towards clients it is said by whoever
    /// knows that the answer was whole.
    fn drop(&mut self) {
        if matches!(self.0, TlsStream::Client(_)) {
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut self.0).poll_shutdown(&mut cx);
        }
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
