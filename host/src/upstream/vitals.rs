//! How a server is: what probes say, whether it was ejected, what the operator wants, and what of it the data path goes by.
//! All of it is atomic, shared by the workers, and kept with the server across generations.
//!
//! ```text
//!   probes ────────┐
//!   requests ──────┤ health floor ──► state ──► workers: may it be picked?
//!   the operator ──┘                  share ──► its effective weight
//! ```
//!
//! Who decides is the health floor, on a thread of its own; here is only what was decided, and the counts of what requests
//! met, since those are told from the data path.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::breaker::Trial;
use super::outcome::Outcome;
use super::uptime::Uptime;
use crate::config::checked::Passive;
use crate::hook::ServerState;

/// The whole of a server's weight.
pub const WHOLE: u32 = 256;

/// Nobody is sent there.
const DOWN: u8 = 2;

/// Beside the numbers of the other states: ready, for one request at a time.
const ON_TRIAL: u8 = 3;

#[derive(Default)]
pub struct Vitals {
    state: AtomicU8,
    checked: AtomicU8,
    ejected: AtomicBool,
    wanted: AtomicU8,
    /// What the judge of its probes wants.
    advised: AtomicU8,
    /// Per cent of its weight that the judge takes away.
    degraded: AtomicU32,
    /// What slow start leaves out of [`WHOLE`].
    withheld: AtomicU32,
    /// Probes in a row that went well, or that did not.
    successes: AtomicU32,
    failures: AtomicU32,
    pub counts: Counts,
    /// Down: it may not be used, maintenance included.
    pub uptime: Uptime,
    /// Whether it comes back from an ejection, request by request.
    pub trial: Trial,
    last: Mutex<Option<LastProbe>>,
    met: Met,
}

/// Since the server is known.
#[derive(Default)]
pub struct Counts {
    pub probes_passed: AtomicU64,
    pub probes_failed: AtomicU64,
    pub went_up: AtomicU64,
    pub went_down: AtomicU64,
    pub ejections: AtomicU64,
    /// Attempts there that were to be followed by one at another server.
    pub retried: AtomicU64,
}

#[derive(Clone, Debug)]
pub struct LastProbe {
    pub passed: bool,
    pub outcome: Outcome,
    /// What was seen: `200`, `connection refused`.
    pub words: String,
    pub took: Duration,
}

/// What probes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Nothing yet, or there are none.
    Not,
    Up,
    Down,
}

/// What the operator wants of a server (HAProxy's `set server … state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    Ready,
    /// It keeps the users it has.
    Drain,
    /// It is not used at all.
    Maint,
}

/// What requests have met, for passive health.
#[derive(Default)]
struct Met {
    /// Failures one after the other, and when the first of them was.
    row: AtomicU32,
    row_began: AtomicU32,
    /// Of the window that began then.
    window_began: AtomicU32,
    requests: AtomicU32,
    failures: AtomicU32,
    /// It is on the list of suspects.
    suspected: AtomicBool,
}

impl Wanted {
    /// As HAProxy and the admin API say it.
    pub fn word(self) -> &'static str {
        match self {
            Wanted::Ready => "ready",
            Wanted::Drain => "drain",
            Wanted::Maint => "maint",
        }
    }

    pub fn named(word: &str) -> Option<Wanted> {
        let all = [Wanted::Ready, Wanted::Drain, Wanted::Maint];
        all.into_iter().find(|wanted| wanted.word() == word)
    }

    fn of(number: u8) -> Wanted {
        match number {
            0 => Wanted::Ready,
            1 => Wanted::Drain,
            _ => Wanted::Maint,
        }
    }
}

impl Vitals {
    /// What the data path and balancers go by.
    pub fn state(&self) -> ServerState {
        match self.state.load(Relaxed) {
            0 | ON_TRIAL => ServerState::Ready,
            1 => ServerState::Drain,
            _ => ServerState::Down,
        }
    }

    /// False: it was so already.
    pub fn set_state(&self, state: ServerState) -> bool {
        let state = match state {
            ServerState::Ready if self.trial.is_on() => ON_TRIAL,
            ServerState::Ready => 0,
            ServerState::Drain => 1,
            ServerState::Down => DOWN,
        };
        let changed = self.state.swap(state, Relaxed) != state;
        if changed {
            self.uptime.changed(self.state(), self.why());
        }
        changed
    }

