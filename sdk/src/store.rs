//! Keys and values in the proxy's memory, shared by the workers, a name space each plugin; what is kept goes on through
//! swaps and reloads. At most 65,536 entries and 16 MiB a plugin, keys up to 1 KiB, values up to 64 KiB; full, it first drops
//! what has expired, then refuses.
//!
//! ```
//! use std::time::Duration;
//! use tidegate_sdk::store;
//! let logins = store::add("logins/ada", 1, Some(Duration::from_secs(60)));
//! assert_eq!(logins, 1);
//! assert!(store::set("ada", "web1", None));
//! assert_eq!(store::get("ada").as_deref(), Some(&b"web1"[..]));
//! ```

use std::time::Duration;

use crate::sys;

/// The value kept under that key.
pub fn get(key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    sys::get(key.as_ref())
}

/// Keeps a value, for `ttl` or until it is deleted. False: the store is full, or it is too large.
pub fn set(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl: Option<Duration>) -> bool {
    sys::set(key.as_ref(), value.as_ref(), ttl.map(millis))
}

/// Adds to a counter, made as 0 when absent, and gives the sum; it saturates. The ttl counts from its making. A value that
/// `add` did not make counts as absent. When the store is full, gives `delta` and keeps nothing.
pub fn add(key: impl AsRef<[u8]>, delta: i64, ttl: Option<Duration>) -> i64 {
    sys::add(key.as_ref(), delta, ttl.map(millis))
}

/// Sets only if the value is `expected` (none: absent); keeps the ttl. Whether it did.
pub fn compare_and_set(
    key: impl AsRef<[u8]>,
    expected: Option<&[u8]>,
    value: impl AsRef<[u8]>,
) -> bool {
    sys::compare_and_set(key.as_ref(), expected, value.as_ref())
}

/// Forgets a key.
pub fn delete(key: impl AsRef<[u8]>) {
    sys::delete(key.as_ref());
}

/// Takes one token from the bucket of that key, which fills with `per_second` up to `burst`. `Err`: how long until one is
/// there. When the store is full, takes.
pub fn take(key: impl AsRef<[u8]>, per_second: f64, burst: u32) -> Result<(), Duration> {
    match sys::take(key.as_ref(), per_second, burst) {
        None => Ok(()),
        Some(millis) => Err(Duration::from_millis(millis.into())),
    }
}

/// As [`take`], so many tokens at once, all or none, with the bucket's level afterwards; 0 looks at it only. When the store is full,
/// the bucket that is nearest to being full makes room. `None`: still no room, or the key is too long.
pub fn take_some(
    key: impl AsRef<[u8]>,
    per_second: f64,
    burst: u32,
    tokens: u32,
) -> Option<BucketLevel> {
    sys::take_some(key.as_ref(), per_second, burst, tokens)
}

/// Of a token bucket, after [`take_some`].
pub use sys::BucketLevel;

pub(crate) fn millis(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX)
}
