//! The worker's one clock for all its connections: coarse, and cheap enough to be set several times a request.
//!
//! Nearly every deadline is replaced long before it comes. So setting one writes two numbers to the connection's `Link` and no
//! more; a heap knows, for each connection, only the earliest time at which it must be looked at again. When that time comes
//! and the deadline has moved on, as it mostly has, the connection is put back for the deadline of the day, and its task has
//! slept through it all.
//!
//! The clock is the kernel's `CLOCK_MONOTONIC_COARSE`: it is read in a few nanoseconds and is some milliseconds behind at
//! most. Nothing is ever early; it may be late by `SLACK_MS` and a tick of the runtime's timer.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

use super::link::Link;

/// How far behind the coarse clock may be: a tick of a kernel with 100 a second.
const SLACK_MS: u64 = 10;

/// A time on the coarse clock, milliseconds since the machine started. Never 0.
pub type Millis = u64;

pub fn now() -> Millis {
    millis(ClockId::MonotonicCoarse)
}

/// When `at_most` from now is certainly over.
pub(super) fn after(at_most: Duration) -> Millis {
    let part = u64::from(at_most.subsec_nanos().div_ceil(1_000_000));
    let millis = at_most.as_secs().saturating_mul(1_000).saturating_add(part);
    now().saturating_add(millis).saturating_add(SLACK_MS)
}

fn millis(clock: ClockId) -> Millis {
    let time = clock_gettime(clock);
    (time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000).max(1)
}

/// A place in the worker's list of connections, free again when it is dropped.
pub(super) struct Place(u32);

#[derive(Default)]
struct Timers {
    /// When to look at which place.
    due: BinaryHeap<Reverse<(Millis, u32)>>,
    places: Vec<Weak<Link>>,
    free: Vec<u32>,
}

thread_local! {
    static TIMERS: RefCell<Timers> = RefCell::default();
    /// Told when something is due before all that was known.
    static SOONER: Rc<Notify> = Rc::default();
}

impl Place {
    /// A place for this connection.
    pub(super) fn take(link: Weak<Link>) -> Place {
        TIMERS.with_borrow_mut(|timers| {
            let at = timers.free.pop().unwrap_or_else(|| {
                timers.places.push(Weak::new());
                timers.places.len() as u32 - 1
            });
            timers.places[at as usize] = link;
            Place(at)
        })
    }

    /// Has the connection looked at when that time has come.
    pub(super) fn look_at(&self, at: Millis) {
        let first = TIMERS.with_borrow_mut(|timers| {
            let first = timers.due.peek().is_none_or(|Reverse(known)| at < known.0);
            timers.due.push(Reverse((at, self.0)));
            first
        });
        if first {
            SOONER.with(|sooner| sooner.notify_one());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A thread that ends has no connections to be looked at.
        let _ = TIMERS.try_with(|timers| {
            let mut timers = timers.borrow_mut();
            timers.places[self.0 as usize] = Weak::new();
            timers.free.push(self.0);
        });
    }
}

/// Runs the worker's clock; ends never.
pub async fn run() {
    let sooner = SOONER.with(Rc::clone);
    loop {
        match look() {
            Some(next) => {
                let wait = Duration::from_millis(next.saturating_sub(millis(ClockId::Monotonic)));
                tokio::select! {
                    () = tokio::time::sleep_until((Instant::now() + wait).into()) => {}
                    () = sooner.notified() => {}
                }
            }
            None => sooner.notified().await,
        }
    }
}

/// Looks at all that is due, and tells when to look again.
fn look() -> Option<Millis> {
    let now = millis(ClockId::Monotonic);
    loop {
        let due = TIMERS.with_borrow_mut(|timers| {
            let Reverse((at, place)) = *timers.due.peek()?;
            if at > now {
                return Some(Err(at));
            }
            timers.due.pop();
            Some(Ok((at, timers.places[place as usize].upgrade())))
        });
        match due? {
            Err(next) => return Some(next),
            // The connection that set this may be gone, and another have its place: that one knows better when it is due.
            Ok((at, Some(link))) => link.looked_at(at, now),
            Ok((_, None)) => {}
        }
    }
}
