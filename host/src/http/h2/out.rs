//! A body on its way out on a stream. What neither the peer's windows nor the socket take waits here, and nothing more is read of the
//! body until it has gone: that is what carries back-pressure from one peer to the other, and bounds what a stream holds to one
//! step of its body.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::fields;
use super::frame::Reason;
use super::hpack::Encoder;
use super::stream::{Cause, Stream};
use crate::http::body::{Body, Unsent};
use crate::http::h1::incoming::{Broken, Piece, Step};
use crate::http::link::Link;

/// The sending side of a stream.
pub(super) struct Out {
    stream: Rc<Stream>,
    /// Of the client that takes it, where a client does.
    link: Option<Rc<Link>>,
    /// Read of the body, and not sent yet.
    held: Vec<u8>,
    at: usize,
    /// The lines of trailers that come behind it.
    trailers: Vec<u8>,
    /// The body is over.
    over: bool,
    /// All that was sent, for as long as it may have to be said again. None: that is over, or there was too much.
    kept: Option<Vec<u8>>,
}

/// Bytes of a request that are kept until its server has taken it on. Most calls of gRPC have fewer.
const MOST_KEPT: usize = 16 << 10;

impl Out {
    pub fn new(stream: Rc<Stream>, link: Option<Rc<Link>>) -> Out {
        Out {
            stream,
            link,
            held: Vec::new(),
            at: 0,
            trailers: Vec::new(),
            over: false,
            kept: None,
        }
    }

    /// Keeps what is sent from now on.
    pub fn keep(&mut self) {
        self.kept = Some(Vec::new());
    }

    /// What was sent since, if it is all there; nothing more is kept.
    pub fn take_kept(&mut self) -> Option<Vec<u8>> {
        self.kept.take()
    }

    fn keep_too(&mut self, bytes: &[u8]) {
        let Some(kept) = &mut self.kept else { return };
        if kept.len() + bytes.len() > MOST_KEPT {
            self.kept = None;
        } else {
            kept.extend_from_slice(bytes);
        }
    }

    /// Sends a head; `end`: there is no body.
    pub fn head(&mut self, end: bool, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        self.over |= end;
        let sent = self.stream.conn.send_head(&self.stream, end, write);
        self.count(sent);
    }

    fn count(&self, sent: usize) {
        if let Some(link) = &self.link {
            link.count_written(sent);
        }
    }

    /// Bytes that have not left.
    pub fn queued(&self) -> usize {
        self.held.len() - self.at + self.stream.conn.unwritten(&self.stream)
    }

    /// All of the body was sent, and has left.
    pub fn is_done(&self) -> bool {
        self.over && self.queued() == 0
    }

    /// Sends one step of the body, once what was read of it before is gone. The second is how many bytes that was. What was sent
    /// waits for a flush, so that more may leave with it.
    pub fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
    ) -> Poll<Result<(Step, u64), Unsent>> {
        ready!(self.poll_held(cx))?;
        if self.over {
            return Poll::Ready(Ok((Step::Ended, 0)));
        }
        if !self.has_room() {
            return self.wait(1, cx);
        }
        let (mut count, mut trailers) = (0, Vec::new());
        let step = body.poll_step(cx, &mut |piece| match piece {
            Piece::Data(bytes) => {
                count += bytes.len() as u64;
                self.send(bytes);
            }
            Piece::Trailers(lines) => trailers.extend_from_slice(lines),
        });
        match step {
            Poll::Pending if count == 0 => Poll::Pending,
            Poll::Ready(Err(Broken)) => Poll::Ready(Err(Unsent::Body)),
            Poll::Ready(Ok(Step::Ended)) => {
                self.trailers = trailers;
                self.end();
                Poll::Ready(Ok((Step::Ended, count)))
            }
            _ => Poll::Ready(Ok((Step::More, count))),
        }
    }

    /// Until what was read before is sent. Errors when the peer wants nothing more, and wakes when that changes.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        if self.stream.poll_end(cx).is_ready() {
            return Poll::Ready(Err(Unsent::Peer));
        }
        while self.at < self.held.len() {
            let wants = self.held.len() - self.at;
            if !self.has_room() {
                return self.wait(wants, cx);
            }
            let (taken, sent) = self
                .stream
                .conn
                .send_data(&self.stream, &self.held[self.at..]);
            if taken == 0 {
                return self.wait(wants, cx);
            }
            self.count(sent);
            self.at += taken;
        }
        if self.at > 0 {
            (self.held, self.at) = (Vec::new(), 0);
            if self.over {
                self.say_end();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn has_room(&self) -> bool {
        let conn = &self.stream.conn;
        if !conn.has_room() {
            conn.flush();
        }
        conn.has_room()
    }

    fn wait<T>(&self, wants: usize, cx: &Context<'_>) -> Poll<T> {
        self.stream.conn.wait_to_write(&self.stream, wants, cx);
        Poll::Pending
    }

    /// Sends bytes, as far as the peer takes them now.
    pub fn send(&mut self, bytes: &[u8]) {
        self.keep_too(bytes);
        let mut taken = 0;
        if self.held.is_empty() {
            let sent;
            (taken, sent) = self.stream.conn.send_data(&self.stream, bytes);
            self.count(sent);
        }
        self.held.extend_from_slice(&bytes[taken..]);
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        self.over = true;
        if self.held.is_empty() {
            self.say_end();
        }
    }

    fn say_end(&mut self) {
        if self.trailers.is_empty() {
            return self.stream.conn.send_end(&self.stream);
        }
        self.kept = None;
        let trailers = std::mem::take(&mut self.trailers);
        self.head(true, |encoder, out| {
            fields::trailers(&trailers, encoder, out)
        });
    }

    /// Until what was sent has left.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        let held = self.poll_held(cx);
        self.flush();
        ready!(held)?;
        match self.queued() {
            0 => Poll::Ready(Ok(())),
            _ => self.wait(0, cx),
        }
    }

    /// What was sent leaves, as far as the socket takes it now.
    pub fn flush(&self) {
        self.stream.conn.flush();
    }

    /// Until the peer has reset the stream, or is gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_end(cx).map(drop)
    }

    pub fn reset(&mut self, reason: Reason) {
        self.stream.conn.reset(&self.stream, reason, Cause::Ours);
    }
}
