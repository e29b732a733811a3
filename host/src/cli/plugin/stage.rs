//! A plugin set up without a proxy: configured as a case says, with servers whose live counters stand where the case puts them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::{PoolIndex, Slot};
use crate::hook::{ServerState, ServerView};
use crate::plugin::{self, Artifact, Cause, Membership, Plan, PrepareError, Runtime, WorkerPlugin};
use crate::upstream::live::{Identity, InFlight};
use crate::upstream::{LiveTable, Server as Live};

use super::super::terminal::Failure;
use super::cases::{Cases, Server, State};
use super::got::Names;

/// What the config's defaults are.
const CPU_LIMIT: Duration = Duration::from_millis(2);
const MEMORY: u64 = 16 << 20;

/// The plugin under test, loaded once.
pub struct Stage {
    pub runtime: Runtime,
    pub live: Arc<LiveTable>,
    pub artifact: Arc<Artifact>,
}

/// What one instance is configured with.
pub struct Setup<'a> {
    /// State that outlives an instance is kept by this name.
    pub name: String,
    /// A JSON object.
    pub settings: String,
    pub pools: &'a [String],
    pub routes: &'a [String],
    pub grants: &'a [String],
    pub servers: &'a [Server],
}

/// One instance, and what it was told of.
pub struct Actor<'a> {
    pub plugin: Rc<WorkerPlugin>,
    pub names: Names<'a>,
    servers: Vec<Standing>,
}

struct Standing {
    pool: PoolIndex,
    name: String,
    live: Arc<Live>,
    _busy: Vec<InFlight>,
}

/// Why there is no instance.
pub enum Refusal {
    /// The cases file is wrong.
    Given(Failure),
    Plugin(PrepareError),
}

impl<'a> Setup<'a> {
    pub fn of_cases(
        cases: &'a Cases,
        name: String,
        settings: &toml::Table,
        servers: &'a [Server],
    ) -> Setup<'a> {
        Setup {
            name,
            settings: serde_json::to_string(settings).expect("TOML fits into JSON"),
            pools: &cases.pools,
            routes: &cases.routes,
            grants: &cases.grants,
            servers,
        }
    }
}

impl Stage {
    pub fn actor<'a>(&self, setup: &Setup<'a>) -> Result<Actor<'a>, Refusal> {
        let servers = self.servers(setup).map_err(Refusal::Given)?;
        let updates = if self.artifact.roles().any_balancer() {
            memberships(setup, &servers)
        } else {
            Vec::new()
        };
        let settings = plugin::Settings {
            name: setup.name.clone(),
            config: setup.settings.clone(),
            pools: setup.pools.to_vec(),
            routes: setup.routes.to_vec(),
            cpu_limit: CPU_LIMIT,
            memory: MEMORY,
            fetch_grants: grants(setup).map_err(Refusal::Given)?,
        };
        let plan = Plan {
            artifact: &self.artifact,
            settings,
            updates,
            snapshots: Vec::new(),
            workers: 1,
        };
        let prepared = plugin::prepare(&self.runtime, plan).map_err(Refusal::Plugin)?;
        let seed = prepared.seeds.into_iter().next().expect("one a worker");
        Ok(Actor {
            plugin: seed.adopt(),
            names: Names {
                pools: setup.pools,
                routes: setup.routes,
            },
            servers,
        })
    }

    fn servers(&self, setup: &Setup<'_>) -> Result<Vec<Standing>, Failure> {
        let with_index = setup.servers.iter().enumerate();
        with_index
            .map(|(index, server)| self.server(setup, index, server))
            .collect()
    }

    fn server(
        &self,
        setup: &Setup<'_>,
        index: usize,
        server: &Server,
    ) -> Result<Standing, Failure> {
        let pool = match &server.pool {
            Some(name) => pool_index(setup.pools, name)?,
            None => PoolIndex(0),
        };
        let identity = Identity {
            pool: setup.pools[pool.0 as usize].clone(),
            name: server.name.clone(),
            address: address(index, server),
        };
        let live = self
            .live
            .server(identity)
            .ok_or_else(|| Failure::new("too many servers"))?;
        live.set_weight(server.weight.saturating_mul(256));
        if !server.first_byte.is_zero() {
            let micros = u32::try_from(server.first_byte.as_micros()).unwrap_or(u32::MAX);
            live.answered_in(micros, std::time::Instant::now());
        }
        let busy = (0..server.in_flight).map(|_| live.enter()).collect();
        Ok(Standing {
            pool,
            name: server.name.clone(),
            live,
            _busy: busy,
        })
    }
}

