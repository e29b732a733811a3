//! The plugin runtime: the only user of wasmtime.

mod artifact;
mod prepare;
mod runtime;
mod shared;
mod slot;

pub use artifact::{Artifact, Kind, Roles};
pub use prepare::{Membership, Plan, PrepareError, Prepared, Seed, Settings, prepare};
pub use runtime::{LoadError, Runtime, RuntimeOptions};
pub use shared::{Cause, PluginShared, Role};
pub use slot::WorkerPlugin;
