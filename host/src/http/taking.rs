//! How a client takes a response: whether it takes anything, and whether fast enough.
//!
//! Both are judged by what it has acknowledged. What the kernel takes from us says little of the client: the first megabytes
//! go at once into the kernel's buffer, and then nothing does until a third of it is free.

use std::time::Instant;

use super::h1::wire::Wire;
use super::link::{Blame, Link, Phase};
use super::pace::{Pace, SHORTEST};

/// Of one response.
#[derive(Default)]
pub(super) struct Taking {
    waiting: Option<Waiting>,
    pace: Pace,
}

/// The client is waited for.
struct Waiting {
    /// What had been written when that was last noticed.
    written: u64,
    /// What it had taken when that was last looked at.
    taken: u64,
    /// When it was last seen to have taken anything.
    seen: Instant,
}

impl Taking {
    /// There is more for the client than the kernel takes at the moment.
    pub fn blocked(&mut self, wire: &Wire, link: &Link) {
        let written = link.traffic().1;
        // Polled for another reason, the deadline stands.
        if self.waiting.as_ref().is_some_and(|w| w.written == written) {
            return;
        }
        let now = Instant::now();
        let taken = self.look(wire, link, now);
        self.waiting = Some(Waiting {
            written,
            taken,
            seen: now,
        });
        self.go_on(link, now, now);
    }

    /// The kernel takes it again.
    pub fn flows(&mut self, wire: &Wire, link: &Link) {
        if self.waiting.is_some() {
            self.look(wire, link, Instant::now());
            self.waiting = None;
        }
    }

    /// It was waited for as long as it may be. None: it has gone on meanwhile, unseen.
    pub fn judge(&mut self, wire: &Wire, link: &Link) -> Option<Blame> {
        let now = Instant::now();
        let before = self.waiting.as_ref().map_or(0, |waiting| waiting.taken);
        let taken = self.look(wire, link, now);
        let waiting = self.waiting.as_mut()?;
        if taken > before {
            (waiting.taken, waiting.seen) = (taken, now);
        }
        let seen = waiting.seen;
        if now - seen >= link.limits().body {
            return Some(Blame::ClientTimeout);
        }
        (!self.go_on(link, seen, now)).then_some(Blame::ClientTooSlow)
    }

    /// What it has taken by now, and what that took.
    fn look(&mut self, wire: &Wire, link: &Link, now: Instant) -> u64 {
        let taken = link.traffic().1.saturating_sub(wire.unsent());
        if let Some(waiting) = &self.waiting {
            self.pace.moved(taken.saturating_sub(waiting.taken), now);
        }
        taken
    }

    /// Waits on, as long as the client may take nothing and is not too slow. False: it is.
    fn go_on(&mut self, link: &Link, seen: Instant, now: Instant) -> bool {
        let limits = link.limits();
        let mut at_most = (seen + limits.body).saturating_duration_since(now);
        if limits.floor.is_set() {
            let left = self.pace.wait(limits.floor, now);
            if left.is_zero() {
                return false;
            }
            at_most = at_most.min(left);
        }
        link.enter(Phase::Delivery, at_most.max(SHORTEST));
        true
    }
}
