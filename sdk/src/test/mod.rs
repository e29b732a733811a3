//! Runs a plugin's logic natively, with a host that is made up: `cargo test`, no Wasm, no proxy.
//!
//! A [`Harness`] configures the plugin as the proxy would, its settings' errors included, and calls its roles with made-up
//! requests ([`FakeRequest`]), responses ([`FakeResponse`]), servers ([`server()`]) probes ([`FakeProbe`]) and
//! peers ([`FakePeer`]). Behind it
//! stands a [`FakeHost`], with a clock that moves only when told, random bits that are the same at each run, and ears for logs
//! and counters. An answer that the proxy would refuse fails the test.
//!
//! ```
//! use tidegate_sdk::prelude::*;
//! use tidegate_sdk::test::{Harness, json, server};
//! # struct Least;
//! # impl Plugin for Least {
//! #     type Settings = NoSettings;
//! #     fn new(_: NoSettings, _: &Context) -> Result<Self, String> { Ok(Least) }
//! # }
//! # impl Balancer for Least {
//! #     fn pick(&self, pool: &Pool, _: &Pick) -> Option<Slot> {
//! #         pool.usable().min_by_key(|s| s.inflight()).map(|s| s.slot)
//! #     }
//! # }
//!
//! let plugin = Harness::<Least>::new(json!({})).unwrap();
//! plugin.set_pool("app", [server("a"), server("b"), server("c").backup()]);
//! plugin.live("app", "a").inflight(7);
//! assert_eq!(plugin.pick("app").as_deref(), Some("b"));
//! assert_eq!(plugin.pick_again("app", &["a", "b"]).as_deref(), Some("c"));
//! ```

mod checks;
mod crypto;
mod harness;
mod host;
mod message;
mod peer;
mod server;
pub(crate) mod sys;

pub use harness::{Harness, Setup};
pub use host::{FakeHost, Live};
pub use message::{FakeProbe, FakeRequest, FakeResponse};
pub use peer::FakePeer;
pub use serde_json::{Value, json};
pub use server::{FakeServer, server};
pub use sys::Level;
