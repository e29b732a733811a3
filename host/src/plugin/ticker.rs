//! Interrupts guests: a thread that advances the engine's epoch while a call is in progress, and sleeps otherwise.
//!
//! An epoch's end is only a question, asked of whoever runs guest code then; `limits.rs` answers it by the thread's CPU
//! clock. Short calls are rarely asked, and starting a call costs no system call: it marks its thread as busy, and wakes
//! the ticker only if that has gone to sleep.
//!
//! Under load there are always calls, mostly short ones. Looking for those four thousand times a second takes processor time
//! from the very workers that make them, and so does each look: some 25 µs where a worker has to make way for it. So the ticker
//! looks seldom, and soon again only when it meets somebody in a call.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// Between two looks at a call: whether it is still the same, and then whether it has had its time.
const TICK: Duration = Duration::from_micros(250);

/// Between two looks while nobody is met in a call: how long a runaway may go unnoticed.
const GLANCE: Duration = Duration::from_millis(8);

/// Looks between which no call began until the ticker goes to sleep: waking it costs the caller some microseconds, so not at
/// once.
const IDLE_LOOKS: u32 = 2;

pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    asleep: AtomicBool,
    stop: AtomicBool,
}

/// How many calls a thread has begun and ended: odd while one is in progress. A cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Beat(AtomicU64);

/// The beats of all threads that ever called a guest, of whichever engine, each with what it was when last looked at.
static BEATS: Mutex<Vec<(Weak<Beat>, u64)>> = Mutex::new(Vec::new());

thread_local! {
    static BEAT: Arc<Beat> = register();
    /// Calls do not nest; were they to, the outer one counts.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Arc<Ticker>> {
        let shared = Arc::new(Shared {
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let (engine, theirs) = (engine.clone(), shared.clone());
        let thread = thread::Builder::new()
            .name("plugin-ticker".to_owned())
            .spawn(move || theirs.run(&engine))?;
        Ok(Arc::new(Ticker {
            shared,
            thread: thread.thread().clone(),
        }))
    }

    /// Marks this thread as running a guest until the guard is dropped.
    #[inline]
    pub(super) fn enter(&self) -> Running {
        let outermost = !BUSY.replace(true);
        if outermost {
            // SeqCst here and in `doze`: either the ticker sees this call, or this call sees that the ticker sleeps.
            BEAT.with(|beat| beat.step(Ordering::SeqCst));
            if self.shared.asleep.load(Ordering::SeqCst) {
                self.wake();
            }
        }
        Running { outermost }
    }

    #[cold]
    fn wake(&self) {
        if self.shared.asleep.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// See [`Ticker::enter`].
pub(super) struct Running {
    outermost: bool,
}

impl Drop for Running {
    #[inline]
    fn drop(&mut self) {
        if self.outermost {
            BEAT.with(|beat| beat.step(Ordering::Release));
            BUSY.set(false);
        }
    }
}

impl Shared {
    fn run(&self, engine: &Engine) {
        let mut idle = 0;
        let mut seen = Seen::default();
        while !self.stop.load(Ordering::SeqCst) {
            thread::sleep(if seen.running { TICK } else { GLANCE });
            let before = seen.beats;
            seen = look();
            if seen.lasting {
                engine.increment_epoch();
            }
            idle = if seen.running || seen.beats != before {
                0
            } else {
                idle + 1
            };
            if idle >= IDLE_LOOKS {
                self.doze();
                idle = 0;
            }
        }
    }

    /// Sleeps until a call wakes it.
    fn doze(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        while !look().running
            && self.asleep.load(Ordering::SeqCst)
            && !self.stop.load(Ordering::SeqCst)
        {
            thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

impl Beat {
    /// Only its own thread writes it.
    #[inline]
    fn step(&self, order: Ordering) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, order);
    }
}

/// What a look at the threads shows.
#[derive(Default)]
struct Seen {
    /// A thread is in a call.
    running: bool,
    /// One of them is in the same call as at the last look.
    lasting: bool,
    /// A sum that changes with every call.
    beats: u64,
}

fn look() -> Seen {
    let mut threads = BEATS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut seen = Seen::default();
    threads.retain_mut(|(beat, before)| {
        let Some(beat) = beat.upgrade() else {
            return false;
        };
        let now = beat.0.load(Ordering::SeqCst);
        let running = now % 2 == 1;
        seen.running |= running;
        seen.lasting |= running && now == *before;
        seen.beats = seen.beats.wrapping_add(now);
        *before = now;
        true
    });
    seen
}

fn register() -> Arc<Beat> {
    let beat = Arc::new(Beat::default());
    let mut threads = BEATS.lock().unwrap_or_else(PoisonError::into_inner);
    threads.push((Arc::downgrade(&beat), 0));
    beat
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_call_wakes_it() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !ticker.shared.asleep.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "it never goes to sleep");
            thread::yield_now();
        }
        let running = ticker.enter();
        assert!(!ticker.shared.asleep.load(Ordering::SeqCst));
        drop(running);
    }
}
