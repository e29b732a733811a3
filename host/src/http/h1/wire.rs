//! A socket as the engine uses it: readiness first, then one read into the worker's scratch buffer, which whoever reads
//! looks at in place. So a connection that waits holds no buffer.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::link::Link;
use crate::net::Stream;

/// Bytes of one read. Larger ones save little more.
pub const SCRATCH: usize = 64 * 1024;

/// Bytes that are read of a next request while an answer is awaited.
const AHEAD: usize = 4 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// Lends the worker's buffer for one read.
pub fn with_scratch<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    READ.with_borrow_mut(|scratch| read(scratch))
}

pub struct Wire {
    socket: RefCell<Stream>,
    /// Read, and meant for what comes next.
    rest: RefCell<Vec<u8>>,
    /// A client's: its traffic is counted there.
    link: Option<Rc<Link>>,
    /// Bytes read, ever.
    read: Cell<u64>,
    /// Somebody reads a body from it.
    taken: Cell<bool>,
    /// The peer sends nothing more.
    ended: Cell<bool>,
}

impl Wire {
    pub fn new(socket: Stream, link: Option<Rc<Link>>) -> Wire {
        Wire {
            socket: RefCell::new(socket),
            rest: RefCell::default(),
            link,
            read: Cell::new(0),
            taken: Cell::new(false),
            ended: Cell::new(false),
        }
    }

    /// Reads once, up to `most` bytes, and shows them to `look`; an empty slice is the end.
    pub fn poll_read<T>(
        &self,
        cx: &mut Context<'_>,
        most: usize,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        with_scratch(|scratch| {
            let mut buffer = ReadBuf::new(&mut scratch[..most.min(SCRATCH)]);
            ready!(Pin::new(&mut *self.socket.borrow_mut()).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            self.read.set(self.read.get() + bytes.len() as u64);
            if let Some(link) = self.link.as_ref().filter(|_| !bytes.is_empty()) {
                link.count_read(bytes.len());
            }
            Poll::Ready(Ok(look(bytes)))
        })
    }

    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.socket.borrow_mut()).poll_write(cx, bytes))?;
        if let Some(link) = &self.link {
            link.count_written(written);
        }
        Poll::Ready(Ok(written))
    }

    /// Whether bytes that were written still need a flush. Never so of plain TCP.
    pub fn holds(&self) -> bool {
        self.socket.borrow().holds()
    }

    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_flush(cx)
    }

    /// Says that the connection ends here of our own will, as far as its transport has a word for that.
    pub fn part(&self) {
        self.socket.borrow_mut().part();
    }

    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_shutdown(cx)
    }

    /// Whether nothing has come while nothing was to come: neither an end nor a byte. Costs a system call only when
    /// something has.
    pub fn is_quiet(&self) -> bool {
        self.socket.borrow_mut().is_quiet()
    }

    /// Says whether somebody reads a body from it.
    pub fn set_taken(&self, taken: bool) {
        self.taken.set(taken);
    }

    /// Resolves when the peer goes away while nothing is expected of it; whether the end of what it sends is that, `at_end`
    /// says. What it sends meanwhile is kept, and then it is no longer looked at: its next request must not fill our memory.
    pub fn poll_gone(&self, cx: &mut Context<'_>, at_end: bool) -> Poll<()> {
        if self.taken.get() || self.has_rest() || self.ended.get() {
            return Poll::Pending;
        }
        let ended = ready!(self.poll_read(cx, AHEAD, |bytes| {
            self.keep(bytes);
            bytes.is_empty()
        }));
        if matches!(ended, Ok(true)) && !at_end {
            self.ended.set(true);
            return Poll::Pending;
        }
        if ended.unwrap_or(true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// What a client may send as a request's head.
    pub fn most_head(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.limits().most_head)
    }

    /// Bytes written that the peer has not taken.
    pub fn unsent(&self) -> u64 {
        self.socket.borrow().unsent()
    }

    pub fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// Keeps bytes for what comes next.
    pub fn keep(&self, bytes: &[u8]) {
        self.rest.borrow_mut().extend_from_slice(bytes);
    }

    pub fn take_rest(&self) -> Vec<u8> {
        self.rest.take()
    }

    pub fn has_rest(&self) -> bool {
        !self.rest.borrow().is_empty()
    }

    /// A reset rather than an end, once it is dropped.
    pub fn cut(&self) {
        self.socket.borrow().cut();
    }

    pub fn into_socket(self) -> Stream {
        self.socket.into_inner()
    }
}
