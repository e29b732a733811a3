//! A stream as bytes both ways, after its protocol was changed (RFC 8441).

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::out::Out;
use crate::http::body::Unsent;
use crate::http::link::Link;
use crate::net::relay::Peer;

pub(super) struct Tunnelled {
    stream: RecvStream,
    /// Come, and not read yet.
    have: Bytes,
    out: Out,
    ended: bool,
    link: Rc<Link>,
}

impl Tunnelled {
    pub fn new(stream: RecvStream, out: Out, link: Rc<Link>) -> Tunnelled {
        Tunnelled {
            stream,
            have: Bytes::new(),
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

impl AsyncRead for Tunnelled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.have.is_empty() {
            match ready!(self.stream.poll_data(cx)) {
                Some(bytes) => self.have = bytes.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = self.have.len().min(buffer.remaining());
        buffer.put_slice(&self.have[..taken]);
        self.have.advance(taken);
        self.link.count_read(taken);
        let flow = self.stream.flow_control();
        Poll::Ready(flow.release_capacity(taken).map_err(io::Error::other))
    }
}

impl AsyncWrite for Tunnelled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.as_mut().poll_flush(cx))?;
        let sent = self.out.send(Bytes::copy_from_slice(bytes), false);
        Poll::Ready(sent.map(|()| bytes.len()).map_err(gone))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.poll_flush(cx).map_err(gone)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        if !std::mem::replace(&mut self.ended, true) {
            self.out.send(Bytes::new(), true).map_err(gone)?;
        }
        Poll::Ready(Ok(()))
    }
}

fn gone(_: Unsent) -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
