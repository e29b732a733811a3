//! The host functions, natively: they talk to the host of the harness that is calling, or to one of the thread's own.

use std::cell::RefCell;
use std::rc::Rc;

use super::host::{Entry, FakeHost, Value};

pub use super::crypto::{Scheme, fits, hmac_sha256, password_fits, sha256, verify};
pub use crate::bindings::base::tidegate::plugin::host::Level;
pub use crate::bindings::base::tidegate::plugin::local_store::Level as BucketLevel;

thread_local! {
    static CURRENT: RefCell<Rc<FakeHost>> = RefCell::default();
}

/// Runs a call with that host behind the host functions.
pub(crate) fn with_host<R>(host: &Rc<FakeHost>, call: impl FnOnce() -> R) -> R {
    struct Back(Rc<FakeHost>);
    impl Drop for Back {
        fn drop(&mut self) {
            CURRENT.replace(self.0.clone());
        }
    }
    let _back = Back(CURRENT.replace(host.clone()));
    call()
}

fn host() -> Rc<FakeHost> {
    CURRENT.with_borrow(Rc::clone)
}

pub fn log(level: Level, message: &str) {
    host().logs.borrow_mut().push((level, message.to_owned()));
}

pub fn open_counter(metric: &str, labels: &[(String, String)]) -> u32 {
    let series = (metric.to_owned(), labels.to_vec());
    find_or_add(&mut host().counters.borrow_mut(), series)
}

pub fn count(counter: u32, delta: u64) {
    host().counters.borrow_mut()[counter as usize].1 += delta;
}

pub fn open_ticket(name: &str) -> u32 {
    find_or_add(&mut host().tickets.borrow_mut(), name.to_owned())
}

pub fn ticket(ticket: u32) -> u64 {
    let host = host();
    let next = &mut host.tickets.borrow_mut()[ticket as usize].1;
    *next += 1;
    *next - 1
}

pub fn now_ms() -> u64 {
    host().now_us.get() / 1000
}

pub fn monotonic_us() -> u64 {
    host().now_us.get()
}

pub fn random() -> u64 {
    host().random()
}

pub fn inflight(slot: u32) -> u32 {
    host().counters_of(slot).inflight
}

pub fn ewma_us(slot: u32) -> u32 {
    host().counters_of(slot).ewma_us
}

pub fn weight(slot: u32) -> u32 {
    host().counters_of(slot).weight
}

pub fn get(key: &[u8]) -> Option<Vec<u8>> {
    host().entry(key, |entry| match &entry?.value {
        Value::Bytes(bytes) => Some(bytes.clone()),
        Value::Sum(sum) => Some(sum.to_string().into_bytes()),
        Value::Bucket { .. } => None,
    })
}

pub fn set(key: &[u8], value: &[u8], ttl_ms: Option<u32>) -> bool {
    if key.len() > 1024 || value.len() > 65_536 {
        return false;
    }
    keep(key, Value::Bytes(value.to_vec()), ttl_ms);
    true
}

pub fn add(key: &[u8], delta: i64, ttl_ms: Option<u32>) -> i64 {
    let sum = host().entry(key, |entry| match &mut entry?.value {
        Value::Sum(sum) => {
            *sum = sum.saturating_add(delta);
            Some(*sum)
        }
        _ => None,
    });
    sum.unwrap_or_else(|| {
        keep(key, Value::Sum(delta), ttl_ms);
        delta
    })
}

pub fn compare_and_set(key: &[u8], expected: Option<&[u8]>, value: &[u8]) -> bool {
    if get(key).as_deref() != expected {
        return false;
    }
    let fresh = host().entry(key, |entry| match entry {
        Some(entry) => {
            entry.value = Value::Bytes(value.to_vec());
            false
        }
        None => true,
    });
    if fresh {
        keep(key, Value::Bytes(value.to_vec()), None);
    }
    true
}

pub fn delete(key: &[u8]) {
    host().store.borrow_mut().remove(key);
}

pub fn take(key: &[u8], per_second: f64, burst: u32) -> Option<u32> {
    let level = take_some(key, per_second, burst, 1);
    level
        .filter(|level| !level.taken)
        .map(|level| level.wait_ms)
}

pub fn take_some(key: &[u8], per_second: f64, burst: u32, tokens: u32) -> Option<BucketLevel> {
    let now = monotonic_us();
    let (full, asked) = (f64::from(burst), f64::from(tokens));
    let before = host().entry(key, |entry| match entry?.value {
        Value::Bucket { tokens, at_us } => Some(tokens + (now - at_us) as f64 / 1e6 * per_second),
        _ => None,
    });
    let before = before.unwrap_or(full).min(full);
    let taken = before >= asked;
    let left = if taken { before - asked } else { before };
    let bucket = Value::Bucket {
        tokens: left,
        at_us: now,
    };
    keep(key, bucket, None);
    let millis = |missing: f64| (missing.max(0.0) / per_second * 1000.0).ceil() as u32;
    Some(BucketLevel {
        taken,
        left: left as u32,
        wait_ms: if taken { 0 } else { millis(asked - left) },
        full_ms: millis(full - left),
    })
}

/// What proxies share: a store beside the other, and nobody else's.
pub mod shared {
    use super::BucketLevel;

    fn named(key: &[u8]) -> Vec<u8> {
        [b"shared ", key].concat()
    }

    pub fn take_some(key: &[u8], per_second: f64, burst: u32, tokens: u32) -> Option<BucketLevel> {
        super::take_some(&named(key), per_second, burst, tokens)
    }

    pub fn add(key: &[u8], delta: i64, ttl_ms: Option<u32>) -> i64 {
        super::add(&named(key), delta, ttl_ms)
    }

    pub fn get(key: &[u8]) -> Option<Vec<u8>> {
        super::get(&named(key))
    }

    pub fn set(key: &[u8], value: &[u8], ttl_ms: u32) -> bool {
        key.len() <= 1024 && super::set(&named(key), value, Some(ttl_ms))
    }

    pub fn delete(key: &[u8]) {
        super::delete(&named(key));
    }
}

fn keep(key: &[u8], value: Value, ttl_ms: Option<u32>) {
    let host = host();
    let expires_us = ttl_ms.map(|ttl| host.now_us.get() + u64::from(ttl) * 1000);
    let entry = Entry { value, expires_us };
    host.store.borrow_mut().insert(key.to_vec(), entry);
}

fn find_or_add<K: PartialEq>(list: &mut Vec<(K, u64)>, key: K) -> u32 {
    let known = list.iter().position(|(known, _)| *known == key);
    known.unwrap_or_else(|| {
        list.push((key, 0));
        list.len() - 1
    }) as u32
}
