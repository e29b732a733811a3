//! A generation: one configuration with its plugins and servers, as every worker runs it; and what is kept from one to the
//! next.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::ids::Generation;
use crate::config::Config;
use crate::config::edits::Edits;
use crate::plugin::{Artifact, PluginShared, Runtime, WorkerPlugin};
use crate::tls;
use crate::upstream::{LiveTable, Server};

use super::draft::FULL_WEIGHT;

/// What outlives a generation.
#[derive(Clone)]
pub struct Kept {
    pub runtime: Runtime,
    pub live: Arc<LiveTable>,
    /// Plugins given at run time, by name.
    pub uploads: HashMap<String, Upload>,
    /// Servers and weights given at run time.
    pub edits: Edits,
    pub running: Option<Arc<Running>>,
    pub workers: usize,
    pub sessions: tls::Sessions,
}

/// A plugin given at run time. It is in force until what it replaced changes.
#[derive(Clone)]
pub struct Upload {
    pub wasm: Arc<[u8]>,
    /// The hash of what the config named when it came; None: that could not be read.
    pub instead_of: Option<[u8; 32]>,
}

/// A generation that every worker runs.
pub struct Running {
    pub generation: Generation,
    /// What the file says.
    pub written: Arc<Config>,
    /// The same with what was changed at run time; the same one where nothing was.
    pub config: Arc<Config>,
    pub edits: Edits,
    /// In the order of `config.plugins`.
    pub plugins: Vec<RunningPlugin>,
    /// In the order of `config.pools` and their servers.
    pub servers: Vec<Vec<Arc<Server>>>,
    pub tls: Secured,
}

/// TLS of a generation; none where it is plain.
#[derive(Clone, Default)]
pub struct Secured {
    /// In the order of `config.listeners`.
    pub listeners: Vec<Option<Arc<tls::Server>>>,
    /// In the order of `config.pools`.
    pub pools: Vec<Option<Arc<tls::Client>>>,
}

#[derive(Clone)]
pub struct RunningPlugin {
    pub name: String,
    pub fingerprint: Fingerprint,
    pub artifact: Arc<Artifact>,
    /// What it was compiled from.
    pub wasm: Arc<[u8]>,
    pub shared: Arc<PluginShared>,
    /// `shipped NAME`, a path, or `uploaded`.
    pub source: String,
    /// The generation that brought its instances.
    pub since: Generation,
}

/// A hash of all that gives a plugin's instances their meaning. Where it is the same, the instances live on.
pub type Fingerprint = [u8; 32];

/// The plugin instances of one worker, kept by its site for the next one.
pub struct Hold(pub Vec<(Fingerprint, Rc<WorkerPlugin>)>);

impl Hold {
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<Rc<WorkerPlugin>> {
        self.0
            .iter()
            .find(|(known, _)| known == fingerprint)
            .map(|(_, plugin)| plugin.clone())
    }
}

impl Running {
    /// Puts the weights of this generation in force.
    pub fn set_weights(&self) {
        for (pool, servers) in self.config.pools.iter().zip(&self.servers) {
            for (written, live) in pool.servers.iter().zip(servers) {
                live.set_weight(written.weight * FULL_WEIGHT);
            }
        }
    }

    /// Puts the limits of this generation in force, and lets in who waits and may come now. After the weights.
    pub fn set_limits(&self) {
        for (pool, servers) in self.config.pools.iter().zip(&self.servers) {
            let Some(first) = servers.first() else {
                continue;
            };
            let both = || pool.servers.iter().zip(servers);
            both().for_each(|(written, live)| live.set_limit(written.max_connections));
            let members = both().map(|(written, live)| (live, written.backup));
            first.crew().queue.set_members(members);
        }
    }

    /// The server of that name in the pool of that name.
    pub fn server(&self, pool: &str, server: &str) -> Option<&Arc<Server>> {
        let mut pools = self.config.pools.iter().zip(&self.servers);
        let (pool, servers) = pools.find(|(known, _)| known.name == pool)?;
        let mut servers = pool.servers.iter().zip(servers);
        let found = servers.find(|(known, _)| known.name == server);
        found.map(|(_, live)| live)
    }

    /// The plugin of that name, whatever its fingerprint.
    pub fn plugin(&self, name: &str) -> Option<&RunningPlugin> {
        self.plugins.iter().find(|plugin| plugin.name == name)
    }
}
