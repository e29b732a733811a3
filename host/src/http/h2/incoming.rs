//! A body on its way in on a stream, a request's or an answer's. The peer may send more when bytes have been taken, no sooner.

use std::task::{Context, Poll, ready};

use h2::RecvStream;

use super::fields;
use crate::http::body::Coming;
use crate::http::h1::incoming::{Broken, Piece, Step};

/// Bytes that one step gives at most, as far as they are there; a frame more.
const MOST: usize = 48 << 10;

pub(in crate::http) struct Incoming {
    stream: RecvStream,
    /// Bytes to come, where the head says so. The h2 crate holds the peer to it.
    left: Option<u64>,
    /// The trailers are next.
    data_ended: bool,
    done: bool,
}

impl Incoming {
    pub fn new(stream: RecvStream, length: Option<u64>) -> Incoming {
        let done = stream.is_end_stream();
        Incoming {
            stream,
            left: length.filter(|_| !done),
            data_ended: false,
            done,
        }
    }

    pub fn is_done(&self) -> bool {
        self.done
    }

    pub fn length(&self) -> Option<u64> {
        if self.done { Some(0) } else { self.left }
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
        let mut taken = 0;
        while !self.data_ended && taken < MOST {
            match self.stream.poll_data(cx) {
                Poll::Pending if taken > 0 => return Poll::Ready(Ok(Step::More)),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => {
                    take(Piece::Data(&bytes));
                    taken += bytes.len();
                    self.took(bytes.len())?;
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Broken)),
                Poll::Ready(None) => self.data_ended = true,
            }
        }
        if !self.data_ended && !self.stream.is_end_stream() {
            return Poll::Ready(Ok(Step::More));
        }
        self.poll_end(cx, take)
    }

    fn took(&mut self, bytes: usize) -> Result<(), Broken> {
        self.left = self.left.map(|left| left.saturating_sub(bytes as u64));
        let flow = self.stream.flow_control();
        flow.release_capacity(bytes).map_err(|_| Broken)
    }

    fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Piece<'_>),
    ) -> Poll<Result<Step, Broken>> {
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => take(Piece::Trailers(&fields::write_trailers(&trailers))),
            Ok(None) => {}
            Err(_) => return Poll::Ready(Err(Broken)),
        }
        self.done = true;
        Poll::Ready(Ok(Step::Ended))
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
