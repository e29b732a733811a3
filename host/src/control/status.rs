//! What a running proxy says of itself: `/api/v1/status`, `/pools` and `/plugins` show these as JSON.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Serialize;

use crate::base::ids::PoolIndex;
use crate::config::Config;
use crate::config::checked::{self, Mode, PluginSource, PluginUse};
use crate::hook::ServerState;
use crate::observe::{Counted, OfListener, OfServer};
use crate::pipeline::WorkerHandle;
use crate::plugin::{Cause, PluginShared, Role};
use crate::upstream::outcome::Outcome;
use crate::upstream::uptime;
use crate::upstream::vitals::{Checked, LastProbe, WHOLE, Wanted};
use crate::upstream::{Server, Vitals};

use super::draft::{FULL_WEIGHT, hex};
use super::generation::{Running, RunningPlugin};
use super::shared::{Shared, rfc3339};
use super::sources::{self, NameStatus, ServersFileStatus};

#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub version: &'static str,
    pub generation: u64,
    /// RFC 3339, UTC.
    pub started: String,
    pub uptime_seconds: u64,
    pub workers: usize,
    pub draining: bool,
    /// Open client connections.
    pub connections: usize,
    pub config: String,
    pub last_change: Option<LastChange>,
    pub listeners: Vec<ListenerStatus>,
    pub routes: Vec<RouteStatus>,
    pub pools: Vec<PoolStatus>,
    pub plugins: Vec<PluginStatus>,
    /// Null: state is not shared.
    pub shared_state: Option<SharedStateStatus>,
    /// What HAProxy's `show info` tells besides.
    #[serde(skip)]
    pub process: ProcessStatus,
}

#[derive(Clone, Debug, Serialize)]
pub struct SharedStateStatus {
    /// Host and port.
    pub redis: String,
    /// Whether it answers.
    pub answers: bool,
}

#[derive(Clone, Debug, Default)]
pub struct ProcessStatus {
    pub traffic: OfListener,
    /// Connections of all listeners at most.
    pub most_connections: usize,
    /// On all workers, and those of them that were just woken from outside.
    pub tasks: usize,
    pub woken: usize,
    pub idle_percent: u32,
    /// Seconds since 1970.
    pub started: i64,
}

