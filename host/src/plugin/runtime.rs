//! What all plugins share: engine, linker, cache, ticker.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use prometheus_client::collector::Collector;

use crate::state::State;
use crate::upstream::LiveTable;

use super::artifact::Artifact;

/// Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    _inner: Arc<()>,
}

pub struct RuntimeOptions {
    /// Where compiled code is kept between runs. Must be a folder of ours that nobody else can write to (0700), or one that
    /// can be made so; otherwise it is not used, with a warning in the log. None: compile at each start.
    pub cache: Option<PathBuf>,
    pub live: Arc<LiveTable>,
    pub state: Arc<State>,
}

/// Why a file is no plugin: what, and the remedy, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    pub message: String,
    pub remedy: String,
}

impl Runtime {
    pub fn new(_options: RuntimeOptions) -> Result<Runtime, LoadError> {
        todo!()
    }

    /// Takes a core module or a component. Blocking (it compiles: some 50 to 300 ms when it isn't cached); cached by SHA-256.
    pub fn load(&self, _bytes: &[u8]) -> Result<Arc<Artifact>, LoadError> {
        todo!()
    }

    /// For a `prometheus_client::registry::Registry` without a prefix: calls, failures, time, instances of every plugin, and
    /// the counters that plugins opened.
    pub fn collector(&self) -> Box<dyn Collector> {
        todo!()
    }

    /// Plugin instances that exist now in this process, those of generations that still drain included.
    pub fn live_instances(&self) -> usize {
        todo!()
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.remedy)
    }
}

impl std::error::Error for LoadError {}
