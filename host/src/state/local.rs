//! A plugin's keys and values in the proxy's memory. Bounded in entries and bytes; what has a time to live expires as it
//! is read, and what nobody reads is dropped as new keys come, a few at a time, so that no call pays for a sweep.
//!
//! Three kinds of values live side by side: bytes (`set`), sums (`add`) and token buckets (`take`). A call sees its own
//! kind; another kind counts as absent and is replaced.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Place;

pub const MOST_ENTRIES: usize = 65_536;
/// Keys and values together.
pub const MOST_BYTES: usize = 16 << 20;
pub const MOST_KEY: usize = 1 << 10;
pub const MOST_VALUE: usize = 64 << 10;

/// Expired keys dropped whenever a new one comes: more than one, so that they never pile up.
const REAPED_A_KEY: usize = 2;

/// Notes looked at for a bucket that may go, when the store is full.
const LOOKED_AT: usize = 64;

/// Of a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub taken: bool,
    /// Whole tokens.
    pub left: u32,
    /// Milliseconds until there are as many as were asked for; 0 when taken.
    pub wait_ms: u32,
    /// Milliseconds until it is full.
    pub full_ms: u32,
}

pub struct LocalStore {
    start: Instant,
    map: DashMap<Arc<[u8]>, Entry>,
    /// When keys expire, soonest first; at least once for each key that does. Looked at only when a key comes.
    expiries: Mutex<BinaryHeap<Reverse<Expiring>>>,
    entries: AtomicUsize,
    bytes: AtomicUsize,
}

/// When, and which key.
type Expiring = (u64, Arc<[u8]>);

struct Entry {
    value: Value,
    /// Microseconds since `start`.
    expires: u64,
}

#[derive(Clone)]
enum Value {
    Bytes(Box<[u8]>),
    Sum(i64),
    Bucket { tokens: f64, at: u64 },
}

/// What a call makes of a key: whether its value changes, and what it answers.
enum Change<R> {
    Leave(R),
    Put(Value, Expiry, R),
}

#[derive(Clone, Copy)]
enum Expiry {
    At(u64),
    /// As the value before had it; never, if there was none.
    Kept,
}

const NEVER: u64 = u64::MAX;