/// The newest change, whatever became of it.
#[derive(Clone, Debug, Serialize)]
pub struct LastChange {
    /// RFC 3339, UTC.
    pub at: String,
    /// As the history says it, or `state POOL/SERVER STATE`, of which no generation comes.
    pub what: String,
    /// Who asked for it.
    pub by: String,
    /// `applied` or `rejected`.
    pub result: &'static str,
    pub took_ms: f64,
    /// Empty unless rejected.
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ListenerStatus {
    pub name: String,
    /// `http`, `https`, `tcp`, or `tls` where TLS ends in front of tcp.
    pub protocol: &'static str,
    /// Where it really listens: a port 0 in the config is resolved here.
    pub addresses: Vec<String>,
    pub router: Option<String>,
    pub filters: Vec<String>,
    pub pool: Option<String>,
    #[serde(skip)]
    pub traffic: OfListener,
    /// The most connections at a time.
    #[serde(skip)]
    pub most: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct RouteStatus {
    pub name: String,
    pub pools: Vec<String>,
    pub filters: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PoolStatus {
    pub name: String,
    pub balancer: String,
    /// Requests that wait for a place at any of its servers.
    pub queued: usize,
    /// Requests that may wait in one line. Null: any number.
    pub max_queue: Option<usize>,
    pub servers: Vec<ServerStatus>,
    /// The names among its servers, as written.
    pub names: Vec<NameStatus>,
    /// Null: it has none.
    pub servers_file: Option<ServersFileStatus>,
    #[serde(skip)]
    pub tally: Tally,
    /// The cookie that brings users back, and whether its value is the server's name.
    #[serde(skip)]
    pub cookie: Option<(String, bool)>,
}

/// What HAProxy's table has of a server and of a pool alike.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub traffic: OfServer,
    pub uptime: uptime::Told,
    pub most: Most,
}

/// The most that waited, and were in flight, at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Most {
    pub queued: u32,
    pub in_flight: u32,
}

#[derive(Clone, Debug, Serialize)]
pub struct ServerStatus {
    pub name: String,
    pub address: String,
    pub weight: u32,
    /// Before it was changed at run time.
    pub initial_weight: u32,
    /// What balancers go by: `ready`, `drain`, `down`, or `maint` where the operator, or the judge of its probes, took it out.
    pub state: &'static str,
    /// `up`, `down`, `ejected`, `on trial` after that, or `unchecked` before the first probe and without any.
    pub health: &'static str,
    /// Of the last probe: what was seen. Null before the first.
    pub last_probe: Option<String>,
    /// Milliseconds that it took.
    pub last_probe_ms: Option<f64>,
    /// Less than `weight` while it starts slowly.
    pub effective_weight: f64,
    pub backup: bool,
    /// Times that probes found it down, and probes that failed.
    pub went_down: u64,
    pub probes_failed: u64,
    pub in_flight: u32,
    /// How many may be; null: any number.
    pub max_connections: Option<u32>,
    /// Requests that wait for a place at this very server.
    pub queued: usize,
    /// Peak-sensitive average of the time to the first byte, microseconds, as balancers see it.
    pub ewma_us: u32,
    /// Its last changes of state, the newest first.
    pub history: Vec<ChangeStatus>,
    #[serde(skip)]
    pub tally: Tally,
    /// None: it has none, or none has come yet.
    #[serde(skip)]
    pub probe: Option<ProbeStatus>,
    /// Attempts there that were to be followed by one elsewhere.
    #[serde(skip)]
    pub retried: u64,
    /// Per cent of its weight while it starts slowly.
    #[serde(skip)]
    pub slow_start: Option<u32>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ChangeStatus {
    /// RFC 3339, UTC.
    pub at: String,
    /// `ready`, `drain` or `down`.
    pub state: &'static str,
    /// What the last probe saw, or what else it came from.
    pub why: String,
}

/// A server's probes, as HAProxy tells of them.
#[derive(Clone, Debug)]
pub struct ProbeStatus {
    pub outcome: Outcome,
    pub rise: u32,
    pub fall: u32,
    /// In a row that passed, and that did not.
    pub row: (u32, u32),
}

#[derive(Clone, Debug, Serialize)]
pub struct PluginStatus {
    pub name: String,
    /// `shipped NAME`, a path, or `uploaded`.
    pub source: String,
    pub sha256: String,
    pub size: usize,
    pub roles: Vec<String>,
    /// `warm`, or `quarantined` on at least one worker.
    pub state: &'static str,
    /// The generation that brought its instances.
    pub since_generation: u64,
    /// Living instances, those of old generations that requests still hold included.
    pub instances: usize,
    pub calls: u64,
    pub failures: u64,
    /// Mean time of a call, nanoseconds, from a sample; 0 before the first.
    pub mean_call_ns: u64,
}

pub(super) fn of(shared: &Shared) -> Status {
    let running = shared.running();
    let config = running.as_ref().map(|running| &running.config);
    let counted = shared.traffic.read();
    Status {
        version: env!("CARGO_PKG_VERSION"),
        generation: running.as_ref().map_or(0, |running| running.generation.0),
        started: rfc3339(shared.started),
        uptime_seconds: shared.uptime().as_secs(),
        workers: shared.workers.len(),
        draining: shared.is_draining(),
        connections: shared.workers.iter().map(WorkerHandle::connections).sum(),
        config: config
            .map(|c| c.source.path.display().to_string())
            .unwrap_or_default(),
        last_change: shared.last_change(),
        listeners: config
            .map(|c| listeners(c, shared, &counted))
            .unwrap_or_default(),
        routes: config.map(|c| routes(c)).unwrap_or_default(),
        pools: running
            .as_ref()
            .map(|r| pools(shared, r, &counted))
            .unwrap_or_default(),
        plugins: running.as_ref().map(|r| plugins(r)).unwrap_or_default(),
        shared_state: config.and_then(|config| {
            let redis = &config.state.as_ref()?.redis;
            Some(SharedStateStatus {
                redis: format!("{}:{}", redis.host, redis.port),
                answers: shared.state.shares(),
            })
        }),
        process: ProcessStatus {
            traffic: counted.all,
            most_connections: shared.gates.most(),
            tasks: shared.workers.iter().map(|worker| worker.tasks().0).sum(),
            woken: shared.workers.iter().map(|worker| worker.tasks().1).sum(),
            idle_percent: shared.idle.percent(),
            started: shared.started.unix_timestamp(),
        },
    }
}

/// Whether traffic would be served: listeners bound, workers answering, no drain begun, and a usable server in `pool`.
pub(super) fn health(shared: &Shared, pool: Option<&str>) -> Result<(), String> {
    if shared.is_draining() {
        return Err("draining".into());
    }
    let Some(running) = shared.running() else {
        return Err("starting".into());
    };
    let silent = shared.silent_workers();
    if !silent.is_empty() {
        return Err(format!("workers that don't answer: {silent:?}"));
    }
    let Some(pool) = pool else { return Ok(()) };
    let mut pools = running.config.pools.iter().zip(&running.servers);
    let Some((found, live)) = pools.find(|(known, _)| known.name == pool) else {
        return Err(format!("there is no pool \"{pool}\""));
    };
    let mut servers = found.servers.iter().zip(live);
    match servers.any(|(server, live)| server.weight > 0 && live.vitals.takes_somebody()) {
        true => Ok(()),
        false => Err(format!("pool \"{pool}\" has no usable server")),
    }
}

fn listeners(config: &Config, shared: &Shared, counted: &Counted) -> Vec<ListenerStatus> {
    let (addresses, told) = (shared.addresses(), shared.gates.told());
    let most = |name: &str| told.iter().find(|told| *told.listener == *name);
    let one = |listener: &checked::Listener| ListenerStatus {
        name: listener.name.clone(),
        protocol: match (listener.mode, &listener.tls) {
            (Mode::Http, None) => "http",
            (Mode::Http, Some(_)) => "https",
            (Mode::Tcp, None) => "tcp",
            (Mode::Tcp, Some(_)) => "tls",
        },
        addresses: addresses
            .iter()
            .filter(|(name, _)| *name == listener.name)
            .map(|(_, address)| address.to_string())
            .collect(),
        router: listener
            .router
            .as_ref()
            .map(|router| plugin_name(config, router)),
        filters: listener
            .filters
            .iter()
            .map(|filter| plugin_name(config, filter))
            .collect(),
        pool: listener.pool.map(|pool| pool_name(config, pool)),
        traffic: counted.listener(&listener.name),
        most: most(&listener.name).map_or(0, |told| told.most),
    };
    config.listeners.iter().map(one).collect()
}

fn routes(config: &Config) -> Vec<RouteStatus> {
    let one = |route: &checked::Route| RouteStatus {
        name: route.name.clone(),
        pools: route
            .pools
            .iter()
            .map(|(pool, _)| pool_name(config, *pool))
            .collect(),
        filters: route
            .filters
            .iter()
            .map(|filter| plugin_name(config, filter))
            .collect(),
    };
    config.routes.iter().map(one).collect()
}

fn pools(shared: &Shared, running: &Running, counted: &Counted) -> Vec<PoolStatus> {
    let config = &running.config;
    let pools = config.pools.iter().zip(&running.servers);
    let one = |(pool, live): (&checked::Pool, &Vec<Arc<Server>>)| PoolStatus {
        name: pool.name.clone(),
        balancer: plugin_name(config, &pool.balancer),
        queued: live.first().map_or(0, |first| first.crew().queue.length()),
        servers: pool
            .servers
            .iter()
            .zip(live)
            .map(|of| server(pool, of, running, counted))
            .collect(),
        names: sources::names(shared, pool),
        servers_file: sources::servers_file(shared, pool),
        max_queue: Some(pool.max_queue).filter(|most| *most > 0),
        tally: Tally {
            traffic: counted.pool(&pool.name),
            uptime: live
                .first()
                .map(|first| first.crew().uptime.told())
                .unwrap_or_default(),
            most: most(live),
        },
        cookie: cookie(config, pool),
    };
    pools.map(one).collect()
}

fn server(
    pool: &checked::Pool,
    (written, live): (&checked::Server, &Arc<Server>),
    running: &Running,
    counted: &Counted,
) -> ServerStatus {
    let (last, vitals) = (live.vitals.last_probe(), &live.vitals);
    let initial_weight = running.edits.initial_weight(&pool.name, &written.name);
    ServerStatus {
        name: written.name.clone(),
        address: written.address.clone(),
        weight: written.weight,
        initial_weight: initial_weight.unwrap_or(written.weight),
        state: match live.vitals.state() {
            ServerState::Ready => "ready",
            ServerState::Drain => "drain",
            ServerState::Down if live.vitals.wants() == Wanted::Maint => "maint",
            ServerState::Down => "down",
        },
        health: standing(&live.vitals),
        probe: last.as_ref().and_then(|last| probe(pool, vitals, last)),
        last_probe_ms: last.as_ref().map(|last| last.took.as_secs_f64() * 1e3),
        last_probe: last.map(|last| last.words),
        effective_weight: f64::from(live.weight()) / f64::from(FULL_WEIGHT),
        backup: written.backup,
        went_down: live.vitals.counts.went_down.load(Relaxed),
        probes_failed: live.vitals.counts.probes_failed.load(Relaxed),
        in_flight: live.inflight(),
        max_connections: Some(live.limit()).filter(|limit| *limit > 0),
        queued: live.crew().queue.length_at(live.slot()),
        ewma_us: live.ewma_us(),
        history: vitals.uptime.last().into_iter().map(change).collect(),
        tally: Tally {
            traffic: counted.server(&pool.name, &written.name),
            uptime: vitals.uptime.told(),
            most: Most {
                queued: live.most_queued(),
                in_flight: live.most_inflight(),
            },
        },
        retried: vitals.counts.retried.load(Relaxed),
        slow_start: Some(vitals.share() * 100 / WHOLE).filter(|share| *share < 100),
    }
}

fn change(change: uptime::Change) -> ChangeStatus {
    ChangeStatus {
        at: rfc3339(change.at.into()),
        state: match change.state {
            ServerState::Ready => "ready",
            ServerState::Drain => "drain",
            ServerState::Down => "down",
        },
        why: change.why,
    }
}

fn probe(pool: &checked::Pool, vitals: &Vitals, last: &LastProbe) -> Option<ProbeStatus> {
    let settings = pool.health.as_ref()?;
    Some(ProbeStatus {
        outcome: last.outcome,
        rise: settings.rise,
        fall: settings.fall,
        row: vitals.row(),
    })
}

fn most(servers: &[Arc<Server>]) -> Most {
    let Some(first) = servers.first() else {
        return Most::default();
    };
    let crew = first.crew();
    let one = servers.iter().map(|server| server.most_inflight()).max();
    Most {
        queued: crew.queue.most(),
        in_flight: crew.most_inflight.load(Relaxed).max(one.unwrap_or(0)),
    }
}

/// Of `sticky-cookie`. Sealed, or with dates, its value is not the server's name.
fn cookie(config: &Config, pool: &checked::Pool) -> Option<(String, bool)> {
    let plugin = &config.plugins[pool.sticky.as_ref()?.value.0 as usize];
    if plugin.source != PluginSource::Shipped("sticky-cookie".to_owned()) {
        return None;
    }
    let settings = &plugin.config;
    let named = settings["cookie"].as_str().unwrap_or("SERVERID");
    let changed = ["secret", "max-idle", "max-life"];
    let bare = changed.iter().all(|key| settings[*key].is_null());
    Some((named.to_owned(), bare))
}

fn standing(vitals: &Vitals) -> &'static str {
    match (vitals.checked(), vitals.is_ejected()) {
        (Checked::Down, _) => "down",
        (_, true) => "ejected",
        _ if vitals.trial.is_on() => "on trial",
        (Checked::Up, _) => "up",
        (Checked::Not, _) => "unchecked",
    }
}

fn plugins(running: &Running) -> Vec<PluginStatus> {
    let one = |plugin: &RunningPlugin| {
        let shared = &plugin.shared;
        PluginStatus {
            name: plugin.name.clone(),
            source: plugin.source.clone(),
            sha256: hex(&plugin.artifact.sha256()),
            size: plugin.artifact.size(),
            roles: plugin
                .artifact
                .roles()
                .to_string()
                .split(", ")
                .map(str::to_owned)
                .collect(),
            state: if shared.quarantined() > 0 {
                "quarantined"
            } else {
                "warm"
            },
            since_generation: plugin.since.0,
            instances: shared.instances(),
            calls: Role::ALL.iter().map(|role| shared.calls(*role)).sum(),
            failures: Cause::ALL.iter().map(|cause| shared.failures(*cause)).sum(),
            mean_call_ns: mean_call_ns(shared),
        }
    };
    running.plugins.iter().map(one).collect()
}

fn mean_call_ns(shared: &PluginShared) -> u64 {
    let times = Role::ALL.iter().map(|role| shared.time(*role));
    let (time, calls) = times.fold((Duration::ZERO, 0), |sum, one| {
        (sum.0 + one.0, sum.1 + one.1)
    });
    (time.as_nanos() as u64).checked_div(calls).unwrap_or(0)
}

fn plugin_name(config: &Config, used: &PluginUse) -> String {
    config.plugins[used.value.0 as usize].name.clone()
}

fn pool_name(config: &Config, pool: PoolIndex) -> String {
    config.pools[pool.0 as usize].name.clone()
}
