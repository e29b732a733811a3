//! The half-open state of a server's circuit breaker. Passive health opens it (the server is ejected) and waits; then requests are
//! tried on the server, one at a time, until so many have gone well (it is closed) or one has failed (it is open again, for
//! longer). Who decides is the health floor; here is what the data path tells it, and is told.
//!
//! All of it is one word, so that whoever changes it has seen all of it, on whatever worker. Each ejection, each trial and each
//! request that is tried begins a number of its own; what a request says of the server counts only under the number that it was
//! sent with. So an answer to what was sent before an ejection settles nothing after it, and whoever is late gives back nothing
//! that is another's.
//!
//! ```text
//!   63        32 31   30             0
//!  ┌────────────┬────┬────────────────┐
//!  │ number     │busy│ successes left │
//!  └────────────┴────┴────────────────┘
//! ```

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A request is on its way there.
const BUSY: u64 = 1 << 31;
const NUMBER: u64 = 1 << 32;

/// Beyond all numbers of successes that may be asked for: the trial is over, and nobody has acted upon it yet.
const PASSED: u32 = 1 << 30;
const FAILED: u32 = PASSED + 1;

/// Of one server.
#[derive(Default)]
pub struct Trial(AtomicU64);

/// What a request is sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub number: u32,
    /// It is the one that is tried, until it is settled.
    pub tried: bool,
}

impl Trial {
    /// It is on trial from now on.
    pub fn set(&self, successes: u32) {
        self.begin_anew(successes.min(PASSED - 1));
    }

    /// It is ejected: what was sent until now counts no more.
    pub(super) fn open(&self) {
        self.begin_anew(0);
    }

    /// It is not on trial, and what was sent counts.
    pub fn lift(&self) {
        self.change(|word| Some(word & !(NUMBER - 1)));
    }

    pub fn is_on(&self) -> bool {
        left(self.word()) != 0
    }

    /// Whether it passed, where it is over.
    pub fn verdict(&self) -> Option<bool> {
        match left(self.word()) {
            PASSED => Some(true),
            FAILED => Some(false),
            _ => None,
        }
    }

    /// Whether another request may go there.
    pub fn has_room(&self) -> bool {
        let word = self.word();
        match left(word) {
            0 | PASSED => true,
            FAILED => false,
            _ => word & BUSY == 0,
        }
    }

    /// What is sent now without being tried.
    pub(super) fn number(&self) -> u32 {
        (self.word() >> 32) as u32
    }

    /// A request wants to go there. None: it may not.
    pub(super) fn begin(&self) -> Option<Entry> {
        loop {
            let word = self.word();
            let number = (word >> 32) as u32;
            match left(word) {
                0 | PASSED => {
                    let tried = false;
                    return Some(Entry { number, tried });
                }
                FAILED => return None,
                _ if word & BUSY != 0 => return None,
                _ => {}
            }
            let taken = word.wrapping_add(NUMBER) | BUSY;
            if self.0.compare_exchange(word, taken, SeqCst, SeqCst).is_ok() {
                return Some(Entry {
                    number: number.wrapping_add(1),
                    tried: true,
                });
            }
        }
    }

    /// The request of that number was tried, and this came of it; None: nothing that says anything of the server. True: the
    /// trial ends with it.
    pub(super) fn settle(&self, number: u32, well: Option<bool>) -> bool {
        let after = |word: u64| {
            let is_its = (word >> 32) as u32 == number && word & BUSY != 0;
            let after = match (is_its, well, left(word)) {
                (false, ..) => return None,
                (true, None, left) => left,
                (true, Some(false), _) => FAILED,
                (true, Some(true), 1) => PASSED,
                (true, Some(true), left) => left - 1,
            };
            Some((word & !(NUMBER - 1)) | u64::from(after))
        };
        let ends = |before| left(after(before).unwrap_or_default()) >= PASSED;
        self.change(after).is_some_and(ends)
    }

    fn begin_anew(&self, left: u32) {
        self.change(|word| Some((word & !(NUMBER - 1)).wrapping_add(NUMBER) | u64::from(left)));
    }

    /// Whether it was changed, and from what.
    fn change(&self, to: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        self.0.fetch_update(SeqCst, SeqCst, to).ok()
    }

    fn word(&self) -> u64 {
        self.0.load(SeqCst)
    }
}

