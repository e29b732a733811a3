//! The plugin runtime: the only user of wasmtime. It loads plugins, prepares their instances off the request path, and
//! gives each worker objects that implement the hook traits.
//!
//! ```text
//!   bytes ──Runtime::load──▶ Artifact ──prepare──▶ Seed, one a worker ──adopt──▶ WorkerPlugin: Router, Balancer, …
//!           component, live    compiled,  instantiate, configure,        on the     calls, checks answers, makes the
//!           counters, compile  linked     restore, update                worker     instance again after a failure
//! ```
//!
//! Every call is synchronous but a prober's, which runs on the thread that probes (`prober`), short and bounded in CPU time and memory. A guest can neither stop nor crash the host: what
//! it does wrong is a fault, its instance is dropped, and the caller is told that there is no decision.

mod adapt;
mod artifact;
mod bindings;
mod checks;
mod crypto;
mod engine;
mod guest;
mod imports;
mod interest;
mod limits;
mod live;
mod memo;
mod metrics;
mod prepare;
mod prober;
mod runtime;
mod shared;
mod slot;
mod ticker;
mod wasi;

pub use artifact::{Artifact, Kind, Roles};
pub use prepare::{Membership, Plan, PrepareError, Prepared, Seed, Settings, prepare};
pub use runtime::{LoadError, Runtime, RuntimeOptions};
pub use shared::{Cause, PluginShared, Role};
pub use slot::WorkerPlugin;
