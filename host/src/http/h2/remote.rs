//! An answer's body from a server of HTTP/2, and what is still on its way to that server.

use std::task::{Context, Poll};

use super::incoming::Incoming;
use super::mux::Place;
use super::out::Out;
use crate::http::body::{Body, Unsent};
use crate::http::h1::incoming::{Broken, Piece, Step};
use crate::http::patience::Patience;

/// Dropped before its end, its stream is reset: the server need not go on.
pub(in crate::http) struct Reply {
    pub(super) incoming: Incoming,
    pub(super) sending: Sending,
    /// Its place among the connection's streams.
    pub(super) _place: Place,
}

/// A request's body on its way out.
pub(super) struct Sending {
    pub out: Out,
    pub body: Body,
    pub ended: bool,
    /// None: whoever sends it has a deadline of its own.
    pub patience: Option<Patience>,
}

impl Reply {
    pub fn is_settled(&self) -> bool {
        self.incoming.is_done() && self.sending.ended
    }

    pub fn length(&self) -> Option<u64> {
        self.incoming.length()
    }

    pub fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Piece<'_>),
    ) -> Poll<Result<Step, Broken>> {
        // The request goes on while its answer has begun already.
        match self.sending.poll(cx) {
            // The answer would end as if it were whole, to a request that was not.
            Poll::Ready(Err(Unsent::Body)) => return Poll::Ready(Err(Broken)),
            Poll::Ready(Err(Unsent::Peer)) => self.sending.give_up(),
            _ => {}
        }
        self.incoming.poll_step(cx, take)
    }

    /// Until the request has been sent in full. False: it broke off.
    pub fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.sending.poll(cx).map(|sent| sent.is_ok())
    }
}

impl Sending {
    /// Until all of it has been handed over, and has left.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        while !self.ended {
            let step = match self.out.poll_step(cx, &mut self.body) {
                Poll::Ready(Ok((Step::More, _))) => continue,
                Poll::Ready(Ok((Step::Ended, _))) => self.out.poll_flush(cx),
                Poll::Ready(Err(why)) => Poll::Ready(Err(why)),
                Poll::Pending => {
                    self.out.flush();
                    Poll::Pending
                }
            };
            match step {
                Poll::Ready(Ok(())) => self.ended = true,
                Poll::Ready(Err(why)) => return Poll::Ready(Err(why)),
                Poll::Pending => {
                    self.tell();
                    return Poll::Pending;
                }
            }
        }
        self.tell();
        Poll::Ready(Ok(()))
    }

    fn tell(&mut self) {
        match (&mut self.patience, self.out.queued()) {
            (Some(patience), 0) => patience.taken(),
            (Some(patience), left) => patience.blocked(left),
            (None, _) => {}
        }
    }

    /// It will not have to be said again.
    pub fn answered(&mut self) {
        self.out.take_kept();
        if self.ended && !self.out.is_done() {
            self.give_up();
        }
    }

    /// The body as it was before anything of it was sent, where that can still be had.
    pub fn into_body(mut self) -> Option<Body> {
        let begin = self.out.take_kept()?;
        Some(Body::begun(begin.into(), self.body))
    }

    /// The server takes no more.
    pub fn give_up(&mut self) {
        self.body = Body::empty();
        self.ended = true;
    }
}
