//! A body on its way out on a stream. What is handed to the h2 crate waits there for the peer's windows and for the socket, so
//! nothing more is read of the body until all of it has left: that is what carries back-pressure from one peer to the other, and
//! bounds what a stream holds to one step of its body.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, SendStream};

use super::fields;
use crate::http::body::Body;
use crate::http::h1::incoming::{Broken, Piece, Step};
use crate::http::link::Link;

/// Bytes on their way out; they say so when they have left.
pub(super) struct Chunk {
    bytes: Bytes,
    flow: Rc<Flow>,
}

/// What is on its way on one stream.
pub(super) struct Flow {
    queued: Cell<usize>,
    /// Of the client that takes it, where a client does.
    link: Option<Rc<Link>>,
    /// Wake at every move, rather than when all has left.
    closely: bool,
    waker: RefCell<Option<Waker>>,
}

/// The sending side of a stream.
pub(super) struct Out {
    stream: SendStream<Chunk>,
    flow: Rc<Flow>,
    ended: bool,
}

/// Why a body could not be sent.
pub(super) enum Unsent {
    /// It broke off.
    Body,
    /// The peer has reset the stream, or is gone.
    Peer,
}

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Some of it was handed over.
    Some,
    /// All of it was.
    All,
}

impl Out {
    pub fn new(stream: SendStream<Chunk>, link: Option<Rc<Link>>) -> Out {
        let closely = link
            .as_ref()
            .is_some_and(|link| link.limits().floor.is_set());
        let flow = Flow {
            queued: Cell::new(0),
            link,
            closely,
            waker: RefCell::default(),
        };
        Out {
            stream,
            flow: Rc::new(flow),
            ended: false,
        }
    }

    /// All has been handed over, and has left.
    pub fn is_done(&self) -> bool {
        self.ended && self.queued() == 0
    }

    pub fn queued(&self) -> usize {
        self.flow.queued.get()
    }

    /// Until what was handed over has left.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        ready!(self.poll_reset(cx))?;
        if self.queued() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.flow.wait(cx.waker());
        Poll::Pending
    }

    /// Errors when the peer wants nothing more; else it is always ready, and wakes when that changes.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        match self.stream.poll_reset(cx) {
            Poll::Pending => Poll::Ready(Ok(())),
            Poll::Ready(_) => Poll::Ready(Err(Unsent::Peer)),
        }
    }

    /// Hands over one step of the body, once what was handed over before has left. The second is how many bytes that was.
    pub fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
    ) -> Poll<Result<(Progress, u64), Unsent>> {
        ready!(self.poll_flush(cx))?;
        if self.ended {
            return Poll::Ready(Ok((Progress::All, 0)));
        }
        let (step, data, trailers) = match body.take_full() {
            Some(bytes) => (Poll::Ready(Ok(Step::Ended)), bytes, None),
            None => gather(cx, body),
        };
        let count = data.len() as u64;
        match step {
            Poll::Pending if data.is_empty() => Poll::Pending,
            Poll::Ready(Err(Broken)) => Poll::Ready(Err(Unsent::Body)),
            Poll::Ready(Ok(Step::Ended)) => {
                self.end(data, trailers)?;
                Poll::Ready(Ok((Progress::All, count)))
            }
            _ => {
                self.send(data, false)?;
                Poll::Ready(Ok((Progress::Some, count)))
            }
        }
    }

    fn end(&mut self, data: Bytes, trailers: Option<http::HeaderMap>) -> Result<(), Unsent> {
        self.ended = true;
        let Some(trailers) = trailers else {
            return self.send(data, true);
        };
        if !data.is_empty() {
            self.send(data, false)?;
        }
        let sent = self.stream.send_trailers(trailers);
        sent.map_err(|_| Unsent::Peer)
    }

    /// Hands bytes over.
    pub fn send(&mut self, bytes: Bytes, last: bool) -> Result<(), Unsent> {
        self.flow.queued.set(self.queued() + bytes.len());
        let chunk = Chunk {
            bytes,
            flow: self.flow.clone(),
        };
        let sent = self.stream.send_data(chunk, last);
        sent.map_err(|_| Unsent::Peer)
    }

    /// Until the peer has reset the stream, or is gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_reset(cx).map(drop)
    }

    pub fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}

type Gathered = (Poll<Result<Step, Broken>>, Bytes, Option<http::HeaderMap>);

fn gather(cx: &mut Context<'_>, body: &mut Body) -> Gathered {
    let (mut data, mut trailers) = (BytesMut::new(), None);
    let step = body.poll_step(cx, &mut |piece| match piece {
        Piece::Data(bytes) => data.extend_from_slice(bytes),
        Piece::Trailers(lines) => trailers = fields::trailers(lines),
    });
    (step, data.freeze(), trailers)
}

impl Flow {
    fn wait(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    fn left(&self, bytes: usize) {
        self.queued.set(self.queued.get() - bytes);
        if (self.queued.get() == 0 || self.closely)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    /// It is being written.
    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(link) = &self.flow.link {
            link.count_written(count);
        }
        self.flow.left(count);
    }
}

impl Drop for Chunk {
    /// Written, or in vain.
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.flow.left(self.bytes.len());
        }
    }
}
