//! Pipes, through which the kernel moves bytes from one socket to another without copying them: splice(2).
//!
//! A pipe is lent only for as long as something lies in it, so a connection that is silent, or whose reader keeps up, holds none.
//! It is two open files: a worker may have few at once, and who gets none copies.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;

use super::Stream;

/// What a worker may have at once where open files are no matter.
const MOST: usize = 64;

/// With fewer open files there are none.
const FEW: usize = 1_024;

/// What a worker keeps for the next who needs one.
const KEPT: usize = 16;

static MOST_EACH: AtomicUsize = AtomicUsize::new(MOST);

thread_local! {
    static KEPT_HERE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    static LENT_HERE: Cell<usize> = const { Cell::new(0) };
}

/// Of so many open files a sixteenth may be pipes of the workers, at most. Answers how many are left for everything else.
pub fn set_aside(files: usize, workers: usize) -> usize {
    let each = each(files, workers);
    MOST_EACH.store(each, Relaxed);
    files - 2 * each * workers
}

fn each(files: usize, workers: usize) -> usize {
    if files < FEW {
        return 0;
    }
    (files / 32 / workers.max(1)).min(MOST)
}

/// Whether the system does not do that at all: an old kernel with such a socket, or a filter of system calls.
pub fn is_refused(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::PERM]
        .iter()
        .any(|refused| error.raw_os_error() == Some(refused.raw_os_error()))
}

/// On loan from the worker.
pub struct Pipe {
    ends: Ends,
    held: usize,
    _loan: Loan,
}

struct Ends {
    reading: OwnedFd,
    writing: OwnedFd,
}

struct Loan;

impl Pipe {
    /// An empty one. None: the worker has too many, or the process may open no more files.
    pub fn lend() -> Option<Pipe> {
        let loan = Loan::new()?;
        let kept = KEPT_HERE.with_borrow_mut(Vec::pop);
        Some(Pipe {
            ends: kept.or_else(Ends::new)?,
            held: 0,
            _loan: loan,
        })
    }

    /// One with bytes in it is closed: nobody else may get them.
    pub fn give_back(self) {
        if !self.is_empty() {
            return;
        }
        KEPT_HERE.with_borrow_mut(|kept| {
            if kept.len() < KEPT {
                kept.push(self.ends);
            }
        });
    }

    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// How many this worker has lent, and how many it keeps.
    #[cfg(test)]
    pub fn counts() -> (usize, usize) {
        (LENT_HERE.get(), KEPT_HERE.with_borrow(Vec::len))
    }

    /// Moves up to so many bytes out of the socket. Zero: it has ended. Only an empty pipe is filled: what there is to wait for is
    /// the socket, never the pipe.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &Stream,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(self.is_empty());
        let into = &self.ends.writing;
        let fill = || Ok(splice(from.socket(), None, into, None, most, FLAGS)?);
        let moved = ready!(from.poll_io(cx, Interest::READABLE, fill))?;
        self.held += moved;
        Poll::Ready(Ok(moved))
    }

    /// Moves as much to the socket as it takes. The pipe is not empty: again there is only the socket to wait for. A socket that
    /// is closed raises SIGPIPE here, unlike with send(2); Rust's runtime has it ignored.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, to: &Stream) -> Poll<io::Result<usize>> {
        debug_assert!(!self.is_empty());
        let (from, held) = (&self.ends.reading, self.held);
        let drain = || Ok(splice(from, None, to.socket(), None, held, FLAGS)?);
        let moved = ready!(to.poll_io(cx, Interest::WRITABLE, drain))?;
        if moved == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.held -= moved;
        Poll::Ready(Ok(moved))
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

impl Ends {
    fn new() -> Option<Ends> {
        let (reading, writing) = pipe_with(PipeFlags::CLOEXEC).ok()?;
        Some(Ends { reading, writing })
    }
}

impl Loan {
    fn new() -> Option<Loan> {
        let lent = LENT_HERE.get();
        (lent < MOST_EACH.load(Relaxed)).then(|| {
            LENT_HERE.set(lent + 1);
            Loan
        })
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        LENT_HERE.set(LENT_HERE.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_lent_and_few_of_them_kept() {
        let lent: Vec<Pipe> = std::iter::from_fn(Pipe::lend).collect();
        assert_eq!((lent.len(), Pipe::counts()), (MOST, (MOST, 0)));
        lent.into_iter().for_each(Pipe::give_back);
        assert_eq!(Pipe::counts(), (0, KEPT));
        drop(Pipe::lend());
        assert_eq!(Pipe::counts(), (0, KEPT - 1), "it was not given back");
    }

    #[test]
    fn where_files_are_few_so_are_pipes() {
        assert_eq!(each(usize::MAX, 4), MOST);
        assert_eq!(each(1024, 4), 8);
        assert_eq!(each(1023, 4), 0);
    }
}
