//! The half-open state of a server's circuit breaker. Passive health opens it (the server is ejected) and waits; then requests are
//! tried on the server, one at a time, until so many have gone well (it is closed) or one has failed (it is open again, for
//! longer). Who decides is the health floor; here is what the data path tells it, and is told.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Beyond all numbers of successes that may be asked for: the trial is over, and nobody has acted upon it yet.
const PASSED: u32 = 1 << 30;
const FAILED: u32 = PASSED + 1;

/// Of one server.
#[derive(Default)]
pub struct Trial {
    /// Successes that it still needs; 0: it is not on trial.
    left: AtomicU32,
    /// A request is on its way there.
    busy: AtomicBool,
}

impl Trial {
    /// It is on trial from now on.
    pub fn set(&self, successes: u32) {
        self.left.store(successes.min(PASSED - 1), Relaxed);
    }

    pub fn lift(&self) {
        self.left.store(0, Relaxed);
    }

    pub fn is_on(&self) -> bool {
        self.left.load(Relaxed) != 0
    }

    /// Whether it passed, where it is over.
    pub fn verdict(&self) -> Option<bool> {
        match self.left.load(Relaxed) {
            PASSED => Some(true),
            FAILED => Some(false),
            _ => None,
        }
    }

    /// Whether another request may go there.
    pub fn has_room(&self) -> bool {
        match self.left.load(Relaxed) {
            0 | PASSED => true,
            FAILED => false,
            _ => !self.busy.load(Relaxed),
        }
    }

    /// A request wants to go there. None: it may not; true: it is the one that is tried, until `end`.
    pub(super) fn begin(&self) -> Option<bool> {
        match self.left.load(Relaxed) {
            0 | PASSED => Some(false),
            FAILED => None,
            _ => (!self.busy.swap(true, Relaxed)).then_some(true),
        }
    }

    pub(super) fn end(&self) {
        self.busy.store(false, Relaxed);
    }

    /// A request went well. True: it was the last one needed.
    pub(super) fn succeeded(&self) -> bool {
        let count = |left| match left {
            0 | PASSED | FAILED => None,
            1 => Some(PASSED),
            left => Some(left - 1),
        };
        self.left.fetch_update(Relaxed, Relaxed, count) == Ok(1)
    }

    /// A request failed. True: the trial ends with it.
    pub(super) fn failed(&self) -> bool {
        let count = |left| (left != 0 && left < PASSED).then_some(FAILED);
        self.left.fetch_update(Relaxed, Relaxed, count).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_until_enough_have_gone_well() {
        let trial = Trial::default();
        assert_eq!(trial.begin(), Some(false), "it is not on trial");
        assert!(!trial.succeeded() && !trial.failed());
        trial.set(2);
        assert_eq!([trial.begin(), trial.begin()], [Some(true), None]);
        assert!(!trial.has_room() && !trial.succeeded());
        trial.end();
        assert_eq!(trial.begin(), Some(true));
        assert!(trial.succeeded(), "the second success");
        assert_eq!(trial.verdict(), Some(true));
        assert!(trial.has_room() && !trial.failed());
    }

    #[test]
    fn the_first_failure_decides() {
        let trial = Trial::default();
        trial.set(3);
        assert!(!trial.succeeded() && trial.failed() && !trial.failed());
        assert_eq!((trial.verdict(), trial.begin()), (Some(false), None));
        trial.lift();
        assert_eq!((trial.verdict(), trial.begin()), (None, Some(false)));
    }
}
