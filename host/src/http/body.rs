//! The body of a message: bytes at hand, or a stream from one peer that is read as fast as the other takes it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::Reply;
use super::compress::Compressed;
use super::h1::incoming::{Broken, Incoming, Piece, Step};
use super::h2;
use super::link::{Blame, Link, Phase};
use super::pace::{Pace, SHORTEST};
use crate::config::checked::Coding;

pub struct Body(Source);

enum Source {
    Empty,
    Full(Bytes),
    Client(Box<FromClient<Incoming>>),
    Server(Box<Reply>),
    Compressed(Box<Compressed>),
    /// What was read of it already, and the rest.
    Begun(Box<(Bytes, Body)>),
    /// The same two over HTTP/2.
    ClientStream(Box<FromClient<h2::incoming::Incoming>>),
    ServerStream(Box<h2::remote::Reply>),
}

/// A body that comes from a client, in either protocol.
pub(super) trait Coming {
    /// What is at hand, else one read; what it holds goes to `take`.
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Piece<'_>),
    ) -> Poll<Result<Step, Broken>>;
    fn is_done(&self) -> bool;
    /// Somebody reads it, or nobody does any more.
    fn set_taken(&self, taken: bool);
}

/// A request's body on its way in.
pub(super) struct FromClient<I: Coming> {
    pub incoming: I,
    pub link: Rc<Link>,
    /// It waits for a word before it sends its body (RFC 9110, 10.1.1).
    pub expects: bool,
    /// How long the server may then take to answer.
    pub first_byte: Duration,
    pub pace: Pace,
    /// Bytes that may still come.
    pub most: u64,
}

/// Why a body could not be sent.
pub(super) enum Unsent {
    /// It broke off.
    Body,
    /// The peer takes no more, or is gone; it may have answered all the same.
    Peer,
}

/// Why a body could not be collected.
#[derive(Debug, PartialEq, Eq)]
pub enum CollectError {
    TooLarge,
    Broken,
}

impl Body {
    pub fn empty() -> Body {
        Body(Source::Empty)
    }

    pub fn full(bytes: impl Into<Bytes>) -> Body {
        let bytes = bytes.into();
        Body(if bytes.is_empty() {
            Source::Empty
        } else {
            Source::Full(bytes)
        })
    }

    /// One that begins with these bytes.
    pub(super) fn begun(begin: Bytes, rest: Body) -> Body {
        if begin.is_empty() {
            rest
        } else if rest.is_empty() {
            Body::full(begin)
        } else {
            Body(Source::Begun(Box::new((begin, rest))))
        }
    }

    pub(super) fn from_client(client: FromClient<Incoming>) -> Body {
        if client.incoming.is_done() {
            return Body::empty();
        }
        client.incoming.set_taken(true);
        Body(Source::Client(Box::new(client)))
    }

    pub(super) fn from_client_stream(client: FromClient<h2::incoming::Incoming>) -> Body {
        if client.incoming.is_done() {
            return Body::empty();
        }
        Body(Source::ClientStream(Box::new(client)))
    }

    pub(super) fn from_server_stream(reply: h2::remote::Reply) -> Body {
        if reply.is_settled() {
            Body::empty()
        } else {
            Body(Source::ServerStream(Box::new(reply)))
        }
    }

    pub(super) fn from_server(reply: Reply) -> Body {
        // One that has come whole is settled by being dropped.
        if reply.is_settled() {
            Body::empty()
        } else {
            Body(Source::Server(Box::new(reply)))
        }
    }

    /// Whether nothing comes, or nothing more.
    pub fn is_empty(&self) -> bool {
        self.length() == Some(0)
    }

    /// The bytes to come, where that is known.
    pub fn length(&self) -> Option<u64> {
        match &self.0 {
            Source::Empty => Some(0),
            Source::Full(bytes) => Some(bytes.len() as u64),
            Source::Client(client) => client.incoming.length(),
            Source::Server(reply) => reply.length(),
            Source::Compressed(_) => None,
            Source::Begun(begun) => Some(begun.0.len() as u64 + begun.1.length()?),
            Source::ClientStream(client) => client.incoming.length(),
            Source::ServerStream(reply) => reply.length(),
        }
    }

    /// How long the server may take to answer once it has the whole of this request's body.
    pub fn answer_within(&mut self, first_byte: Duration) {
        match &mut self.0 {
            Source::Client(client) => client.first_byte = first_byte,
            Source::ClientStream(client) => client.first_byte = first_byte,
            Source::Begun(begun) => begun.1.answer_within(first_byte),
            _ => {}
        }
    }

    /// No more than that many bytes of a request are read, beyond them it is broken, and the link knows why.
    pub fn bound(&mut self, most: u64) {
        match &mut self.0 {
            Source::Client(client) => client.most = most,
            Source::ClientStream(client) => client.most = most,
            _ => {}
        }
    }

    /// The same, compressed as it streams.
    pub fn compressed(self, coding: Coding, level: u32) -> Body {
        match Compressed::new(self, coding, level) {
            Ok(compressed) => Body(Source::Compressed(Box::new(compressed))),
            // Its head says otherwise already: nothing is better than bytes that can't be read.
            Err(_) => Body::empty(),
        }
    }

