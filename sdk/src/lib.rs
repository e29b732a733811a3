//! Write [Tidegate](https://github.com/tidegate) plugins in Rust.
//!
//! A plugin is a type that implements [`Plugin`] and one trait for each role that it plays, and [`export!`]s itself:
//!
//! ```
//! use tidegate_sdk::prelude::*;
//!
//! struct ByTenant {
//!     tenants: std::collections::HashMap<String, PoolIndex>,
//! }
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     tenants: std::collections::HashMap<String, String>,
//! }
//!
//! impl Plugin for ByTenant {
//!     type Settings = Settings;
//!     fn new(settings: Settings, context: &Context) -> Result<Self, String> {
//!         let resolve = |(tenant, pool): (String, String)| Ok((tenant, context.pool(&pool)?));
//!         let tenants = settings.tenants.into_iter().map(resolve).collect::<Result<_, String>>()?;
//!         Ok(ByTenant { tenants })
//!     }
//!     fn interest(&self) -> Interest {
//!         Interest::none().header("x-tenant")
//!     }
//! }
//!
//! impl Router for ByTenant {
//!     fn route(&self, r: &Request) -> Route {
//!         match r.header("x-tenant").and_then(|tenant| self.tenants.get(tenant)) {
//!             Some(pool) => Route::pool(*pool),
//!             None => Route::reply(404).why("unknown tenant"),
//!         }
//!     }
//! }
//!
//! export!(ByTenant: Router);
//! # // What a plugin's own test looks like.
//! use tidegate_sdk::test::{FakeRequest, Harness, json};
//! let plugin = Harness::<ByTenant>::setup()
//!     .pools(["acme-pool"])
//!     .settings(json!({ "tenants": { "acme": "acme-pool" } }))
//!     .start()
//!     .unwrap();
//! let route = plugin.route(&FakeRequest::get("/").header("x-tenant", "acme"));
//! assert_eq!(route, Route::pool(PoolIndex(0)));
//! ```
//!
//! | trait | asked | WIT |
//! |---|---|---|
//! | [`Router`] | which pool a request goes to | `router` |
//! | [`RequestFilter`], [`FetchFilter`] | what to change in a request, or whether to answer it | `request-filter` |
//! | [`ResponseFilter`] | what to change in a response | `response-filter` |
//! | [`Balancer`] | which server of the pool, from numbers | `balancer` |
//! | [`RequestBalancer`] | which server of the pool, from the request | `request-balancer` |
//! | [`Sticky`] | which server holds the session | `sticky` |
//! | [`Health`] | what a probe's result means | `health` |
//! | [`Prober`] | how a server is, in a protocol of the plugin's | `prober` |
//! | [`Connect`] | whether a connection is accepted | `connect` |
//! | [`Stateful`] | what the next version must know | `stateful` |
//!
//! Three things to know:
//!
//! - **A plugin declares what it wants to see** ([`Plugin::interest`]) and is told nothing else. Reading what was not
//!   declared gives `None`, and panics in the [test harness](mod@test) with a word on what to declare.
//! - **There is an instance a worker**, that is, a copy of the plugin's memory for each core. Methods take `&self`; keep
//!   what changes in a `Cell` or `RefCell`. What must be exact over all workers lives in the host: [`Ticket`], [`store`].
//! - **A call has a limit of CPU time** (2 ms unless the config says otherwise) and of memory. A panic, or a call past its
//!   limit, ends the instance: the message goes to the proxy's log, the role's failure answer is given, and a new instance
//!   takes its place.
//!
//! Nothing here depends on a proxy: `cargo test` runs a plugin natively on the [test harness](mod@test), and
//! `cargo build --release --target wasm32-unknown-unknown` (or `wasm32-wasip2`, or `tidegate plugin build`) makes the `.wasm`.

#![warn(missing_docs)]

#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
#[global_allocator]
static MEMORY: memory::Memory = memory::Memory::new();

// The generated bindings name this crate from outside, by its name.
extern crate self as tidegate_sdk;

#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod export;

mod balancer;
pub mod base64;
mod connect;
mod counter;
pub mod crypto;
mod draw;
mod fetch;
pub mod field;
mod health;
mod ids;
mod input;
mod interest;
pub mod log;
#[cfg(any(test, all(target_arch = "wasm32", feature = "allocator")))]
mod memory;
pub mod network;
mod outcome;
pub mod path;
mod plugin;
mod pool;
mod prober;
mod request;
mod request_balancer;
mod request_filter;
mod response;
mod response_filter;
mod router;
pub mod seal;
pub mod settings;
pub mod shared;
mod stateful;
mod sticky;
pub mod store;
mod sys;
#[cfg(not(target_arch = "wasm32"))]
pub mod test;
mod ticket;
mod time;

pub use serde;
#[doc(hidden)]
pub use wit_bindgen;

pub use balancer::{ABSENT_KEY, Balancer, Pick};
pub use connect::{Admission, Connect};
pub use counter::Counter;
pub use draw::Draw;
pub use fetch::{Answer, Fetch, FetchError, FetchFilter, Step};
pub use health::{Health, Probe, Verdict};
pub use ids::{PoolIndex, RouteIndex, Slot};
#[doc(inline)]
pub use input::Input;
#[doc(inline)]
pub use interest::Interest;
#[doc(inline)]
pub use outcome::{Decision, Edit, Note, Outcome, Reply, next, reply};
pub use plugin::{Context, NoSettings, Plugin};
pub use pool::{PerPool, Pool, Server, ServerState};
pub use prober::{ProbeStream, Prober, Standing, Target};
pub use request::Request;
pub use request_balancer::{RequestBalancer, RequestPick};
pub use request_filter::RequestFilter;
pub use response::Response;
#[doc(inline)]
pub use response_filter::{ResponseFilter, ResponseOutcome};
pub use router::{Route, Router};
pub use stateful::Stateful;
pub use sticky::{Affinity, Binding, Finding, Memory, Sticky};
pub use ticket::Ticket;
pub use time::{monotonic, now, random};

/// Everything that a plugin usually needs: `use tidegate_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Admission, Affinity, Answer, Balancer, Binding, Connect, Context, Counter, Decision, Edit,
        Fetch, FetchError, FetchFilter, Finding, Health, Input, Interest, NoSettings, Note,
        Outcome, PerPool, Pick, Plugin, Pool, PoolIndex, Probe, ProbeStream, Prober, Reply,
        Request, RequestBalancer, RequestFilter, RequestPick, Response, ResponseFilter,
        ResponseOutcome, Route, RouteIndex, Router, Server, ServerState, Slot, Standing, Stateful,
        Step, Sticky, Target, Ticket, Verdict, crypto, export, log, next, reply, shared, store,
    };
}
