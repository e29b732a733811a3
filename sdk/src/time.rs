//! Clocks and random bits. `std::time::Instant` doesn't work in wasm32-unknown-unknown.

use std::time::Duration;

use crate::sys;

/// Time since 1970, UTC, in milliseconds' steps.
pub fn now() -> Duration {
    Duration::from_millis(sys::now_ms())
}

/// A clock that never goes back, in microseconds' steps; where it starts means nothing.
pub fn monotonic() -> Duration {
    Duration::from_micros(sys::monotonic_us())
}

/// 64 random bits: fast, and not for keys. In a test they are the same at each run.
pub fn random() -> u64 {
    sys::random()
}
