//! The one seam to the host: generated imports in wasm, the test harness natively.

#[cfg(target_arch = "wasm32")]
mod wasm {
    use crate::bindings::base::tidegate::plugin::{crypto, host, local_store, shared_store};

    pub use crate::bindings::balancer::live_v1::{ewma_us, inflight, weight};
    pub use crypto::{Scheme, fits, hmac_sha256, password_fits, sha256, verify};
    pub use host::{Level, count, log, monotonic_us, now_ms, open_ticket, random, ticket};
    pub use local_store::{
        Level as BucketLevel, add, compare_and_set, delete, get, set, take, take_some,
    };
    /// What proxies share.
    pub mod shared {
        pub use super::shared_store::{add, delete, get, set, take_some};
    }

    pub fn open_counter(metric: &str, labels: &[(String, String)]) -> u32 {
        host::open_counter(metric, labels)
    }
}

#[cfg(target_arch = "wasm32")]
pub use wasm::*;

#[cfg(not(target_arch = "wasm32"))]
pub use crate::test::sys::*;
