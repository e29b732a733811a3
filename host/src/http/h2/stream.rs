//! One stream: what has come on it and was not taken, its windows, and how it ended. It is one task's, who is woken when any of that
//! changes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::conn::Conn;
use super::frame::Reason;

pub(super) struct Stream {
    pub id: u32,
    pub conn: Rc<Conn>,
    waker: RefCell<Option<Waker>>,
    coming: RefCell<Coming>,
    /// Bytes that are still to come, where the head said so.
    pub left: Cell<Option<u64>>,
    /// Of a request to a server: its answer has no body, whatever its head says of one (RFC 9110, 6.4.1).
    pub bodiless: Cell<bool>,
    /// The answer's head has come: what comes behind the body are trailers.
    pub headed: Cell<bool>,
    /// Nothing more comes.
    pub peer_ended: Cell<bool>,
    /// Bytes that the peer may send, and those that were taken since it was last told.
    pub granted: Cell<i64>,
    pub owed: Cell<u32>,
    /// Bytes that we may send.
    pub window: Cell<i64>,
    /// Up to where the connection must have written for all of it to have left.
    pub mark: Cell<u64>,
    /// We send nothing more.
    pub ended: Cell<bool>,
    /// It stands among those that wait for the connection to write.
    pub waits: Cell<bool>,
    /// Bytes that it waits to send.
    pub wants: Cell<usize>,
    /// It is one of those of which only so many may be open.
    pub counted: Cell<bool>,
    end: Cell<Option<Cause>>,
}

#[derive(Default)]
struct Coming {
    data: Vec<u8>,
    /// Heads of answers, as HTTP/1.1 has them.
    heads: VecDeque<Vec<u8>>,
    /// The lines of the trailer section.
    trailers: Vec<u8>,
}

/// Why a stream ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The peer has reset it.
    Reset(Reason),
    /// The peer goes, and has not looked at it (RFC 9113, 6.8).
    LeftOut,
    /// The peer broke the protocol.
    Violation,
    /// The connection is gone.
    Closed,
    /// We have reset it.
    Ours,
}

impl Stream {
    pub fn new(id: u32, conn: &Rc<Conn>, granted: i64, window: i64) -> Rc<Stream> {
        Rc::new(Stream {
            id,
            conn: conn.clone(),
            waker: RefCell::default(),
            coming: RefCell::default(),
            left: Cell::new(None),
            bodiless: Cell::new(false),
            headed: Cell::new(false),
            peer_ended: Cell::new(false),
            granted: Cell::new(granted),
            owed: Cell::new(0),
            window: Cell::new(window),
            mark: Cell::new(0),
            ended: Cell::new(false),
            waits: Cell::new(false),
            wants: Cell::new(0),
            counted: Cell::new(true),
            end: Cell::new(None),
        })
    }

    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Whom to wake.
    pub fn wait(&self, cx: &Context<'_>) {
        let mut known = self.waker.borrow_mut();
        if !known
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *known = Some(cx.waker().clone());
        }
    }

    /// The first cause counts.
    pub fn end(&self, cause: Cause) {
        if self.end.get().is_none() {
            self.end.set(Some(cause));
            self.wake();
        }
    }

    pub fn cause(&self) -> Option<Cause> {
        self.end.get()
    }

    /// Until it ends before its time.
    pub fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Cause> {
        match self.cause() {
            Some(cause) => Poll::Ready(cause),
            None => {
                self.wait(cx);
                Poll::Pending
            }
        }
    }

    /// Bytes of its body have come. False: there are more, or fewer, than its head said.
    pub fn heard(&self, bytes: &[u8], end: bool) -> bool {
        if let Some(left) = self.left.get() {
            let Some(left) = left.checked_sub(bytes.len() as u64) else {
                return false;
            };
            if end && left > 0 {
                return false;
            }
            self.left.set(Some(left));
        }
        self.coming.borrow_mut().data.extend_from_slice(bytes);
        self.peer_ended.set(end);
        self.wake();
        true
    }

    pub fn heard_head(&self, text: Vec<u8>) {
        self.coming.borrow_mut().heads.push_back(text);
        self.wake();
    }

    pub fn heads(&self) -> usize {
        self.coming.borrow().heads.len()
    }

    /// The trailer section has come. False: the body is shorter than its head said.
    pub fn heard_trailers(&self, lines: Vec<u8>) -> bool {
        self.coming.borrow_mut().trailers = lines;
        self.heard(&[], true)
    }

    pub fn take_head(&self) -> Option<Vec<u8>> {
        self.coming.borrow_mut().heads.pop_front()
    }

    /// Bytes of its body that have come and were not taken.
    pub fn has(&self) -> usize {
        self.coming.borrow().data.len()
    }

    /// What has come of its body; it is to be released when it has been used.
    pub fn take_data(&self) -> Vec<u8> {
        std::mem::take(&mut self.coming.borrow_mut().data)
    }

    /// The memory of what was taken may be of use again.
    pub fn give_back(&self, mut memory: Vec<u8>) {
        let mut coming = self.coming.borrow_mut();
        if coming.data.capacity() == 0 {
            memory.clear();
            coming.data = memory;
        }
    }

    pub fn take_trailers(&self) -> Vec<u8> {
        std::mem::take(&mut self.coming.borrow_mut().trailers)
    }

    /// Nothing more is to come, and all of it was taken.
    pub fn is_read(&self) -> bool {
        let coming = self.coming.borrow();
        self.peer_ended.get() && coming.data.is_empty() && coming.trailers.is_empty()
    }
}