impl LocalStore {
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let entry = self.map.get(key)?;
        match &entry.value {
            Value::Bytes(bytes) if entry.expires > self.now() => Some(bytes.to_vec()),
            _ => None,
        }
    }

    /// False: full, or too large.
    pub fn set(&self, key: &[u8], value: &[u8], ttl_ms: Option<u32>) -> bool {
        if value.len() > MOST_VALUE {
            return false;
        }
        let expires = self.expiry(ttl_ms);
        self.change(key, |_, _| {
            Change::Put(Value::Bytes(value.into()), Expiry::At(expires), ())
        })
        .is_some()
    }

    /// Keeps a value for so long; when full, what expires the soonest makes room. Too long a key or value is not kept.
    pub fn put(&self, key: &[u8], value: &[u8], ttl_ms: u32) {
        let fits = key.len() <= MOST_KEY && value.len() <= MOST_VALUE;
        if fits && !self.set(key, value, Some(ttl_ms)) && self.forget(|_| true) {
            self.set(key, value, Some(ttl_ms));
        }
    }

    /// The sum after adding; saturates. When full, `delta`, and nothing is kept.
    pub fn add(&self, key: &[u8], delta: i64, ttl_ms: Option<u32>) -> i64 {
        let made = self.expiry(ttl_ms);
        self.change(key, |_, before| match before {
            Some(Value::Sum(sum)) => {
                let sum = sum.saturating_add(delta);
                Change::Put(Value::Sum(sum), Expiry::Kept, sum)
            }
            _ => Change::Put(Value::Sum(delta), Expiry::At(made), delta),
        })
        .unwrap_or(delta)
    }

    /// Sets only if the value is `expected`; keeps the time to live.
    pub fn compare_and_set(&self, key: &[u8], expected: Option<&[u8]>, value: &[u8]) -> bool {
        if value.len() > MOST_VALUE {
            return false;
        }
        self.change(key, |_, before| {
            let found = match before {
                Some(Value::Bytes(bytes)) => Some(bytes.as_ref()),
                _ => None,
            };
            if found != expected {
                return Change::Leave(false);
            }
            let expiry = match found {
                Some(_) => Expiry::Kept,
                None => Expiry::At(NEVER),
            };
            Change::Put(Value::Bytes(value.into()), expiry, true)
        })
        .unwrap_or(false)
    }

    pub fn delete(&self, key: &[u8]) {
        if let Some((key, entry)) = self.map.remove(key) {
            self.release(key.len() + entry.value.size());
        }
    }

    /// Takes a token. None: taken, also when full. Some: milliseconds until there is one.
    pub fn take(&self, key: &[u8], per_second: f64, burst: u32) -> Option<u32> {
        let level = self.change(key, draw(per_second, burst, 1));
        level
            .filter(|level| !level.taken)
            .map(|level| level.wait_ms)
    }

    /// Takes so many tokens, or none. When full, the bucket that is nearest to being full makes room: it knows the least, and
    /// who asks for many keys to have his own forgotten finds that his is the last. None: no bucket, or the key is too long.
    pub fn take_some(&self, key: &[u8], per_second: f64, burst: u32, tokens: u32) -> Option<Level> {
        self.change(key, draw(per_second, burst, tokens))
            .or_else(|| {
                let room = key.len() <= MOST_KEY
                    && self.forget(|value| matches!(value, Value::Bucket { .. }));
                room.then(|| self.change(key, draw(per_second, burst, tokens)))
                    .flatten()
            })
    }

    /// The tokens in a bucket now; as many as it holds where there is none.
    pub(super) fn tokens(&self, key: &[u8], per_second: f64, burst: u32) -> f64 {
        match self.map.get(key).as_deref() {
            Some(Entry {
                value: Value::Bucket { tokens, at },
                ..
            }) => filled(*tokens, *at, self.now(), per_second, burst.into()),
            _ => burst.into(),
        }
    }

    /// Says what is in a bucket: below zero where more was drawn elsewhere than there was.
    pub(super) fn fill(&self, key: &[u8], tokens: f64, per_second: f64, burst: u32) {
        let full_in = (f64::from(burst) - tokens).max(0.0) / per_second * 1e6;
        // Without room for it the key's next draw begins with a full bucket, as ever.
        let _ = self.change(key, |now, _| {
            let expires = now.saturating_add(full_in.ceil() as u64);
            let bucket = Value::Bucket { tokens, at: now };
            Change::Put(bucket, Expiry::At(expires.max(now + 1)), ())
        });
    }

    /// Says what a sum is.
    pub(super) fn set_sum(&self, key: &[u8], sum: i64, ttl_ms: Option<u32>) {
        let expires = self.expiry(ttl_ms);
        let _ = self.change(key, |_, _| {
            Change::Put(Value::Sum(sum), Expiry::At(expires), ())
        });
    }

    /// Keys kept, expired ones that were not dropped yet included.
    pub fn len(&self) -> usize {
        self.entries.load(Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes a key's value in one step. None: the key is too long, or there is no room, also not after dropping all that
    /// has expired.
    fn change<R>(
        &self,
        key: &[u8],
        decide: impl Fn(u64, Option<&Value>) -> Change<R>,
    ) -> Option<R> {
        if key.len() > MOST_KEY {
            return None;
        }
        let now = self.now();
        self.attempt(key, now, &decide).or_else(|| {
            let dropped = self.reap(now, usize::MAX);
            (dropped > 0)
                .then(|| self.attempt(key, now, &decide))
                .flatten()
        })
    }

    fn attempt<R>(
        &self,
        key: &[u8],
        now: u64,
        decide: &impl Fn(u64, Option<&Value>) -> Change<R>,
    ) -> Option<R> {
        if let Some(mut entry) = self.map.get_mut(key) {
            let (answer, news) = self.rewrite(&mut entry, now, decide)?;
            drop(entry);
            self.expect(key, news);
            return Some(answer);
        }
        let (value, expires, answer) = match decide(now, None) {
            Change::Leave(answer) => return Some(answer),
            Change::Put(value, expiry, answer) => (value, expiry.or(NEVER), answer),
        };
        let size = key.len() + value.size();
        if !self.reserve_entry(size) {
            return None;
        }
        let key: Arc<[u8]> = key.into();
        match self.map.entry(key.clone()) {
            Place::Vacant(place) => drop(place.insert(Entry { value, expires })),
            Place::Occupied(place) => {
                // Another worker made it in between: decide again, on its value.
                drop(place);
                self.release(size);
                return self.attempt(&key, now, decide);
            }
        }
        self.expect(&key, (expires != NEVER).then_some(expires));
        self.reap(now, REAPED_A_KEY);
        Some(answer)
    }

    /// Changes an entry in place. None: no room. Beside the answer: when it expires, if that is sooner than before.
    fn rewrite<R>(
        &self,
        entry: &mut Entry,
        now: u64,
        decide: &impl Fn(u64, Option<&Value>) -> Change<R>,
    ) -> Option<(R, Option<u64>)> {
        let live = entry.expires > now;
        match decide(now, live.then_some(&entry.value)) {
            Change::Leave(answer) => Some((answer, None)),
            Change::Put(value, expiry, answer) => {
                if !self.resize(entry.value.size(), value.size()) {
                    return None;
                }
                let before = entry.expires;
                entry.expires = expiry.or(if live { before } else { NEVER });
                entry.value = value;
                let sooner = entry.expires < before;
                Some((answer, sooner.then_some(entry.expires)))
            }
        }
    }

    /// Notes when a key expires. A later expiry than one noted before needs no note: `reap` finds out.
    fn expect(&self, key: &[u8], expires: Option<u64>) {
        let Some(expires) = expires else { return };
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        // Keys deleted or shortened again and again leave notes behind: start over from what there is.
        if expiries.len() > 2 * self.len() + 64 {
            expiries.clear();
            let all = self.map.iter();
            expiries.extend(
                all.filter(|e| e.expires != NEVER)
                    .map(|e| Reverse((e.expires, e.key().clone()))),
            );
        }
        expiries.push(Reverse((expires, key.into())));
    }

    /// Drops up to `most` expired keys; answers how many.
    fn reap(&self, now: u64, most: usize) -> usize {
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = 0;
        while dropped < most && expiries.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, key))) = expiries.pop() else {
                break;
            };
            match self.map.remove_if(&key, |_, entry| entry.expires <= now) {
                Some((key, entry)) => {
                    self.release(key.len() + entry.value.size());
                    dropped += 1;
                }
                None => {
                    let later = self.map.get(&key).map(|entry| entry.expires);
                    expiries.extend(later.filter(|at| *at != NEVER).map(|at| Reverse((at, key))));
                }
            }
        }
        dropped
    }

    /// Drops what expires the soonest of a kind: of buckets, the one that will be full, and so as good as none. False: none is
    /// near.
    fn forget(&self, kind: impl Fn(&Value) -> bool) -> bool {
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..LOOKED_AT {
            let Some(Reverse((noted, key))) = expiries.pop() else {
                return false;
            };
            let due = |_: &Arc<[u8]>, entry: &Entry| entry.expires == noted && kind(&entry.value);
            if let Some((key, entry)) = self.map.remove_if(&key, due) {
                self.release(key.len() + entry.value.size());
                return true;
            }
            // It was drawn on since it was noted, or is of another kind.
            let later = self.map.get(&key).map(|entry| entry.expires);
            let later = later.filter(|at| *at != NEVER).map(|at| at.max(noted + 1));
            expiries.extend(later.map(|at| Reverse((at, key))));
        }
        false
    }

    fn reserve_entry(&self, bytes: usize) -> bool {
        if !self.resize(0, bytes) {
            return false;
        }
        let taken = self
            .entries
            .fetch_update(Relaxed, Relaxed, |n| (n < MOST_ENTRIES).then_some(n + 1));
        if taken.is_err() {
            self.bytes.fetch_sub(bytes, Relaxed);
        }
        taken.is_ok()
    }

    fn release(&self, bytes: usize) {
        self.entries.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(bytes, Relaxed);
    }

    fn resize(&self, from: usize, to: usize) -> bool {
        let fits = |total: usize| {
            let after = total - from + to;
            (to <= from || after <= MOST_BYTES).then_some(after)
        };
        self.bytes.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    fn expiry(&self, ttl_ms: Option<u32>) -> u64 {
        ttl_ms.map_or(NEVER, |ttl| self.now() + u64::from(ttl) * 1_000)
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}

/// What a draw on a bucket makes of it.
fn draw(per_second: f64, burst: u32, asked: u32) -> impl Fn(u64, Option<&Value>) -> Change<Level> {
    let rate = match per_second.is_finite() {
        true => per_second.max(0.0),
        false => 0.0,
    };
    let (burst, asked) = (f64::from(burst), f64::from(asked));
    move |now, before| {
        let tokens = match before {
            Some(Value::Bucket { tokens, at }) => filled(*tokens, *at, now, rate, burst),
            _ => burst,
        };
        if tokens < asked {
            return Change::Leave(level(false, tokens, asked - tokens, burst, rate));
        }
        let tokens = tokens - asked;
        let level = level(true, tokens, 0.0, burst, rate);
        // A bucket that is full again is the same as none.
        let full_in = (burst - tokens) / rate * 1e6;
        if asked == 0.0 {
            return Change::Leave(level);
        }
        let expires = now.saturating_add(full_in.ceil() as u64);
        let bucket = Value::Bucket { tokens, at: now };
        Change::Put(bucket, Expiry::At(expires.max(now + 1)), level)
    }
}

fn filled(tokens: f64, at: u64, now: u64, rate: f64, burst: f64) -> f64 {
    let passed = now.saturating_sub(at) as f64 / 1e6;
    (tokens + passed * rate).min(burst)
}

fn level(taken: bool, tokens: f64, missing: f64, burst: f64, rate: f64) -> Level {
    let full = burst - tokens;
    Level {
        taken,
        left: tokens as u32,
        wait_ms: if taken { 0 } else { wait_ms(missing, rate) },
        full_ms: if full > 0.0 { wait_ms(full, rate) } else { 0 },
    }
}

/// Milliseconds until `missing` tokens are there, at least 1.
fn wait_ms(missing: f64, rate: f64) -> u32 {
    // A float's cast saturates, so that no rate at all is as long as a number can say.
    ((missing / rate * 1e3).ceil() as u32).max(1)
}

impl Value {
    fn size(&self) -> usize {
        match self {
            Value::Bytes(bytes) => bytes.len(),
            Value::Sum(_) => 8,
            Value::Bucket { .. } => 16,
        }
    }
}

impl Expiry {
    fn or(self, before: u64) -> u64 {
        match self {
            Expiry::At(at) => at,
            Expiry::Kept => before,
        }
    }
}

impl Default for LocalStore {
    fn default() -> LocalStore {
        LocalStore {
            start: Instant::now(),
            map: DashMap::new(),
            expiries: Mutex::default(),
            entries: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Lets time pass for the store, without waiting.
    fn later(store: &mut LocalStore, ms: u64) {
        store.start -= Duration::from_millis(ms);
    }

    #[test]
    fn a_value_expires() {
        let mut store = LocalStore::default();
        assert!(store.set(b"k", b"v", Some(50)) && store.set(b"stays", b"v", None));
        assert_eq!(store.get(b"k").as_deref(), Some(&b"v"[..]));
        later(&mut store, 51);
        assert_eq!(store.get(b"k"), None);
        assert!(store.get(b"stays").is_some());
        assert!(store.compare_and_set(b"k", None, b"new"), "absent");
        later(&mut store, 1_000_000);
        assert!(store.get(b"k").is_some(), "what was made anew has no ttl");
    }

    #[test]
    fn a_counter_saturates_and_keeps_its_time() {
        let mut store = LocalStore::default();
        assert_eq!(store.add(b"k", 2, Some(100)), 2);
        later(&mut store, 60);
        assert_eq!(store.add(b"k", i64::MAX, Some(100)), i64::MAX);
        later(&mut store, 60);
        assert_eq!(store.add(b"k", 1, None), 1, "made 120 ms ago");
        assert!(store.set(b"k", b"text", None));
        assert_eq!(store.add(b"k", 5, None), 5, "another kind is absent");
        assert_eq!(store.get(b"k"), None);
    }

    #[test]
    fn compare_and_set_keeps_the_time() {
        let mut store = LocalStore::default();
        store.set(b"k", b"a", Some(100));
        assert!(!store.compare_and_set(b"k", Some(b"x"), b"b"));
        assert!(!store.compare_and_set(b"k", None, b"b"));
        assert!(store.compare_and_set(b"k", Some(b"a"), b"b"));
        later(&mut store, 101);
        assert_eq!(store.get(b"k"), None);
    }

    #[test]
    fn a_bucket_fills_again() {
        let mut store = LocalStore::default();
        for _ in 0..3 {
            assert_eq!(store.take(b"k", 2.0, 3), None);
        }
        let wait = store.take(b"k", 2.0, 3).unwrap();
        assert!((400..=500).contains(&wait), "{wait}");
        later(&mut store, u64::from(wait));
        assert_eq!(store.take(b"k", 2.0, 3), None);
        assert!(store.take(b"k", 2.0, 3).is_some());
        later(&mut store, 60_000);
        assert_eq!(
            (0..9)
                .filter(|_| store.take(b"k", 2.0, 3).is_none())
                .count(),
            3
        );
    }

    #[test]
    fn several_tokens_are_taken_together_or_not_at_all() {
        let store = LocalStore::default();
        let take = |tokens| store.take_some(b"k", 1.0, 5, tokens).unwrap();
        let first = take(3);
        assert_eq!((first.taken, first.left, first.wait_ms), (true, 2, 0));
        assert!((2_900..=3_000).contains(&first.full_ms), "{first:?}");
        let second = take(3);
        assert_eq!((second.taken, second.left), (false, 2));
        assert!((900..=1_000).contains(&second.wait_ms), "{second:?}");
        assert_eq!((take(0).left, take(2).left), (2, 0));
        assert_eq!(store.len(), 1);
        assert_eq!(store.take_some(b"new", 1.0, 5, 0).unwrap().left, 5);
        assert_eq!(store.len(), 1, "a look leaves nothing");
    }

    #[test]
    fn when_full_the_bucket_that_knows_least_makes_room() {
        let store = LocalStore::default();
        let drawn = store.take_some(b"attacker", 0.001, 100, 100).unwrap();
        assert!(drawn.taken);
        for n in 0..2 * MOST_ENTRIES as u32 {
            assert!(
                store
                    .take_some(&n.to_be_bytes(), 0.001, 100, 1)
                    .unwrap()
                    .taken
            );
        }
        assert_eq!(store.len(), MOST_ENTRIES);
        assert!(
            !store.take_some(b"attacker", 0.001, 100, 1).unwrap().taken,
            "still known"
        );
    }

    #[test]
    fn when_full_what_expires_first_makes_room() {
        let store = LocalStore::default();
        for n in 0..MOST_ENTRIES as u32 + 3 {
            store.put(&n.to_be_bytes(), b"v", 1_000_000 + n);
        }
        assert_eq!(store.len(), MOST_ENTRIES);
        let there = |n: u32| store.get(&n.to_be_bytes()).is_some();
        assert_eq!(
            [0, 2, 3, MOST_ENTRIES as u32 + 2].map(there),
            [false, false, true, true]
        );
        store.put(&[7; MOST_KEY + 1], b"v", 1);
        assert!(there(3), "what is not kept makes no room");
    }

    #[test]
    fn what_is_no_bucket_makes_no_room() {
        let store = LocalStore::default();
        for n in 0..MOST_ENTRIES as u32 {
            assert!(store.set(&n.to_be_bytes(), b"v", Some(1_000_000)));
        }
        assert_eq!(store.take_some(b"k", 1.0, 5, 1), None);
        assert_eq!(store.take_some(b"k", 1.0, 5, 1), None);
        assert!(store.get(&7u32.to_be_bytes()).is_some());
    }

    #[test]
    fn many_workers_take_exactly_what_is_there() {
        let store = LocalStore::default();
        let taken: usize = std::thread::scope(|scope| {
            let take = || {
                (0..1_000)
                    .filter(|_| store.take_some(b"k", 1e-9, 777, 1).unwrap().taken)
                    .count()
            };
            let workers: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .sum()
        });
        assert_eq!(taken, 777);
    }

    #[test]
    fn odd_rates_do_no_harm() {
        let store = LocalStore::default();
        for rate in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            let key = rate.to_string();
            assert_eq!(store.take(key.as_bytes(), rate, 1), None, "{rate}");
            assert_eq!(
                store.take(key.as_bytes(), rate, 1),
                Some(u32::MAX),
                "{rate}"
            );
        }
        assert_eq!(store.take(b"none", 1e9, 0), Some(1));
        assert_eq!(store.take(b"fast", 1e300, 1), None);
    }

    #[test]
    fn sizes_are_bounded() {
        let store = LocalStore::default();
        assert!(store.set(&[7; MOST_KEY], &[0; MOST_VALUE], None));
        assert!(!store.set(&[7; MOST_KEY + 1], b"", None));
        assert!(!store.set(b"k", &[0; MOST_VALUE + 1], None));
        assert_eq!(store.take(&[7; MOST_KEY + 1], 1.0, 0), None, "as when full");
        assert_eq!(store.add(&[7; MOST_KEY + 1], 4, None), 4);
    }

    #[test]
    fn full_of_bytes_it_refuses_and_recovers() {
        let mut store = LocalStore::default();
        let value = vec![0; MOST_VALUE];
        let kept = (0..1_000u32)
            .filter(|n| store.set(&n.to_le_bytes(), &value, Some(1_000)))
            .count();
        assert_eq!(kept, MOST_BYTES / (MOST_VALUE + 4));
        assert!(!store.set(b"one more", &value, None));
        later(&mut store, 1_001);
        assert!(
            store.set(b"one more", &value, None),
            "what expired makes room"
        );
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn full_of_entries_it_refuses_and_recovers() {
        let mut store = LocalStore::default();
        for n in 0..MOST_ENTRIES as u32 {
            assert!(store.set(&n.to_le_bytes(), b"", Some(600_000)));
        }
        assert!(!store.set(b"one more", b"", None));
        assert_eq!(store.add(b"sum", 3, None), 3);
        assert_eq!(store.add(b"sum", 3, None), 3, "nothing was kept");
        assert_eq!(store.take(b"bucket", 0.0, 1), None);
        assert_eq!(store.take(b"bucket", 0.0, 1), None, "full, it takes");
        store.delete(&0u32.to_le_bytes());
        assert!(store.set(b"one more", b"", None));
        later(&mut store, 600_001);
        assert_eq!(store.add(b"sum", 3, None), 3);
        assert_eq!(store.add(b"sum", 3, None), 6);
    }

    #[test]
    fn what_nobody_reads_is_dropped_in_time() {
        let mut store = LocalStore::default();
        for n in 0..10_000u32 {
            assert_eq!(store.take(&n.to_le_bytes(), 10.0, 1), None);
            later(&mut store, 1);
        }
        assert!(
            store.len() < 300,
            "{} buckets of 100 ms are left",
            store.len()
        );
        let noted = store.expiries.lock().unwrap().len();
        assert!(noted < 1_000, "{noted} notes");
    }

    #[test]
    fn workers_lose_nothing() {
        let store = LocalStore::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..5_000).for_each(|n| assert!(store.add(&[(n % 7) as u8], 1, None) > 0))
                });
            }
        });
        let sum: i64 = (0..7).map(|n| store.add(&[n], 0, None)).sum();
        assert_eq!((sum, store.len()), (20_000, 7));
    }
}
