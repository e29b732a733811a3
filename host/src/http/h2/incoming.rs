//! A body on its way in on a stream, a request's or an answer's. The peer may send more when bytes have been taken, no sooner.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::stream::Stream;
use crate::http::body::Coming;
use crate::http::h1::incoming::{Broken, Piece, Step};

/// Bytes that one step gives at most.
const MOST: usize = 64 << 10;

pub(in crate::http) struct Incoming {
    stream: Rc<Stream>,
    /// Come, and not taken yet.
    have: Vec<u8>,
    at: usize,
    done: bool,
}

impl Incoming {
    pub(super) fn new(stream: Rc<Stream>) -> Incoming {
        Incoming {
            done: stream.is_read(),
            stream,
            have: Vec::new(),
            at: 0,
        }
    }

    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Bytes to come, where the head said so; the peer is held to it.
    pub fn length(&self) -> Option<u64> {
        if self.done {
            return Some(0);
        }
        let here = self.have.len() - self.at + self.stream.has();
        Some(self.stream.left.get()? + here as u64)
    }

    /// What is at hand.
    pub fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Piece<'_>),
    ) -> Poll<Result<Step, Broken>> {
        if self.done {
            return Poll::Ready(Ok(Step::Ended));
        }
        if self.at == self.have.len() {
            let empty = std::mem::replace(&mut self.have, self.stream.take_data());
            self.stream.give_back(empty);
            self.at = 0;
        }
        if self.at < self.have.len() {
            let end = self.have.len().min(self.at + MOST);
            take(Piece::Data(&self.have[self.at..end]));
            self.stream.conn.took_of(&self.stream, end - self.at);
            self.at = end;
        } else if !self.stream.peer_ended.get() {
            return self.stream.poll_end(cx).map(|_| Err(Broken));
        }
        if self.at < self.have.len() || self.stream.has() > 0 || !self.stream.peer_ended.get() {
            return Poll::Ready(Ok(Step::More));
        }
        let trailers = self.stream.take_trailers();
        if !trailers.is_empty() {
            take(Piece::Trailers(&trailers));
        }
        self.done = true;
        Poll::Ready(Ok(Step::Ended))
    }
}

impl Drop for Incoming {
    /// What nobody takes any more must not keep the other streams of its connection from sending.
    fn drop(&mut self) {
        self.stream.conn.took(self.have.len() - self.at);
    }
}

impl Coming for Incoming {
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Piece<'_>),
    ) -> Poll<Result<Step, Broken>> {
        self.poll_step(cx, take)
    }

    fn is_done(&self) -> bool {
        self.is_done()
    }

    /// Streams are told apart as it is.
    fn set_taken(&self, _: bool) {}
}