impl Actor<'_> {
    pub fn pool(&self, name: Option<&str>) -> Result<PoolIndex, Failure> {
        name.map_or(Ok(PoolIndex(0)), |name| pool_index(self.names.pools, name))
    }

    pub fn slot(&self, pool: PoolIndex, name: &str) -> Result<Slot, Failure> {
        let mut servers = self.servers.iter();
        match servers.find(|server| server.pool == pool && server.name == name) {
            Some(server) => Ok(server.live.slot()),
            None => Err(Failure::new(format!(
                "there is no [[server]] named {name:?} in that pool"
            ))),
        }
    }

    /// The server of that pool, or none that the plugin was told of.
    pub fn server(&self, pool: PoolIndex, slot: Slot) -> Option<(&str, &Arc<Live>)> {
        let mut servers = self.servers.iter();
        let found = servers.find(|server| server.pool == pool && server.live.slot() == slot)?;
        Some((&found.name, &found.live))
    }

    /// Why its calls failed so far, in the words of the metrics.
    pub fn causes(&self) -> String {
        let shared = self.plugin.shared();
        let failed = Cause::ALL
            .into_iter()
            .filter(|cause| shared.failures(*cause) > 0);
        let names: Vec<&str> = failed.map(Cause::name).collect();
        if names.is_empty() {
            "it has not that role".into()
        } else {
            names.join(", ")
        }
    }
}

fn memberships(setup: &Setup<'_>, servers: &[Standing]) -> Vec<Membership> {
    let of_pool = |pool: PoolIndex| {
        let ours = servers.iter().zip(setup.servers).enumerate();
        ours.filter(|(_, (standing, _))| standing.pool == pool)
            .map(|(index, (standing, server))| view(index, standing, server))
            .collect()
    };
    (0..setup.pools.len() as u32)
        .map(|index| Membership {
            pool: PoolIndex(index),
            servers: of_pool(PoolIndex(index)),
        })
        .collect()
}

fn view(index: usize, standing: &Standing, server: &Server) -> ServerView {
    ServerView {
        slot: standing.live.slot(),
        name: server.name.clone(),
        address: address(index, server),
        weight: server.weight,
        state: match server.state {
            State::Ready => ServerState::Ready,
            State::Drain => ServerState::Drain,
            State::Down => ServerState::Down,
        },
        backup: server.backup,
        labels: server.labels.clone().into_iter().collect(),
    }
}

fn address(index: usize, server: &Server) -> String {
    let address = server.address.clone();
    address.unwrap_or_else(|| format!("192.0.2.{}:{}", index % 254 + 1, 8000 + index / 254))
}

fn grants(setup: &Setup<'_>) -> Result<Vec<PoolIndex>, Failure> {
    let grant = |grant: &String| match grant.strip_prefix("fetch:") {
        Some(pool) => pool_index(setup.pools, pool),
        None => Err(Failure::new(format!(
            "unknown grant {grant:?}; write fetch:POOL"
        ))),
    };
    setup.grants.iter().map(grant).collect()
}

fn pool_index(pools: &[String], name: &str) -> Result<PoolIndex, Failure> {
    match pools.iter().position(|known| known == name) {
        Some(index) => Ok(PoolIndex(index as u32)),
        None => Err(Failure::new(format!(
            "there is no pool {name:?}; `pools` has: {}",
            pools.join(", ")
        ))),
    }
}
