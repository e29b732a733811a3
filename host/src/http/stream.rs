//! A client's socket as the engine reads and writes it, with eyes on what passes.
//!
//! hyper answers an unreadable head by itself, with a bare status line. What it writes while no request is under way can be
//! nothing else, so it is held back here, and our own page goes out instead (`server`).

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::delivery::Delivery;
use super::link::Link;

pub struct ClientStream {
    pub socket: TcpStream,
    pub link: Rc<Link>,
    pub outbox: Rc<Outbox>,
}

/// What is on its way to the client.
#[derive(Default)]
pub struct Outbox {
    /// Answers that are complete and not yet handed to the kernel in full; as a rule one.
    complete: RefCell<SmallVec<[Delivery; 1]>>,
    /// The status that hyper answered an unreadable head with, held back.
    held_back: Cell<Option<u16>>,
}

impl Outbox {
    /// The response is complete: once it is flushed its story ends.
    pub fn complete(&self, delivery: Delivery) {
        self.complete.borrow_mut().push(delivery);
    }

    pub fn held_back(&self) -> Option<u16> {
        self.held_back.get()
    }

    fn hold_back(&self, bytes: &[u8]) {
        let status = bytes
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let status = status.and_then(|digits| digits.parse().ok()).unwrap_or(400);
        self.held_back.set(self.held_back.get().or(Some(status)));
    }
}

impl ClientStream {
    fn is_held_back(&self) -> bool {
        self.link.awaits_request()
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.link.count_read(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_held_back() {
            self.outbox.hold_back(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        let bytes = ready!(Pin::new(&mut self.socket).poll_write(cx, buf))?;
        self.link.count_written(bytes);
        Poll::Ready(Ok(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_held_back() {
            self.outbox.hold_back(bufs.first().map_or(&[], |buf| buf));
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let bytes = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bufs))?;
        self.link.count_written(bytes);
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper calls it once it has nothing left to write: whatever was complete has now been handed to the kernel.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = std::mem::take(&mut *self.outbox.complete.borrow_mut());
        if !sent.is_empty() {
            let now = Instant::now();
            self.link.delivered(now);
            for delivery in sent {
                delivery.ended_well(now);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outbox.held_back.get().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
