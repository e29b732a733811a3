//! Makes a plugin ready for traffic, off the request path.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::PoolIndex;
use crate::hook::ServerView;

use super::artifact::Artifact;
use super::runtime::Runtime;
use super::shared::{Cause, PluginShared};
use super::slot::WorkerPlugin;

/// What the configuration says of a plugin.
#[derive(Clone, Debug)]
pub struct Settings {
    pub name: String,
    /// A JSON object.
    pub config: String,
    /// All pools by name; a `PoolIndex` is an index into this.
    pub pools: Vec<String>,
    /// All routes by name; a `RouteIndex` is an index into this.
    pub routes: Vec<String>,
    /// CPU time of one call.
    pub cpu_limit: Duration,
    /// Bytes of linear memory.
    pub memory: u64,
    /// Pools that it may call.
    pub fetch_grants: Vec<PoolIndex>,
}

/// A pool's servers, for a balancer: always the whole list, in config order.
#[derive(Clone, Debug)]
pub struct Membership {
    pub pool: PoolIndex,
    pub servers: Vec<ServerView>,
}

pub struct Plan<'a> {
    pub artifact: &'a Arc<Artifact>,
    pub settings: Settings,
    /// The pools that it balances; empty for other roles.
    pub updates: Vec<Membership>,
    /// Of the instances that it takes over from, one a worker; empty at the first start.
    pub snapshots: Vec<Vec<u8>>,
    pub workers: usize,
}

/// One configured instance a worker, warm, and the figures that they share.
pub struct Prepared {
    pub seeds: Vec<Seed>,
    pub shared: Arc<PluginShared>,
}

/// An instance on its way to its worker.
pub struct Seed {}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrepareError {
    /// The plugin refuses its settings; its own words.
    Settings(String),
    /// The plugin refuses the state of the version before it; its own words.
    Snapshot(String),
    /// What it asks to be told is not possible: a header name that is none, too many.
    Interest(String),
    /// It trapped or ran past a limit. `during` is the WIT's name of the function.
    Failed {
        during: &'static str,
        cause: Cause,
        detail: String,
    },
}

/// Instantiates, configures, restores, updates and warms up one instance a worker. Blocking; not for a worker's thread.
pub fn prepare(_runtime: &Runtime, _plan: Plan<'_>) -> Result<Prepared, PrepareError> {
    todo!()
}

impl Seed {
    /// On the worker that will use it.
    pub fn adopt(self) -> Rc<WorkerPlugin> {
        todo!()
    }
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrepareError::Settings(words) => write!(f, "it refuses its settings: {words}"),
            PrepareError::Snapshot(words) => {
                write!(f, "it refuses the state of the running version: {words}")
            }
            PrepareError::Interest(words) => write!(f, "it asks for what it cannot have: {words}"),
            PrepareError::Failed {
                during,
                cause,
                detail,
            } => write!(f, "`{during}` failed ({cause}): {detail}"),
        }
    }
}

impl std::error::Error for PrepareError {}
