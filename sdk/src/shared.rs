//! Keys and values as in [`store`](crate::store), apart from those, that other proxies share where their configuration has `[state] redis`:
//! what a plugin of the same name keeps there. Each call is answered from the proxy's own memory at once, and told to the
//! others behind it; nothing waits. Where nothing is shared it is a store as any.
//!
//! ```
//! use tidegate_sdk::shared;
//! let level = shared::take_some("ada", 10.0, 20, 1).unwrap();
//! assert!(level.taken && level.left == 19);
//! ```

use std::time::Duration;

use crate::store::{BucketLevel, millis};
use crate::{Step, sys};

/// As [`store::take_some`](crate::store::take_some). The proxies together let through the bucket's rate; what each took before it heard of
/// the others is paid back: nobody gets a token until it is.
pub fn take_some(
    key: impl AsRef<[u8]>,
    per_second: f64,
    burst: u32,
    tokens: u32,
) -> Option<BucketLevel> {
    sys::shared::take_some(key.as_ref(), per_second, burst, tokens)
}

/// As [`store::add`](crate::store::add): the sum of all proxies as far as it is known here, which is exact once nobody adds.
pub fn add(key: impl AsRef<[u8]>, delta: i64, ttl: Option<Duration>) -> i64 {
    sys::shared::add(key.as_ref(), delta, ttl.map(millis))
}

/// What is known here: what this proxy has set, or looked up.
pub fn get(key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    sys::shared::get(key.as_ref())
}

/// Keeps a value for `ttl`. False: it is too large. When the store is full, what expires the soonest makes room.
pub fn set(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl: Duration) -> bool {
    sys::shared::set(key.as_ref(), value.as_ref(), millis(ttl).max(1))
}

/// As a step: what is known under that key here, or in what other proxies have set. The filter is resumed with the number, and
/// with an [`Answer`](crate::Answer) of status 200 and the value as its body, or of status 404. The request waits for it, at most as long
/// as the configuration says; where nothing is shared, not at all.
pub fn look_up(key: impl Into<Vec<u8>>, state: u64) -> Step {
    Step::LookUp(key.into(), state)
}

/// Forgets a key, here and in Redis. Another proxy that has looked it up keeps it.
pub fn delete(key: impl AsRef<[u8]>) {
    sys::shared::delete(key.as_ref());
}
