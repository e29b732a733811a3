//! Makes a plugin ready for traffic, off the request path: instances are made, configured, given the state of those before
//! them and the servers that they pick from, one for each worker. What is wrong with a plugin surfaces here, while what ran
//! before runs on.

use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::base::ids::PoolIndex;
use crate::hook::{self, ServerState, ServerView};
use crate::state::{CommonStore, PluginState, Table};

use super::artifact::Artifact;
use super::bindings as said;
use super::guest::{Running, SNAPSHOT, Surroundings};
use super::interest;
use super::limits::{Fault, thread_cpu_time};
use super::memo::Memos;
use super::runtime::Runtime;
use super::shared::{Cause, PluginShared};
use super::slot::WorkerPlugin;

/// CPU time of `configure`, `restore` and `update`, each.
pub(super) const SLOW_LIMIT: Duration = Duration::from_secs(1);

/// CPU time of each of these when an instance is made again on its worker, between two requests.
pub(super) const QUICK_LIMIT: Duration = Duration::from_millis(5);

/// CPU time of `snapshot`, which a worker gives between two requests.
pub(super) const SNAPSHOT_LIMIT: Duration = Duration::from_millis(100);

/// An instance that takes more CPU time than this to make is made again on a thread of its own. Most take 0.1 ms.
const QUICK: Duration = Duration::from_millis(2);

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

/// One configured instance a worker, and the figures that they share.
pub struct Prepared {
    pub seeds: Vec<Seed>,
    pub shared: Arc<PluginShared>,
}

/// An instance on its way to its worker.
pub struct Seed {
    pub(super) recipe: Arc<Recipe>,
    pub(super) worker: usize,
    pub(super) ready: Ready,
}

/// An instance that can be asked, and what it asked to be told.
pub(super) struct Ready {
    pub(super) guest: Running,
    pub(super) interest: hook::Interest,
    /// What it has answered, if it is pure.
    pub(super) memos: Memos,
    /// Which of the recipe's updates it knows.
    pub(super) version: u64,
}

/// All that it takes to make the plugin's instance again.
pub(super) struct Recipe {
    runtime: Runtime,
    artifact: Arc<Artifact>,
    context: said::Context,
    pub(super) cpu_limit: Duration,
    memory: u64,
    pub(super) fetch_grants: Vec<PoolIndex>,
    updates: Mutex<Updates>,
    state: Arc<PluginState>,
    pub(super) shared: Arc<PluginShared>,
    /// It takes too long to be made on a worker.
    pub(super) slow: AtomicBool,
}

/// A pool's servers.
type Members = (u32, Arc<Vec<said::Server>>);

/// What balancers were told last, by pool; each change makes another version.
#[derive(Default)]
struct Updates {
    version: u64,
    pools: Vec<Members>,
}

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

/// Instantiates, configures, restores and updates one instance a worker. Blocking; not for a worker's thread. No role of it
/// is called: a call could count, log or take a ticket. What a first call would wait for, its code and memory, is touched by
/// then.
pub fn prepare(runtime: &Runtime, plan: Plan<'_>) -> Result<Prepared, PrepareError> {
    if let Some(large) = plan.snapshots.iter().find(|s| s.len() > SNAPSHOT) {
        let size = large.len();
        return Err(PrepareError::Snapshot(format!(
            "it has {size} bytes; 16 MiB may be"
        )));
    }
    let recipe = Arc::new(Recipe::new(runtime, &plan));
    let (workers, snapshots) = (plan.workers.max(1), &plan.snapshots);
    let start = thread_cpu_time();
    let first = recipe.make(snapshots, SLOW_LIMIT)?;
    if thread_cpu_time() - start > QUICK {
        recipe.slow.store(true, Relaxed);
    }
    let mut ready = vec![first];
    ready.extend(recipe.make_more(workers - 1, snapshots)?);
    let seeds = ready.into_iter().enumerate().map(|(worker, ready)| Seed {
        recipe: recipe.clone(),
        worker,
        ready,
    });
    Ok(Prepared {
        seeds: seeds.collect(),
        shared: recipe.shared.clone(),
    })
}

impl Seed {
    /// On the worker that will use it.
    pub fn adopt(self) -> Rc<WorkerPlugin> {
        Rc::new(WorkerPlugin::new(self))
    }
}

impl Recipe {
    fn new(runtime: &Runtime, plan: &Plan<'_>) -> Recipe {
        let settings = &plan.settings;
        let name: Arc<str> = settings.name.as_str().into();
        let (sha256, workers) = (plan.artifact.sha256(), plan.workers.max(1));
        let updates = plan
            .updates
            .iter()
            .map(|m| (m.pool.0, Arc::new(m.servers.iter().map(server).collect())));
        Recipe {
            artifact: plan.artifact.clone(),
            context: said::Context {
                name: settings.name.clone(),
                config: settings.config.clone(),
                pools: settings.pools.clone(),
                routes: settings.routes.clone(),
            },
            cpu_limit: settings.cpu_limit,
            memory: settings.memory,
            fetch_grants: settings.fetch_grants.clone(),
            updates: Mutex::new(Updates {
                version: 0,
                pools: updates.collect(),
            }),
            state: runtime.state().of(&name),
            shared: PluginShared::new(&name, sha256, workers, runtime.ledger()),
            slow: AtomicBool::new(false),
            runtime: runtime.clone(),
        }
    }