/// Successes that it still needs; 0: it is not on trial.
fn left(word: u64) -> u32 {
    word as u32 & !(BUSY as u32)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::thread;

    use super::*;

    /// The number of the one that is tried.
    fn tried(trial: &Trial) -> Option<u32> {
        trial.begin().filter(|entry| entry.tried).map(|e| e.number)
    }

    #[test]
    fn one_at_a_time_until_enough_have_gone_well() {
        let trial = Trial::default();
        let free = trial.begin().expect("it is not on trial");
        assert!(!free.tried && !trial.settle(free.number, Some(false)));
        trial.set(2);
        let first = tried(&trial).unwrap();
        assert!(trial.begin().is_none() && !trial.has_room());
        assert!(!trial.settle(first, Some(true)), "it needs two");
        let second = tried(&trial).unwrap();
        assert!(trial.settle(second, Some(true)));
        assert_eq!(trial.verdict(), Some(true));
        assert!(trial.has_room() && tried(&trial).is_none());
        let after = trial.begin().unwrap();
        trial.lift();
        assert_eq!(after.number, trial.number(), "it came after the trial");
    }

    #[test]
    fn the_first_failure_decides() {
        let trial = Trial::default();
        trial.set(3);
        let first = tried(&trial).unwrap();
        assert!(!trial.settle(first, Some(true)));
        let second = tried(&trial).unwrap();
        assert!(trial.settle(second, Some(false)));
        assert!(!trial.settle(second, Some(false)), "once");
        assert_eq!((trial.verdict(), trial.begin()), (Some(false), None));
        trial.lift();
        assert_eq!(trial.verdict(), None);
        assert!(!trial.begin().unwrap().tried);
    }

    #[test]
    fn what_says_nothing_of_the_server_is_given_back() {
        let trial = Trial::default();
        trial.set(1);
        let left = tried(&trial).unwrap();
        assert!(!trial.settle(left, None));
        let next = tried(&trial).expect("the next one is tried");
        assert!(!trial.settle(left, None) && !trial.settle(left, Some(false)));
        assert!(trial.begin().is_none(), "it is the next one's");
        assert!(trial.settle(next, Some(true)));
    }

    #[test]
    fn a_trial_that_is_lifted_is_nobodys() {
        let trial = Trial::default();
        trial.set(2);
        let late = tried(&trial).unwrap();
        trial.lift();
        for well in [None, Some(true), Some(false)] {
            assert!(!trial.settle(late, well) && !trial.is_on());
        }
    }

    #[test]
    fn who_is_late_settles_nothing_of_the_next_trial() {
        let trial = Trial::default();
        trial.set(1);
        let before = trial.number();
        let late = tried(&trial).unwrap();
        trial.open();
        assert_ne!(trial.number(), before);
        trial.set(1);
        let now = tried(&trial).expect("whatever became of the last one");
        for well in [None, Some(true), Some(false)] {
            assert!(!trial.settle(late, well));
            assert!(trial.begin().is_none());
        }
        assert!(trial.settle(now, Some(true)));
    }

    /// Threads try and settle while the server is put on trial again and again, and, where `opens`, is ejected in the middle of every
    /// fourth trial. Answers how many were tried well, and how many trials were passed.
    fn race(opens: bool) -> (u32, u32) {
        let (trial, on) = (Trial::default(), AtomicU32::new(0));
        let [well, passed] = [AtomicU32::new(0), AtomicU32::new(0)];
        thread::scope(|scope| {
            let tries = || {
                while on.load(Relaxed) < TRIALS {
                    let Some(number) = tried(&trial) else {
                        thread::yield_now();
                        continue;
                    };
                    let is_well = number % 3 > 0;
                    well.fetch_add(u32::from(is_well), Relaxed);
                    let ends = trial.settle(number, is_well.then_some(true));
                    passed.fetch_add(u32::from(ends), Relaxed);
                }
            };
            (0..3).for_each(|_| drop(scope.spawn(tries)));
            for round in 0..TRIALS {
                trial.set(EACH);
                if opens && round.is_multiple_of(4) {
                    thread::yield_now();
                    trial.open();
                } else {
                    while trial.verdict().is_none() {
                        thread::yield_now();
                    }
                    assert_eq!(trial.verdict(), Some(true));
                    trial.lift();
                }
                on.fetch_add(1, Relaxed);
            }
        });
        (well.into_inner(), passed.into_inner())
    }

    const TRIALS: u32 = 200;
    const EACH: u32 = 50;

    #[test]
    fn never_two_at_a_time_whatever_races() {
        // Of two at a time only one would have counted.
        assert_eq!(race(false), (TRIALS * EACH, TRIALS));
        let (_, passed) = race(true);
        assert!((TRIALS * 3 / 4..=TRIALS).contains(&passed), "{passed}");
    }
}
