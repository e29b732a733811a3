//! The socket below an HTTP/2 connection: what was read of it already comes first, and what passes is looked at.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::PREFACE;
use super::flood::Flood;
use crate::http::timers;
use crate::net::Stream;

pub(super) struct Io {
    socket: Stream,
    /// Read before, and not yet taken.
    first: Vec<u8>,
    at: usize,
    seen: Rc<Seen>,
    /// Of a client's connection, and how much of its preface is still to come.
    flood: Option<(Flood, usize)>,
}

/// What is known of a connection's traffic.
#[derive(Default)]
pub(super) struct Seen {
    /// Bytes read.
    pub read: Cell<u64>,
    /// The peer sends too much of what is nothing.
    pub flood: Cell<bool>,
}

impl Io {
    pub fn of_client(socket: Stream, first: Vec<u8>) -> Io {
        Io {
            socket,
            first,
            at: 0,
            seen: Rc::default(),
            flood: Some((Flood::new(timers::now()), PREFACE.len())),
        }
    }

    pub fn of_server(socket: Stream) -> Io {
        Io {
            socket,
            first: Vec::new(),
            at: 0,
            seen: Rc::default(),
            flood: None,
        }
    }

    pub fn seen(&self) -> Rc<Seen> {
        self.seen.clone()
    }

    fn take_first(&mut self, buffer: &mut ReadBuf<'_>) {
        let left = &self.first[self.at..];
        let taken = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..taken]);
        self.at += taken;
        if self.at == self.first.len() {
            (self.first, self.at) = (Vec::new(), 0);
        }
    }

    fn look(&mut self, bytes: &[u8]) {
        self.seen
            .read
            .set(self.seen.read.get() + bytes.len() as u64);
        if let Some((flood, preface)) = &mut self.flood {
            let skipped = bytes.len().min(*preface);
            *preface -= skipped;
            if !flood.read(&bytes[skipped..], timers::now()) {
                self.seen.flood.set(true);
            }
        }
    }

    fn wrote(&mut self, written: usize) {
        if let Some((flood, _)) = &mut self.flood {
            flood.wrote(written);
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.first.is_empty() {
            ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        } else {
            self.take_first(buffer);
        }
        self.look(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        self.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, slices))?;
        self.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
