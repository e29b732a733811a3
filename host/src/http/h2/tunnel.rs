//! A stream as bytes both ways, after its protocol was changed (RFC 8441).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::Reason;
use super::out::Out;
use super::stream::Stream;
use crate::http::body::Unsent;
use crate::http::link::Link;
use crate::net::relay::Peer;

pub(super) struct Tunnelled {
    stream: Rc<Stream>,
    /// Come, and not read yet.
    have: Vec<u8>,
    at: usize,
    out: Out,
    ended: bool,
    link: Rc<Link>,
}

impl Tunnelled {
    pub fn new(stream: Rc<Stream>, out: Out, link: Rc<Link>) -> Tunnelled {
        Tunnelled {
            stream,
            have: Vec::new(),
            at: 0,
            out,
            ended: false,
            link,
        }
    }

    pub fn reset(&mut self, reason: Reason) {
        self.out.reset(reason);
    }
}

/// Its bytes pass through frames.
impl Peer for &mut Tunnelled {}

impl Drop for Tunnelled {
    fn drop(&mut self) {
        self.stream.conn.took(self.have.len() - self.at);
    }
}

impl AsyncRead for Tunnelled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at == self.have.len() {
            (self.have, self.at) = (self.stream.take_data(), 0);
        }
        if self.have.is_empty() {
            if self.stream.peer_ended.get() {
                return Poll::Ready(Ok(()));
            }
            let gone = self.stream.poll_end(cx);
            return gone.map(|_| Err(gone_error()));
        }
        let left = &self.have[self.at..];
        let taken = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..taken]);
        self.at += taken;
        self.link.count_read(taken);
        self.stream.conn.took_of(&self.stream, taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnelled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.out.send(bytes);
        self.out.flush();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.poll_flush(cx).map_err(|_: Unsent| gone_error())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        if !std::mem::replace(&mut self.ended, true) {
            self.out.end();
            self.out.flush();
        }
        Poll::Ready(Ok(()))
    }
}

fn gone_error() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
