//! What all plugins share: the engine, what the host gives them, the ticker, and the artifacts loaded so far.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::collector::Collector;
use sha2::{Digest, Sha256};
use wasmtime::component::{HasSelf, Linker};

use crate::state::State;
use crate::upstream::LiveTable;

use super::artifact::Artifact;
use super::bindings::{crypto, host, local_store, probe_stream, shared_store};
use super::engine::Engines;
use super::guest::Guest;
use super::metrics::PluginMetrics;
use super::shared::Ledger;
use super::ticker::Ticker;

/// Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    engines: Engines,
    linker: Linker<Guest>,
    live_component: Vec<u8>,
    ticker: Arc<Ticker>,
    live: Arc<LiveTable>,
    state: Arc<State>,
    ledger: Arc<Ledger>,
    instances: Arc<AtomicUsize>,
    loaded: Mutex<HashMap<[u8; 32], Weak<Artifact>>>,
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
    pub fn new(options: RuntimeOptions) -> Result<Runtime, LoadError> {
        let cannot = |e: String| {
            LoadError::new(
                format!("the plugin runtime cannot start: {e}"),
                "it needs x86-64 or arm64 Linux and memory that may be made executable",
            )
        };
        let engines = Engines::new(options.cache.as_deref());
        let engine = engines.make().map_err(|e| cannot(format!("{e:#}")))?;
        let ticker = Ticker::start(&engine).map_err(|e| cannot(e.to_string()))?;
        let mut linker = Linker::new(&engine);
        host::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)
            .and_then(|()| {
                local_store::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)
            })
            .and_then(|()| {
                shared_store::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)
            })
            .and_then(|()| {
                crypto::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)
            })
            .and_then(|()| {
                probe_stream::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)
            })
            .map_err(|e| cannot(format!("{e:#}")))?;
        let live_component = wat::parse_str(include_str!("live.wat"));
        Ok(Runtime {
            inner: Arc::new(Inner {
                engines,
                linker,
                live_component: live_component.map_err(|e| cannot(e.to_string()))?,
                ticker,
                live: options.live,
                state: options.state,
                ledger: Arc::default(),
                instances: Arc::default(),
                loaded: Mutex::default(),
            }),
        })
    }

    /// Takes a core module or a component. Blocking (it compiles: some 50 to 300 ms when it isn't cached); what is loaded
    /// already is found by its SHA-256.
    pub fn load(&self, bytes: &[u8]) -> Result<Arc<Artifact>, LoadError> {
        let sha256: [u8; 32] = Sha256::digest(bytes).into();
        if let Some(known) = self.loaded().get(&sha256).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let inner = &self.inner;
        let artifact = Artifact::load(&inner.engines, &inner.linker, &inner.live_component, bytes)?;
        let artifact = Arc::new(artifact);
        let mut loaded = self.loaded();
        loaded.retain(|_, known| known.strong_count() > 0);
        loaded.insert(sha256, Arc::downgrade(&artifact));
        Ok(artifact)
    }

    /// For a `prometheus_client::registry::Registry` without a prefix: calls, failures, time, instances of every plugin, and
    /// the counters that plugins opened.
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(PluginMetrics {
            ledger: self.inner.ledger.clone(),
            state: self.inner.state.clone(),
        })
    }

    /// Plugin instances that exist now, those of generations that still drain included.
    pub fn live_instances(&self) -> usize {
        self.inner.instances.load(Relaxed)
    }

    pub(super) fn ticker(&self) -> &Arc<Ticker> {
        &self.inner.ticker
    }

    pub(super) fn live(&self) -> &Arc<LiveTable> {
        &self.inner.live
    }

    pub(super) fn state(&self) -> &Arc<State> {
        &self.inner.state
    }

    pub(super) fn ledger(&self) -> &Arc<Ledger> {
        &self.inner.ledger
    }

    pub(super) fn instances(&self) -> &Arc<AtomicUsize> {
        &self.inner.instances
    }

    fn loaded(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Weak<Artifact>>> {
        self.inner
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoadError {
    pub(super) fn new(message: impl Into<String>, remedy: impl Into<String>) -> LoadError {
        LoadError {
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.remedy)
    }
}

impl std::error::Error for LoadError {}
