//! A host without a proxy.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use super::crypto::{Scheme, signed};
use super::sys::Level;

/// What the host functions of a [`Harness`](super::Harness) talk to. Several harnesses may share one, as the workers of a proxy do.
pub struct FakeHost {
    pub(crate) now_us: Cell<u64>,
    random: Cell<u64>,
    pub(crate) logs: RefCell<Vec<(Level, String)>>,
    pub(crate) counters: RefCell<Vec<(Series, u64)>>,
    pub(crate) tickets: RefCell<Vec<(String, u64)>>,
    pub(crate) store: RefCell<HashMap<Vec<u8>, Entry>>,
    /// Slots by pool and name.
    slots: RefCell<HashMap<(String, String), u32>>,
    /// By slot.
    live: RefCell<Vec<Counters>>,
}

/// A metric's name and labels.
pub(crate) type Series = (String, Vec<(String, String)>);

pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) expires_us: Option<u64>,
}

#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    Bytes(Vec<u8>),
    Sum(i64),
    Bucket { tokens: f64, at_us: u64 },
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) inflight: u32,
    pub(crate) ewma_us: u32,
    pub(crate) weight: u32,
}

impl Default for FakeHost {
    fn default() -> Self {
        FakeHost {
            now_us: Cell::new(1_700_000_000_000_000),
            random: Cell::new(0),
            logs: RefCell::default(),
            counters: RefCell::default(),
            tickets: RefCell::default(),
            store: RefCell::default(),
            slots: RefCell::default(),
            live: RefCell::default(),
        }
    }
}

impl FakeHost {
    /// Moves both clocks on. They stand still otherwise.
    pub fn advance(&self, time: Duration) {
        self.now_us.set(self.now_us.get() + time.as_micros() as u64);
    }

    /// Begins another series of random bits.
    pub fn seed(&self, seed: u64) {
        self.random.set(seed);
    }

    /// The next random bits (SplitMix64).
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// What was logged so far.
    pub fn logs(&self) -> Vec<(Level, String)> {
        self.logs.borrow().clone()
    }

    /// A signature that [`crypto::verify`](crate::crypto::verify) takes in a test. With HMAC-SHA-256 it is the real one; else it is made
    /// from the *public* key, so that a test needs no private one.
    pub fn sign(&self, scheme: Scheme, key: &[u8], message: &[u8]) -> Vec<u8> {
        signed(scheme, key, message)
    }

    /// Where the counter of that name with these labels stands; 0 when nobody opened it.
    pub fn counter(&self, metric: &str, labels: &[(&str, &str)]) -> u64 {
        let same = |known: &Series| {
            known.0 == metric
                && known.1.len() == labels.len()
                && known
                    .1
                    .iter()
                    .zip(labels)
                    .all(|(a, b)| (a.0.as_str(), a.1.as_str()) == *b)
        };
        let counters = self.counters.borrow();
        counters
            .iter()
            .find(|(series, _)| same(series))
            .map_or(0, |(_, sum)| *sum)
    }

    /// The slot of a server, by pool and name: the same at each call.
    pub(crate) fn slot(&self, pool: &str, name: &str) -> u32 {
        let key = (pool.to_owned(), name.to_owned());
        *self.slots.borrow_mut().entry(key).or_insert_with(|| {
            let mut live = self.live.borrow_mut();
            live.push(Counters::default());
            live.len() as u32 - 1
        })
    }

    pub(crate) fn counters_of(&self, slot: u32) -> Counters {
        let live = self.live.borrow();
        *live
            .get(slot as usize)
            .expect("the slot of a server of this harness")
    }

    pub(crate) fn change(&self, slot: u32, change: impl FnOnce(&mut Counters)) {
        change(&mut self.live.borrow_mut()[slot as usize]);
    }

    /// The entry of that key unless it has expired.
    pub(crate) fn entry<R>(&self, key: &[u8], use_it: impl FnOnce(Option<&mut Entry>) -> R) -> R {
        let now = self.now_us.get();
        let mut store = self.store.borrow_mut();
        if store
            .get(key)
            .and_then(|e| e.expires_us)
            .is_some_and(|at| at <= now)
        {
            store.remove(key);
        }
        use_it(store.get_mut(key))
    }
}

/// The live counters of a server, to be set by a test.
pub struct Live<'a> {
    pub(crate) host: &'a FakeHost,
    pub(crate) slot: u32,
}

impl Live<'_> {
    /// Requests that it is answering.
    pub fn inflight(self, requests: u32) -> Self {
        self.host
            .change(self.slot, |counters| counters.inflight = requests);
        self
    }

    /// Average time to the first byte, microseconds.
    pub fn ewma_us(self, micros: u32) -> Self {
        self.host
            .change(self.slot, |counters| counters.ewma_us = micros);
        self
    }

    /// Effective weight, in 256ths; 256 times the weight unless set.
    pub fn weight(self, weight: u32) -> Self {
        self.host
            .change(self.slot, |counters| counters.weight = weight);
        self
    }
}