    /// An instance that is ready for calls.
    pub(super) fn make(
        &self,
        snapshots: &[Vec<u8>],
        limit: Duration,
    ) -> Result<Ready, PrepareError> {
        let around = Surroundings {
            ticker: self.runtime.ticker(),
            live: self.runtime.live(),
            state: &self.state,
            name: self.shared.name_shared(),
            memory: self.memory,
            gauges: [self.runtime.instances(), self.shared.gauge()],
        };
        let during = |name| move |fault: Fault| PrepareError::failed(name, fault);
        let mut guest =
            Running::new(&self.artifact, &around, limit).map_err(during("instantiate"))?;
        let interest = guest
            .configure(&self.context, limit)
            .map_err(during("configure"))?
            .map_err(PrepareError::Settings)?;
        let interest = interest::checked(interest).map_err(PrepareError::Interest)?;
        if !snapshots.is_empty() {
            guest
                .restore(snapshots, limit)
                .map_err(during("restore"))?
                .map_err(PrepareError::Snapshot)?;
        }
        let (version, updates) = self.updates();
        for (pool, servers) in &updates {
            guest
                .update(*pool, servers, limit)
                .map_err(during("update"))?;
        }
        Ok(Ready {
            guest,
            memos: Memos::of(&interest),
            interest,
            version,
        })
    }

    /// What instances are told from now on. Workers are told of the same change one by one: the version is theirs to compare.
    pub(super) fn remember(
        &self,
        pool: PoolIndex,
        servers: &[ServerView],
    ) -> Arc<Vec<said::Server>> {
        let servers = Arc::new(servers.iter().map(server).collect::<Vec<_>>());
        let mut updates = self.lock();
        updates.version += 1;
        match updates.pools.iter_mut().find(|(known, _)| *known == pool.0) {
            Some((_, known)) => *known = servers.clone(),
            None => updates.pools.push((pool.0, servers.clone())),
        }
        servers
    }

    /// What there is to be told, and its version.
    pub(super) fn updates(&self) -> (u64, Vec<Members>) {
        let updates = self.lock();
        (updates.version, updates.pools.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Updates> {
        self.updates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn common(&self) -> &Arc<CommonStore> {
        &self.state.common
    }

    pub(super) fn table(&self) -> &Arc<Table> {
        &self.state.table
    }

    pub(super) fn pool_name(&self, pool: PoolIndex) -> &str {
        let name = self.context.pools.get(pool.0 as usize);
        name.map_or("", String::as_str)
    }

    /// So many more, on several threads when one takes long.
    fn make_more(&self, count: usize, snapshots: &[Vec<u8>]) -> Result<Vec<Ready>, PrepareError> {
        let threads = match self.slow.load(Relaxed) {
            true => thread::available_parallelism().map_or(1, usize::from),
            false => 1,
        };
        if threads.min(count) <= 1 {
            return (0..count)
                .map(|_| self.make(snapshots, SLOW_LIMIT))
                .collect();
        }
        let share = |n: usize| (count + n) / threads;
        let make = |n| move || (0..n).map(|_| self.make(snapshots, SLOW_LIMIT)).collect();
        thread::scope(|scope| {
            let makers: Vec<_> = (0..threads).map(|n| scope.spawn(make(share(n)))).collect();
            let mut all = Vec::with_capacity(count);
            for maker in makers {
                let made: Result<Vec<Ready>, PrepareError> =
                    maker.join().expect("making an instance does not panic");
                all.extend(made?);
            }
            Ok(all)
        })
    }

    /// How many pools and routes a plugin may speak of.
    pub(super) fn known(&self) -> super::checks::Known {
        super::checks::Known {
            pools: self.context.pools.len(),
            routes: self.context.routes.len(),
        }
    }
}

fn server(server: &ServerView) -> said::Server {
    said::Server {
        slot: server.slot.0,
        name: server.name.clone(),
        address: server.address.clone(),
        weight: server.weight,
        state: match server.state {
            ServerState::Ready => said::ServerState::Ready,
            ServerState::Drain => said::ServerState::Drain,
            ServerState::Down => said::ServerState::Down,
        },
        backup: server.backup,
        labels: server.labels.clone(),
    }
}

impl PrepareError {
    fn failed(during: &'static str, fault: Fault) -> PrepareError {
        PrepareError::Failed {
            during,
            cause: fault.cause,
            detail: fault.detail,
        }
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
