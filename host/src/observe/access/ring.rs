//! Where workers hand over to the writer: a ring for each, the writer's bell, and the orders it is given.

use std::cell::RefCell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Instant;

use arc_swap::{ArcSwap, Cache};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::base::event::RequestEnded;

use super::Target;
use super::date;
use super::format::{Entry, Formatter, Lines};

/// Bytes of a worker's ring: some two thousand JSON lines, and more than the longest line.
pub const ROOM: usize = 1 << 20;
/// A buffer that a long line has made longer than this is cut back to it.
const BUFFER: usize = 16 << 10;

/// A worker's end of the access log.
pub struct Worker {
    end: RefCell<End>,
}

struct End {
    /// What lines are to be like, and where they are to go.
    lines: Cache<Arc<ArcSwap<Lines>>, Arc<Lines>>,
    /// As of these lines. None: off.
    queue: Option<Queue>,
    followed: Arc<Lines>,
    /// Reused for each line.
    line: Vec<u8>,
    room: usize,
}

/// What a worker has for a target.
struct Queue {
    formatter: Formatter,
    ring: Producer<u8>,
    /// Keeps the writer for as long as somebody may write.
    target: Arc<Target>,
}

impl Worker {
    pub(super) fn new(lines: Arc<ArcSwap<Lines>>, room: usize) -> Worker {
        let mut lines = Cache::new(lines);
        let followed = lines.load().clone();
        let end = End {
            lines,
            queue: Queue::following(None, &followed, room),
            followed,
            line: Vec::new(),
            room,
        };
        Worker {
            end: RefCell::new(end),
        }
    }

    /// Queues a line; drops it when there is no room.
    pub fn write(&self, request: &RequestEnded<'_>, listener_connections: u64) {
        let mut end = self.end.borrow_mut();
        let End {
            lines,
            queue,
            followed,
            line,
            room,
        } = &mut *end;
        let lines = lines.load();
        if !Arc::ptr_eq(lines, followed) {
            *queue = Queue::following(queue.take(), lines, *room);
            *followed = lines.clone();
        }
        let Some(Queue {
            formatter,
            ring,
            target,
        }) = queue
        else {
            return;
        };
        line.clear();
        let entry = Entry {
            request,
            ended: date::now(),
            listener_connections,
        };
        formatter.line(line, &entry);
        let hall = &target.hall;
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

impl Queue {
    /// What was queued for another target is that one's writer's.
    fn following(before: Option<Queue>, lines: &Arc<Lines>, room: usize) -> Option<Queue> {
        let target = lines.target()?;
        match before {
            Some(mut same) if Arc::ptr_eq(&same.target, target) => {
                same.formatter.follow(lines);
                Some(same)
            }
            _ => {
                let (ring, drain) = RingBuffer::new(room);
                target.hall.welcome(drain);
                Some(Queue {
                    formatter: Formatter::new(lines.clone()),
                    ring,
                    target: target.clone(),
                })
            }
        }
    }
}

/// What workers, the writer and whoever gives orders share.
#[derive(Default)]
pub struct Hall {
    pub counts: Arc<Counts>,
    /// Whether the writer wants to be woken.
    asleep: AtomicBool,
    closed: AtomicBool,
    writer: OnceLock<Thread>,
    newcomers: Mutex<Vec<Consumer<u8>>>,
    orders: Mutex<Orders>,
    flushed: Condvar,
}

/// Lines so far, to whatever target. Each on a cache line of its own: `full` is written by workers, and only while they drop lines.
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
    /// The writer has ended.
    over: bool,
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
    pub fn counting(counts: Arc<Counts>) -> Hall {
        Hall {
            counts,
            ..Hall::default()
        }
    }

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

    /// Asks for all that is queued by now; the answer is for [`Hall::has_flushed`].
    pub fn flush(&self) -> u64 {
        let mut orders = lock(&self.orders);
        orders.flushes_asked += 1;
        let asked = orders.flushes_asked;
        drop(orders);
        self.wake();
        asked
    }

    /// Whether what was asked for has been dealt with by then.
    pub fn has_flushed(&self, asked: u64, end: Instant) -> bool {
        let mut orders = lock(&self.orders);
        while orders.flushes_done < asked && !orders.over {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.flushed.wait_timeout(orders, left);
            orders = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub fn is_over(&self) -> bool {
        lock(&self.orders).over
    }

    /// Nothing is queued any more.
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

    /// All is written.
    pub fn end(&self) {
        lock(&self.orders).over = true;
        self.flushed.notify_all();
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
