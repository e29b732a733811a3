//! What is counted of a plugin, over its workers and over its generations.
//!
//! Each worker writes figures of its own, so counting costs a load and a store. Whoever reads adds them up. The ledger
//! keeps what ended generations counted, so that a plugin's totals never go back.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One call in so many is timed.
pub(super) const TIMED: u64 = 64;

/// Upper bounds of the buckets of timed calls, in nanoseconds: from a balancer's pick to beyond the CPU limits that there are.
pub(super) const BOUNDS_NS: [u64; 15] = [
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    100_000_000,
];

/// Calls by how long they took; the last is what is beyond all bounds.
pub(super) type Buckets = [u64; BOUNDS_NS.len() + 1];

/// Failures of a plugin that come closer than this are one burst, and logged once.
const BURST: Duration = Duration::from_secs(10);

/// The figures of one plugin of one generation, over all its workers.
pub struct PluginShared {
    name: Arc<str>,
    sha256: [u8; 32],
    figures: Arc<[Figures]>,
    instances: Arc<AtomicUsize>,
    logged: Mutex<Option<Instant>>,
    ledger: Arc<Ledger>,
    entry: u64,
}

/// One worker's figures; only that worker adds to them.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Figures {
    calls: [AtomicU64; Role::ALL.len()],
    /// Answers that were given again without a call.
    repeated: [AtomicU64; Role::ALL.len()],
    /// Of the calls that were timed, each bucket for itself.
    timed: [[AtomicU64; BOUNDS_NS.len() + 1]; Role::ALL.len()],
    nanos: [AtomicU64; Role::ALL.len()],
    failures: [AtomicU64; Cause::ALL.len()],
    pub(super) quarantined: AtomicBool,
}

/// Kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Connect,
    Router,
    RequestFilter,
    ResponseFilter,
    Balancer,
    Sticky,
    Health,
    Prober,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    Trap,
    /// Past its CPU limit.
    Cpu,
    /// Past its memory or table limit.
    Memory,
    /// Recursed too deep.
    Stack,
    /// It said what it may not say.
    BadAnswer,
}

/// A plugin's totals.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) calls: [u64; Role::ALL.len()],
    pub(super) repeated: [u64; Role::ALL.len()],
    pub(super) timed: [Buckets; Role::ALL.len()],
    pub(super) nanos: [u64; Role::ALL.len()],
    pub(super) failures: [u64; Cause::ALL.len()],
    pub(super) instances: usize,
    pub(super) quarantined: usize,
}

/// The figures of every plugin, past and present.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    next: u64,
    present: HashMap<u64, Entry>,
    past: HashMap<Arc<str>, Totals>,
}

struct Entry {
    name: Arc<str>,
    figures: Arc<[Figures]>,
    instances: Arc<AtomicUsize>,
}