    /// What its state comes from.
    fn why(&self) -> String {
        let probe = || self.last_probe().map(|probe| probe.words);
        match (self.wanted(), self.advised()) {
            (Wanted::Ready, Wanted::Ready) => {}
            (Wanted::Ready, _) => return probe().unwrap_or_default(),
            _ => return "as the operator wants it".to_owned(),
        }
        match self.is_ejected() {
            true => "requests to it failed".to_owned(),
            false if self.trial.is_on() => "on trial".to_owned(),
            false => probe().unwrap_or_default(),
        }
    }

    /// Whether somebody may be sent there: on trial, one at a time.
    pub fn is_ready(&self) -> bool {
        match self.state.load(Relaxed) {
            0 => true,
            ON_TRIAL => self.trial.has_room(),
            _ => false,
        }
    }

    /// Whether it is in use for new users, be it for one at a time: a trial that is under way is no reason to leave.
    pub fn takes_somebody(&self) -> bool {
        self.state() == ServerState::Ready && self.trial.verdict() != Some(false)
    }

    pub fn checked(&self) -> Checked {
        match self.checked.load(Relaxed) {
            0 => Checked::Not,
            1 => Checked::Up,
            _ => Checked::Down,
        }
    }

    pub fn set_checked(&self, checked: Checked) {
        self.checked.store(checked as u8, Relaxed);
    }

    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed)
    }

    pub fn set_ejected(&self, ejected: bool) {
        self.ejected.store(ejected, Relaxed);
        if ejected {
            self.trial.open();
            self.counts.ejections.fetch_add(1, Relaxed);
        }
    }

    pub fn wanted(&self) -> Wanted {
        Wanted::of(self.wanted.load(Relaxed))
    }

    /// What both the operator and the judge of its probes allow.
    pub fn wants(&self) -> Wanted {
        self.wanted().max(self.advised())
    }

    /// What the judge of its probes wants.
    pub fn advised(&self) -> Wanted {
        Wanted::of(self.advised.load(Relaxed))
    }

    pub fn set_advised(&self, wanted: Wanted) {
        self.advised.store(wanted as u8, Relaxed);
    }

    /// Per cent of its weight that the judge leaves it.
    pub fn fitness(&self) -> u32 {
        100 - self.degraded.load(Relaxed)
    }

    pub(super) fn set_fitness(&self, percent: u32) {
        self.degraded.store(100 - percent.min(100), Relaxed);
    }

    /// In force once the health floor has assessed the pool.
    pub fn set_wanted(&self, wanted: Wanted) {
        self.wanted.store(wanted as u8, Relaxed);
    }

    /// Neither probes nor requests speak against it.
    pub fn is_healthy(&self) -> bool {
        self.checked() != Checked::Down && !self.is_ejected()
    }

    /// How much of its weight it has, of [`WHOLE`].
    pub fn share(&self) -> u32 {
        WHOLE - self.withheld.load(Relaxed)
    }

    pub(super) fn set_share(&self, share: u32) {
        self.withheld.store(WHOLE - share.min(WHOLE), Relaxed);
    }

    /// One more probe: how many in a row went so, this one included.
    pub fn probed(&self, probe: LastProbe) -> u32 {
        let (row, other, count) = match probe.passed {
            true => (&self.successes, &self.failures, &self.counts.probes_passed),
            false => (&self.failures, &self.successes, &self.counts.probes_failed),
        };
        count.fetch_add(1, Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(probe);
        other.store(0, Relaxed);
        // One thread probes a server.
        let now = row.load(Relaxed).saturating_add(1);
        row.store(now, Relaxed);
        now
    }

    /// Probes in a row that went well, and that did not; one of the two is 0.
    pub fn row(&self) -> (u32, u32) {
        (self.successes.load(Relaxed), self.failures.load(Relaxed))
    }

    pub fn last_probe(&self) -> Option<LastProbe> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A request went well. Costs a load where nothing went wrong before, and no failure rate is watched.
    pub fn succeeded(&self, rules: &Passive, now_ms: u32) {
        if self.met.row.load(Relaxed) != 0 {
            self.met.row.store(0, Relaxed);
        }
        if rules.max_rate > 0 {
            self.met.window(rules, now_ms);
            self.met.requests.fetch_add(1, Relaxed);
        }
    }

    /// A request failed. True: it is to be put on the list of suspects, and is not there yet.
    pub fn failed(&self, rules: &Passive, now_ms: u32) -> bool {
        let suspect = self.met.row_is_long(rules, now_ms) | self.met.rate_is_high(rules, now_ms);
        suspect && !self.ejected.load(Relaxed) && !self.met.suspected.swap(true, Relaxed)
    }

    /// It was judged; counting begins anew.
    pub fn acquit(&self) {
        self.met.row.store(0, Relaxed);
        self.met.requests.store(0, Relaxed);
        self.met.failures.store(0, Relaxed);
        self.met.suspected.store(false, Relaxed);
    }
}

