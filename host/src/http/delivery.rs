//! An answer on its way to the client, and who is told how that ended.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::body::{Body, Broken};
use super::link::{Blame, Link, Phase};
use super::stream::Outbox;

/// Told how an answer ended. Called once.
pub trait Ledger {
    fn ended(&mut self, ending: Ending);
}

pub struct Ending {
    /// None: it was delivered whole.
    pub broken: Option<Blame>,
    /// The answer itself was complete; what broke was its last way to the client.
    pub complete: bool,
    pub at: Instant,
    /// To the client, head and framing included.
    pub bytes_out: u64,
    pub body_bytes_out: u64,
    /// Of the request's body.
    pub bytes_in: u64,
}

/// An answer on its way to the client. Dropped before its end, it has failed.
pub struct Delivery {
    ledger: Option<Box<dyn Ledger>>,
    link: Rc<Link>,
    /// What had been written to the client before.
    before: u64,
    body: u64,
    complete: bool,
}

/// A response's body as hyper takes it.
pub(super) struct Outgoing {
    body: Body,
    between_bytes: Duration,
    link: Rc<Link>,
    outbox: Rc<Outbox>,
    delivery: Option<Delivery>,
    ended: bool,
}

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        if this.link.take_expired() == Some(Phase::ResponseBody) {
            this.link.blame(Blame::ServerTimeout);
            return Poll::Ready(Some(Err(Broken::timed_out())));
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Pending => {
                if this.link.phase() != Phase::ResponseBody {
                    this.link.enter(Phase::ResponseBody, this.between_bytes);
                }
                Poll::Pending
            }
            Poll::Ready(frame) => {
                match &frame {
                    None => this.ended = true,
                    Some(Err(_)) => this.link.blame(Blame::Server),
                    Some(Ok(frame)) => this.count(frame),
                }
                if this.link.phase() == Phase::ResponseBody {
                    this.link.enter(Phase::Delivery, this.link.timeouts().body);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Outgoing {
    /// Without a delivery: what follows the head is no body (a tunnel), and told of elsewhere.
    pub(super) fn new(
        body: Body,
        between_bytes: Duration,
        link: Rc<Link>,
        outbox: Rc<Outbox>,
        delivery: Option<Delivery>,
    ) -> Outgoing {
        Outgoing {
            body,
            between_bytes,
            link,
            outbox,
            delivery,
            ended: false,
        }
    }

    fn count(&mut self, frame: &Frame<Bytes>) {
        if let (Some(data), Some(delivery)) = (frame.data_ref(), &mut self.delivery) {
            delivery.body += data.len() as u64;
        }
        // Trailers are the last frame.
        self.ended |= frame.is_trailers();
    }
}

impl Drop for Outgoing {
    /// hyper drops a body when it has all of it in its buffers, or when the connection is gone.
    fn drop(&mut self) {
        let ended = self.ended || hyper::body::Body::is_end_stream(self);
        if let Some(mut delivery) = self.delivery.take().filter(|_| ended) {
            delivery.complete = true;
            self.link.end_exchange();
            self.outbox.complete(delivery);
        }
    }
}

impl Delivery {
    /// `before` is what had been written to the client until then.
    pub(super) fn new(ledger: Box<dyn Ledger>, link: Rc<Link>, before: u64) -> Delivery {
        Delivery {
            ledger: Some(ledger),
            link,
            before,
            body: 0,
            complete: false,
        }
    }

    pub(super) fn body_was(&mut self, bytes: u64) {
        self.body = bytes;
    }

    /// The last byte has been handed to the kernel.
    pub(super) fn ended_well(mut self, at: Instant) {
        self.tell(None, at);
    }

    fn tell(&mut self, broken: Option<Blame>, at: Instant) {
        let Some(mut ledger) = self.ledger.take() else {
            return;
        };
        ledger.ended(Ending {
            broken,
            complete: self.complete,
            at,
            bytes_out: self.link.traffic().1 - self.before,
            body_bytes_out: self.body,
            bytes_in: self.link.body_read(),
        });
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.ledger.is_some() {
            self.tell(Some(self.link.blamed()), Instant::now());
        }
    }
}