impl PluginShared {
    pub(super) fn new(
        name: &Arc<str>,
        sha256: [u8; 32],
        workers: usize,
        ledger: &Arc<Ledger>,
    ) -> Arc<PluginShared> {
        let figures: Arc<[Figures]> = std::iter::repeat_with(Figures::default)
            .take(workers)
            .collect();
        let instances = Arc::default();
        let entry = ledger.enter(Entry {
            name: name.clone(),
            figures: figures.clone(),
            instances: Arc::clone(&instances),
        });
        Arc::new(PluginShared {
            name: name.clone(),
            sha256,
            figures,
            instances,
            logged: Mutex::default(),
            ledger: ledger.clone(),
            entry,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of its file.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    pub fn calls(&self, role: Role) -> u64 {
        self.totals().calls[role as usize]
    }

    pub fn repeated(&self, role: Role) -> u64 {
        self.totals().repeated[role as usize]
    }

    pub fn failures(&self, cause: Cause) -> u64 {
        self.totals().failures[cause as usize]
    }

    /// Time in the calls that were timed (one in 64), and how many those are.
    pub fn time(&self, role: Role) -> (Duration, u64) {
        let totals = self.totals();
        let nanos = totals.nanos[role as usize];
        let timed = totals.timed[role as usize].iter().sum();
        (Duration::from_nanos(nanos), timed)
    }

    /// Instances of this generation that exist now.
    pub fn instances(&self) -> usize {
        self.instances.load(Relaxed)
    }

    /// Workers on which it is quarantined now.
    pub fn quarantined(&self) -> usize {
        self.totals().quarantined
    }

    pub(super) fn figures(&self, worker: usize) -> &Figures {
        &self.figures[worker]
    }

    pub(super) fn gauge(&self) -> &Arc<AtomicUsize> {
        &self.instances
    }

    pub(super) fn name_shared(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether a failure now is the first of a burst, on whichever worker.
    pub(super) fn begins_burst(&self) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let begins = logged.is_none_or(|last| now.duration_since(last) > BURST);
        *logged = Some(now);
        begins
    }

    fn totals(&self) -> Totals {
        totals(&self.figures, &self.instances)
    }
}

impl Drop for PluginShared {
    fn drop(&mut self) {
        self.ledger.leave(self.entry);
    }
}

impl Figures {
    /// Counts a call; true: time this one.
    #[inline]
    pub(super) fn call(&self, role: Role) -> bool {
        let calls = &self.calls[role as usize];
        let before = calls.load(Relaxed);
        calls.store(before + 1, Relaxed);
        before.is_multiple_of(TIMED)
    }

    /// Counts an answer that took no call.
    #[inline]
    pub(super) fn repeats(&self, role: Role) {
        let repeated = &self.repeated[role as usize];
        repeated.store(repeated.load(Relaxed) + 1, Relaxed);
    }

    #[cold]
    pub(super) fn took(&self, role: Role, time: Duration) {
        let nanos = time.as_nanos() as u64;
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < nanos);
        self.nanos[role as usize].fetch_add(nanos, Relaxed);
        self.timed[role as usize][bucket].fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self, cause: Cause) {
        self.failures[cause as usize].fetch_add(1, Relaxed);
    }
}

impl Ledger {
    /// Every plugin's totals, sorted by name.
    pub(super) fn all(&self) -> Vec<(Arc<str>, Totals)> {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = book.past.clone();
        for entry in book.present.values() {
            let now = totals(&entry.figures, &entry.instances);
            all.entry(entry.name.clone()).or_default().add(&now);
        }
        drop(book);
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    fn enter(&self, entry: Entry) -> u64 {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.next += 1;
        let number = book.next;
        book.present.insert(number, entry);
        number
    }

    fn leave(&self, number: u64) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = book.present.remove(&number) else {
            return;
        };
        let mut last = totals(&entry.figures, &entry.instances);
        (last.instances, last.quarantined) = (0, 0);
        book.past.entry(entry.name).or_default().add(&last);
    }
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        add(&mut self.calls, &other.calls);
        add(&mut self.repeated, &other.repeated);
        add_all(&mut self.timed, &other.timed);
        add(&mut self.nanos, &other.nanos);
        add(&mut self.failures, &other.failures);
        self.instances += other.instances;
        self.quarantined += other.quarantined;
    }
}

fn totals(figures: &[Figures], instances: &AtomicUsize) -> Totals {
    let mut totals = Totals {
        instances: instances.load(Relaxed),
        ..Totals::default()
    };
    for worker in figures {
        add(&mut totals.calls, &read(&worker.calls));
        add(&mut totals.repeated, &read(&worker.repeated));
        let timed: [Buckets; Role::ALL.len()] =
            std::array::from_fn(|role| read(&worker.timed[role]));
        add_all(&mut totals.timed, &timed);
        add(&mut totals.nanos, &read(&worker.nanos));
        add(&mut totals.failures, &read(&worker.failures));
        totals.quarantined += usize::from(worker.quarantined.load(Relaxed));
    }
    totals
}

fn read<const N: usize>(counters: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|i| counters[i].load(Relaxed))
}

fn add_all(sums: &mut [Buckets], more: &[Buckets]) {
    sums.iter_mut()
        .zip(more)
        .for_each(|(sum, one)| add(sum, one));
}

fn add<const N: usize>(sums: &mut [u64; N], more: &[u64; N]) {
    sums.iter_mut().zip(more).for_each(|(sum, n)| *sum += n);
}

impl Role {
    pub const ALL: [Role; 8] = [
        Role::Connect,
        Role::Router,
        Role::RequestFilter,
        Role::ResponseFilter,
        Role::Balancer,
        Role::Sticky,
        Role::Health,
        Role::Prober,
    ];

    /// Those in which a pure plugin's answers are kept.
    pub(super) const REPEATABLE: [Role; 3] =
        [Role::Router, Role::RequestFilter, Role::ResponseFilter];

    pub fn name(self) -> &'static str {
        match self {
            Role::Connect => "connect",
            Role::Router => "router",
            Role::RequestFilter => "request-filter",
            Role::ResponseFilter => "response-filter",
            Role::Balancer => "balancer",
            Role::Sticky => "sticky",
            Role::Health => "health",
            Role::Prober => "prober",
        }
    }
}

impl Cause {
    pub const ALL: [Cause; 5] = [
        Cause::Trap,
        Cause::Cpu,
        Cause::Memory,
        Cause::Stack,
        Cause::BadAnswer,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Cause::Trap => "trap",
            Cause::Cpu => "cpu",
            Cause::Memory => "memory",
            Cause::Stack => "stack",
            Cause::BadAnswer => "bad-answer",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_outlive_a_generation() {
        let ledger: Arc<Ledger> = Arc::default();
        let name: Arc<str> = "p".into();
        let old = PluginShared::new(&name, [0; 32], 2, &ledger);
        assert!(old.figures(0).call(Role::Router));
        old.figures(1).call(Role::Router);
        old.figures(1).failed(Cause::Cpu);
        let new = PluginShared::new(&name, [1; 32], 1, &ledger);
        new.figures(0).call(Role::Router);
        assert_eq!((old.calls(Role::Router), new.calls(Role::Router)), (2, 1));
        drop(old);
        let all = ledger.all();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].1.calls[Role::Router as usize], 3);
        assert_eq!(all[0].1.failures[Cause::Cpu as usize], 1);
    }
}