impl Met {
    fn row_is_long(&self, rules: &Passive, now_ms: u32) -> bool {
        let mut row = self.row.fetch_add(1, Relaxed).saturating_add(1);
        let window = rules.window.as_millis() as u32;
        let late = now_ms.wrapping_sub(self.row_began.load(Relaxed)) > window;
        if row == 1 || late {
            row = 1;
            self.row.store(1, Relaxed);
            self.row_began.store(now_ms, Relaxed);
        }
        rules.max_fails > 0 && row >= rules.max_fails
    }

    fn rate_is_high(&self, rules: &Passive, now_ms: u32) -> bool {
        if rules.max_rate == 0 {
            return false;
        }
        self.window(rules, now_ms);
        let requests = u64::from(self.requests.fetch_add(1, Relaxed)) + 1;
        let failures = u64::from(self.failures.fetch_add(1, Relaxed)) + 1;
        requests >= u64::from(rules.min_requests)
            && failures * 100 >= u64::from(rules.max_rate) * requests
    }

    /// Begins a new window where the last is over. Two workers may both do so; what is lost are the requests between.
    fn window(&self, rules: &Passive, now_ms: u32) {
        let began = self.window_began.load(Relaxed);
        if now_ms.wrapping_sub(began) > rules.window.as_millis() as u32 {
            self.window_began.store(now_ms, Relaxed);
            self.requests.store(0, Relaxed);
            self.failures.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::outcome::{End, Layer};

    fn rules() -> Passive {
        Passive {
            max_fails: 3,
            window: Duration::from_secs(10),
            max_rate: 0,
            min_requests: 10,
            eject: Duration::from_secs(30),
            max_eject: Duration::from_secs(300),
            max_ejected: 50,
            trials: 0,
            on: Default::default(),
        }
    }

    #[test]
    fn failures_in_a_row_make_a_suspect_once() {
        let (vitals, rules) = (Vitals::default(), rules());
        assert!(!vitals.failed(&rules, 0) && !vitals.failed(&rules, 1));
        vitals.succeeded(&rules, 2);
        assert!(!vitals.failed(&rules, 3) && !vitals.failed(&rules, 4));
        assert!(vitals.failed(&rules, 5));
        assert!(!vitals.failed(&rules, 6), "it is on the list");
        vitals.acquit();
        assert!(!vitals.failed(&rules, 7));
    }

    #[test]
    fn a_row_that_takes_longer_than_the_window_begins_anew() {
        let (vitals, rules) = (Vitals::default(), rules());
        assert!(!vitals.failed(&rules, 0) && !vitals.failed(&rules, 9_000));
        assert!(!vitals.failed(&rules, 10_001));
        assert!(!vitals.failed(&rules, 10_002) && vitals.failed(&rules, 10_003));
    }

    #[test]
    fn a_rate_needs_requests() {
        let vitals = Vitals::default();
        let rules = Passive {
            max_fails: 0,
            max_rate: 50,
            ..rules()
        };
        for n in 0..5 {
            vitals.succeeded(&rules, n);
            let suspect = vitals.failed(&rules, n);
            assert_eq!(suspect, n == 4, "the tenth request");
        }
        vitals.acquit();
        for n in 0..30 {
            vitals.succeeded(&rules, n);
            vitals.succeeded(&rules, n);
            assert!(!vitals.failed(&rules, n), "a third is no half");
        }
    }

    #[test]
    fn probes_are_counted_in_rows() {
        let vitals = Vitals::default();
        let probe = |passed| {
            vitals.probed(LastProbe {
                passed,
                outcome: Outcome::new(Layer::Connection, End::Passed).as_judged(passed),
                words: String::new(),
                took: Duration::ZERO,
            })
        };
        assert_eq!([probe(false), probe(false), probe(true)], [1, 2, 1]);
        assert_eq!([probe(true), probe(false)], [2, 1]);
    }
}
