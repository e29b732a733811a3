//! Where workers hand over to the writer: a ring for each, the writer's bell, and the orders it is given.

use std::cell::RefCell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::base::event::RequestEnded;

use super::Access;
use super::date;
use super::format::{Entry, Formatter, Lines};

/// Bytes of a worker's ring: some two thousand JSON lines, and more than the longest line.
pub const ROOM: usize = 1 << 20;
/// A buffer that a long line has made longer than this is cut back to it.
const BUFFER: usize = 16 << 10;

/// A worker's end of the access log.
pub struct Worker {
    end: RefCell<End>,
    /// Keeps the writer for as long as somebody may write.
    access: Arc<Access>,
}

struct End {
    formatter: Formatter,
    /// What lines are to be like.
    lines: Cache<Arc<ArcSwap<Lines>>, Arc<Lines>>,
    /// Reused for each line.
    line: Vec<u8>,
    ring: Producer<u8>,
}

impl Worker {
    pub(super) fn new(access: Arc<Access>, room: usize) -> Worker {
        let (ring, drain) = RingBuffer::new(room);
        access.hall.welcome(drain);
        let mut lines = Cache::new(access.lines.clone());
        let end = End {
            formatter: Formatter::new(lines.load().clone()),
            lines,
            line: Vec::with_capacity(BUFFER),
            ring,
        };
        Worker {
            end: RefCell::new(end),
            access,
        }
    }

    /// Queues a line; drops it when there is no room.
    pub fn write(&self, request: &RequestEnded<'_>, listener_connections: u64) {
        let mut end = self.end.borrow_mut();
        let End {
            formatter,
            lines,
            line,
            ring,
        } = &mut *end;
        formatter.follow(lines.load());
        line.clear();
        let entry = Entry {
            request,
            ended: date::now(),
            listener_connections,
        };
        formatter.line(line, &entry);
        let hall = &self.access.hall;
        match ring.push_entire_slice(line) {
            Ok(()) => hall.ring_bell(),
            Err(_) => hall.counts.refuse(),
        }
        if line.capacity() > BUFFER {
            line.truncate(BUFFER);
            line.shrink_to(BUFFER);
        }
    }
}

/// What workers, the writer and whoever gives orders share.
#[derive(Default)]
pub struct Hall {
    pub counts: Counts,
    /// Whether the writer wants to be woken.
    asleep: AtomicBool,
    closed: AtomicBool,
    writer: OnceLock<Thread>,
    newcomers: Mutex<Vec<Consumer<u8>>>,
    orders: Mutex<Orders>,
    flushed: Condvar,
}

/// Lines so far. Each on a cache line of its own: `full` is written by workers, and only while they drop lines.
#[derive(Default)]
#[repr(align(64))]
pub struct Counts {
    pub written: AtomicU64,
    /// The target failed.
    pub failed: AtomicU64,
    full: Padded,
}

#[derive(Default)]
#[repr(align(64))]
struct Padded(AtomicU64);

#[derive(Clone, Copy, Default)]
pub struct Orders {
    pub reopen: bool,
    flushes_asked: u64,
    flushes_done: u64,
}

impl Counts {
    /// Lines for which a ring had no room.
    pub fn full(&self) -> u64 {
        self.full.0.load(Relaxed)
    }

    fn refuse(&self) {
        self.full.0.fetch_add(1, Relaxed);
    }
}

/// For workers, and for whoever gives orders.
impl Hall {
    /// After a line was pushed. The fence stands between the line and the look at `asleep`, as one stands in `is_quiet`
    /// between `asleep` and the look at the rings: one of the two sees the other.
    fn ring_bell(&self) {
        fence(SeqCst);
        if self.asleep.load(Relaxed) && self.asleep.swap(false, Relaxed) {
            self.wake();
        }
    }

    fn welcome(&self, ring: Consumer<u8>) {
        lock(&self.newcomers).push(ring);
        self.wake();
    }

    pub fn reopen(&self) {
        lock(&self.orders).reopen = true;
        self.wake();
    }

    /// Whether all that was queued when this was called has been dealt with in that time.
    pub fn flush(&self, most: Duration) -> bool {
        let mut orders = lock(&self.orders);
        orders.flushes_asked += 1;
        let mine = orders.flushes_asked;
        self.wake();
        let end = Instant::now() + most;
        while orders.flushes_done < mine {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.flushed.wait_timeout(orders, left);
            orders = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub fn close(&self) {
        self.closed.store(true, Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }
}

/// For the writer.
impl Hall {
    pub fn set_writer(&self, thread: Thread) {
        // Called once, by `writer::start`.
        let _ = self.writer.set(thread);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    pub fn newcomers(&self) -> Vec<Consumer<u8>> {
        std::mem::take(&mut *lock(&self.newcomers))
    }

    /// What is to be done, the order to reopen taken along.
    pub fn orders(&self) -> Orders {
        let mut orders = lock(&self.orders);
        let taken = *orders;
        orders.reopen = false;
        taken
    }

    /// All that was queued when these orders were taken has been dealt with.
    pub fn obeyed(&self, taken: Orders) {
        if taken.flushes_asked > taken.flushes_done {
            lock(&self.orders).flushes_done = taken.flushes_asked;
            self.flushed.notify_all();
        }
    }

    /// Says that the writer is about to sleep, and whether it may.
    pub fn is_quiet(&self, rings: &[Consumer<u8>]) -> bool {
        self.asleep.store(true, Relaxed);
        fence(SeqCst);
        rings.iter().all(Consumer::is_empty)
    }

    pub fn awake(&self) {
        self.asleep.store(false, Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