    /// What is at hand, else one read; what it holds goes to `take`.
    pub(super) fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Piece<'_>),
    ) -> Poll<Result<Step, Broken>> {
        match &mut self.0 {
            Source::Empty => Poll::Ready(Ok(Step::Ended)),
            Source::Full(bytes) => {
                take(Piece::Data(bytes));
                self.0 = Source::Empty;
                Poll::Ready(Ok(Step::Ended))
            }
            Source::Client(client) => client.poll_step(cx, take),
            Source::Server(reply) => reply.poll_step(cx, take),
            Source::Compressed(compressed) => compressed.poll_step(cx, take),
            Source::ClientStream(client) => client.poll_step(cx, take),
            Source::ServerStream(reply) => reply.poll_step(cx, take),
            Source::Begun(begun) => {
                take(Piece::Data(&begun.0));
                *self = std::mem::take(&mut begun.1);
                Poll::Ready(Ok(Step::More))
            }
        }
    }

    /// There is nothing of it for the client.
    pub(super) fn withhold(&mut self) {
        match std::mem::replace(&mut self.0, Source::Empty) {
            Source::Compressed(compressed) => {
                *self = compressed.into_inner();
                self.withhold();
            }
            // What the connection to the server needs for its end.
            kept @ (Source::Server(_) | Source::ServerStream(_)) => self.0 = kept,
            _ => {}
        }
    }

    /// Once a response has been delivered: until the request behind it has been sent in full. False: it broke off.
    pub(super) fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match &mut self.0 {
            Source::Server(reply) => reply.poll_settle(cx),
            Source::Compressed(compressed) => compressed.poll_settle(cx),
            Source::ServerStream(reply) => reply.poll_settle(cx),
            _ => Poll::Ready(true),
        }
    }

    /// The beginning of it, at least `enough` bytes where there are so many; the rest is left.
    pub async fn beginning(mut self, enough: usize) -> Result<Vec<u8>, Broken> {
        let mut all = Vec::new();
        loop {
            let mut take = |piece: Piece<'_>| {
                if let Piece::Data(bytes) = piece {
                    all.extend_from_slice(bytes);
                }
            };
            let step = poll_fn(|cx| self.poll_step(cx, &mut take)).await?;
            if step == Step::Ended || all.len() >= enough {
                return Ok(all);
            }
        }
    }

    /// All of it, up to a limit.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, CollectError> {
        if let Source::Full(bytes) = &mut self.0 {
            let whole = std::mem::take(bytes);
            return if whole.len() > limit {
                Err(CollectError::TooLarge)
            } else {
                Ok(whole)
            };
        }
        let mut all = Vec::new();
        loop {
            let mut take = |piece: Piece<'_>| {
                if let Piece::Data(bytes) = piece {
                    all.extend_from_slice(bytes);
                }
            };
            let step = poll_fn(|cx| self.poll_step(cx, &mut take)).await;
            if all.len() > limit {
                return Err(CollectError::TooLarge);
            }
            match step {
                Ok(Step::More) => {}
                Ok(Step::Ended) => return Ok(all.into()),
                Err(Broken) => return Err(CollectError::Broken),
            }
        }
    }
}

impl<I: Coming> FromClient<I> {
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Piece<'_>),
    ) -> Poll<Result<Step, Broken>> {
        if std::mem::take(&mut self.expects) {
            self.link
                .say_ahead(|out| out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        let link = self.link.clone();
        let before = link.body_read();
        let most = before.saturating_add(self.most);
        let step = self.incoming.poll_step(cx, &mut |piece| {
            if let Piece::Data(bytes) = piece {
                link.count_body(bytes.len());
            }
            if link.body_read() <= most {
                take(piece);
            }
        });
        self.most = self.most.saturating_sub(link.body_read() - before);
        if link.body_read() > most {
            link.blame(Blame::TooLarge);
            link.leave_body();
            self.incoming.set_taken(false);
            return Poll::Ready(Err(Broken));
        }
        match step {
            _ if !link.awaits_answer() => {}
            Poll::Pending => self.wait_for_client(),
            Poll::Ready(_) => self.wait_for_server(link.body_read() - before),
        }
        if self.incoming.is_done() {
            self.incoming.set_taken(false);
        }
        step
    }

    fn wait_for_client(&mut self) {
        if self.link.awaits_body() {
            return;
        }
        let limits = self.link.limits();
        if limits.floor.is_set() {
            let left = self.pace.wait(limits.floor, Instant::now());
            if left < limits.body {
                return self.link.enter(Phase::SlowBody, left.max(SHORTEST));
            }
        }
        self.link.enter(Phase::RequestBody, limits.body);
    }

    /// Until the response's head is here; a server that answers before it has the whole request has a phase of its own.
    fn wait_for_server(&mut self, bytes: u64) {
        if self.link.limits().floor.is_set() {
            self.pace.moved(bytes, Instant::now());
        }
        self.link.enter(Phase::FirstByte, self.first_byte);
    }
}

impl<I: Coming> Drop for FromClient<I> {
    fn drop(&mut self) {
        if !self.incoming.is_done() {
            self.link.leave_body();
        }
        self.incoming.set_taken(false);
    }
}

impl Default for Body {
    fn default() -> Body {
        Body::empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_collected_up_to_a_limit() {
        let body = || Body::full("0123456789");
        assert_eq!(body().length(), Some(10));
        assert_eq!(body().collect(10).await.unwrap(), "0123456789");
        assert_eq!(body().collect(9).await, Err(CollectError::TooLarge));
        assert_eq!(Body::empty().collect(0).await.unwrap(), "");
    }
}
