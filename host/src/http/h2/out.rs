//! A body on its way out on a stream. What is handed to the h2 crate waits there for the peer's windows and for the socket, so
//! nothing more is read of the body until all of it has left: that is what carries back-pressure from one peer to the other, and
//! bounds what a stream holds to one step of its body.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, SendStream};

use super::fields;
use crate::http::body::{Body, Unsent};
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
    /// All that was handed over, for as long as it may have to be said again. None: that is over, or there was too much.
    kept: Option<Vec<Bytes>>,
}

/// Bytes of a request that are kept until its server has taken it on. Most calls of gRPC have fewer.
const MOST_KEPT: usize = 16 << 10;
const MOST_PIECES: usize = 16;

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
            kept: None,
        }
    }

    /// Keeps what is handed over from now on.
    pub fn keep(&mut self) {
        self.kept = Some(Vec::new());
    }

    /// What was handed over since, if it is all there; nothing more is kept.
    pub fn take_kept(&mut self) -> Option<Bytes> {
        let kept = self.kept.take()?;
        Some(match <[Bytes; 1]>::try_from(kept) {
            Ok([one]) => one,
            Err(several) => several.concat().into(),
        })
    }

    fn keep_too(&mut self, bytes: &Bytes) {
        let Some(kept) = &mut self.kept else { return };
        let before: usize = kept.iter().map(Bytes::len).sum();
        if kept.len() == MOST_PIECES || before + bytes.len() > MOST_KEPT {
            self.kept = None;
        } else if !bytes.is_empty() {
            kept.push(bytes.clone());
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
    ) -> Poll<Result<(Step, u64), Unsent>> {
        ready!(self.poll_flush(cx))?;
        if self.ended {
            return Poll::Ready(Ok((Step::Ended, 0)));
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
                Poll::Ready(Ok((Step::Ended, count)))
            }
            _ => {
                self.send(data, false)?;
                Poll::Ready(Ok((Step::More, count)))
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
        self.kept = None;
        let sent = self.stream.send_trailers(trailers);
        sent.map_err(|_| Unsent::Peer)
    }

    /// Hands bytes over.
    pub fn send(&mut self, bytes: Bytes, last: bool) -> Result<(), Unsent> {
        self.keep_too(&bytes);
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
