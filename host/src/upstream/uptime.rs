//! Since when something is up or down, how long it was down in all (HAProxy's `lastchg`, `downtime` and a backend's `chkdown`),
//! and what its last changes were.
//! Written when a state changes, never by a request.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::hook::ServerState;

pub struct Uptime(Mutex<Kept>);

struct Kept {
    down: bool,
    since: Instant,
    downtime: Duration,
    went_down: u64,
    last: VecDeque<Change>,
}

/// A change, for who looks back.
#[derive(Clone, Debug)]
pub struct Change {
    pub at: SystemTime,
    pub state: ServerState,
    pub why: String,
}

/// Changes that are remembered.
const REMEMBERED: usize = 8;

#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// Since the last change, or since it is known.
    pub unchanged: Duration,
    /// In all, now included.
    pub downtime: Duration,
    pub went_down: u64,
}

impl Default for Uptime {
    fn default() -> Uptime {
        Uptime(Mutex::new(Kept {
            down: false,
            since: Instant::now(),
            downtime: Duration::ZERO,
            went_down: 0,
            last: VecDeque::new(),
        }))
    }
}

impl Uptime {
    /// Its state has changed, be it to another kind of up.
    pub fn changed(&self, state: ServerState, why: String) {
        let mut kept = self.lock();
        kept.change(state == ServerState::Down, Instant::now());
        kept.last.truncate(REMEMBERED - 1);
        let at = SystemTime::now();
        kept.last.push_front(Change { at, state, why });
    }

    /// The last changes, the newest first.
    pub fn last(&self) -> Vec<Change> {
        self.lock().last.iter().cloned().collect()
    }

    /// What is so already is no change.
    pub fn is(&self, down: bool) {
        let mut kept = self.lock();
        if kept.down != down {
            kept.change(down, Instant::now());
        }
    }

    pub fn told(&self) -> Told {
        let kept = self.lock();
        let unchanged = kept.since.elapsed();
        Told {
            unchanged,
            downtime: kept.downtime + if kept.down { unchanged } else { Duration::ZERO },
            went_down: kept.went_down,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn change(&mut self, down: bool, now: Instant) {
        if self.down {
            self.downtime += now.saturating_duration_since(self.since);
        }
        self.went_down += u64::from(down && !self.down);
        (self.down, self.since) = (down, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_down_is_added_up() {
        let uptime = Uptime::default();
        let at = |seconds| uptime.lock().since + Duration::from_secs(seconds);
        let times = [at(5), at(7), at(8), at(18)];
        let change = |down, at: usize| uptime.lock().change(down, times[at]);
        change(true, 0);
        change(false, 1);
        change(false, 2);
        change(true, 3);
        let kept = uptime.lock();
        assert_eq!((kept.downtime, kept.went_down), (Duration::from_secs(2), 2));
        drop(kept);
        uptime.is(true);
        assert_eq!(uptime.lock().since, times[3], "it was so already");
        uptime.is(false);
        assert!(uptime.told().unchanged < Duration::from_secs(5));
    }

    #[test]
    fn the_last_changes_are_remembered() {
        let uptime = Uptime::default();
        for n in 0..20 {
            let state = [ServerState::Down, ServerState::Ready][n % 2];
            uptime.changed(state, n.to_string());
        }
        let last = uptime.last();
        assert_eq!((last.len(), last[0].why.as_str()), (REMEMBERED, "19"));
        assert_eq!(last[1].state, ServerState::Down);
    }
}
