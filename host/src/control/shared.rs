//! What the loop publishes and everyone may read: the running generation, the last change, whether the workers answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::config::checked::{Bind, Secret};
use crate::discovery::Names;
use crate::net::listen::UnixSocket;
use crate::observe::Traffic;
use crate::pipeline::{Gates, WorkerHandle};
use crate::state::State;
use crate::upstream::Server;

use super::change::{Applied, Rejected};
use super::generation::Running;
use super::history::HistoryEntry;
use super::listeners::Listeners;
use super::load::Idle;
use super::status::LastChange;

/// How often the workers are asked for a sign of life, and how old one may be.
const HEARTBEAT: Duration = Duration::from_millis(500);
const HEARTBEAT_LATE: Duration = Duration::from_secs(3);

pub struct Shared {
    pub started: OffsetDateTime,
    begun: Instant,
    /// As many as the process was started with; fewer or more needs a restart.
    pub workers: Vec<WorkerHandle>,
    pub gates: Gates,
    pub state: Arc<State>,
    pub traffic: Arc<Traffic>,
    pub idle: Idle,
    /// What names of servers stand for.
    pub names: Arc<Names>,
    /// What is wrong with the servers files of pools.
    servers_files: ArcSwap<BTreeMap<String, Vec<String>>>,
    running: ArcSwapOption<Running>,
    addresses: ArcSwap<Vec<(String, Bind)>>,
    admin: watch::Sender<Option<AdminPort>>,
    admin_socket: watch::Sender<Option<Arc<UnixSocket>>>,
    last_change: Mutex<Option<LastChange>>,
    history: ArcSwap<Vec<HistoryEntry>>,
    draining: AtomicBool,
    /// When each worker last answered, milliseconds after `begun`.
    heartbeats: Vec<AtomicU64>,
    pub changes_applied: AtomicU64,
    pub changes_rejected: AtomicU64,
}

/// The admin port as the running generation has it.
#[derive(Clone)]
pub struct AdminPort {
    pub socket: Arc<TcpListener>,
    pub token: Option<Secret>,
}

impl Shared {
    pub fn new(
        workers: Vec<WorkerHandle>,
        gates: Gates,
        state: Arc<State>,
        traffic: Arc<Traffic>,
    ) -> Arc<Shared> {
        let heartbeats = workers.iter().map(|_| AtomicU64::new(0)).collect();
        Arc::new(Shared {
            started: OffsetDateTime::now_utc(),
            begun: Instant::now(),
            workers,
            gates,
            state,
            traffic,
            idle: Idle::default(),
            names: Arc::default(),
            servers_files: ArcSwap::default(),
            running: ArcSwapOption::empty(),
            addresses: ArcSwap::default(),
            admin: watch::Sender::new(None),
            admin_socket: watch::Sender::new(None),
            last_change: Mutex::new(None),
            history: ArcSwap::default(),
            draining: AtomicBool::new(false),
            heartbeats,
            changes_applied: AtomicU64::new(0),
            changes_rejected: AtomicU64::new(0),
        })
    }

    pub fn running(&self) -> Option<Arc<Running>> {
        self.running.load_full()
    }

    pub fn addresses(&self) -> Arc<Vec<(String, Bind)>> {
        self.addresses.load_full()
    }

    /// The admin port, now and whenever it changes.
    pub fn admin(&self) -> watch::Receiver<Option<AdminPort>> {
        self.admin.subscribe()
    }

    /// The admin socket, now and whenever it changes.
    pub fn admin_socket(&self) -> watch::Receiver<Option<Arc<UnixSocket>>> {
        self.admin_socket.subscribe()
    }

    pub fn last_change(&self) -> Option<LastChange> {
        self.last_change
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The last generations, the newest first.
    pub fn history(&self) -> Arc<Vec<HistoryEntry>> {
        self.history.load_full()
    }

    pub(super) fn publish_history(&self, entries: Vec<HistoryEntry>) {
        self.history.store(Arc::new(entries));
    }

    /// What is wrong with the servers file of a pool; empty: nothing.
    pub fn servers_file(&self, pool: &str) -> Vec<String> {
        let known = self.servers_files.load();
        known.get(pool).cloned().unwrap_or_default()
    }

    pub(super) fn servers_files_are(&self, problems: &[(String, Vec<String>)]) {
        let problems = problems.iter().cloned().collect();
        self.servers_files.store(Arc::new(problems));
    }

    pub fn uptime(&self) -> Duration {
        self.begun.elapsed()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    pub fn begin_drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// The workers that have not answered for too long.
    pub fn silent_workers(&self) -> Vec<usize> {
        let now = self.begun.elapsed();
        let late = |beat: &AtomicU64| {
            now.saturating_sub(Duration::from_millis(beat.load(Relaxed))) > HEARTBEAT_LATE
        };
        let all = self.heartbeats.iter().enumerate();
        all.filter(|(_, beat)| late(beat))
            .map(|(worker, _)| worker)
            .collect()
    }

    /// Asks every worker for a sign of life, for ever.
    pub async fn watch_workers(self: Arc<Self>) {
        let asks = (0..self.workers.len()).map(|worker| {
            let shared = self.clone();
            async move {
                loop {
                    shared.workers[worker].ask(|_| ()).await;
                    let now = shared.begun.elapsed().as_millis() as u64;
                    shared.heartbeats[worker].store(now, Relaxed);
                    tokio::time::sleep(HEARTBEAT).await;
                }
            }
        });
        futures_util::future::join_all(asks).await;
    }

    /// Looks once a second at how it goes, for ever.
    pub async fn watch_traffic(self: Arc<Self>) {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            self.traffic.tick();
            self.idle.tick();
            if let Some(running) = self.running() {
                running.servers.iter().for_each(|pool| note_most(pool));
            }
        }
    }

    pub(super) fn publish(&self, running: Arc<Running>, listeners: &Listeners) {
        let token = running
            .config
            .admin
            .as_ref()
            .and_then(|admin| admin.token.clone());
        self.running.store(Some(running));
        self.addresses.store(Arc::new(listeners.addresses()));
        let socket = listeners.admin_socket();
        self.admin_socket.send_if_modified(|known| {
            let same = match (&*known, &socket) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            };
            *known = socket;
            !same
        });
        let port = listeners.admin_port();
        let port = port.map(|socket| AdminPort { socket, token });
        self.admin.send_if_modified(|known| {
            let same = match (&*known, &port) {
                (Some(a), Some(b)) => Arc::ptr_eq(&a.socket, &b.socket) && a.token == b.token,
                (None, None) => true,
                _ => false,
            };
            *known = port;
            !same
        });
    }

    /// Threads are made once, at the start.
    pub(super) fn warn_of_what_needs_a_restart(&self, config: &Config) {
        if config.proxy.workers != self.workers.len() {
            tracing::warn!(
                running = self.workers.len(),
                configured = config.proxy.workers,
                "`proxy.workers` takes effect at the next start"
            );
        }
    }

    pub(super) fn remember_change(
        &self,
        what: &str,
        by: &str,
        took: Duration,
        result: &Result<Applied, Rejected>,
    ) {
        let (result, problems) = match result {
            Ok(_) => ("applied", Vec::new()),
            Err(rejected) => ("rejected", rejected.problems.clone()),
        };
        let change = LastChange {
            at: rfc3339(OffsetDateTime::now_utc()),
            what: what.to_owned(),
            by: by.to_owned(),
            result,
            took_ms: took.as_secs_f64() * 1e3,
            problems,
        };
        *self
            .last_change
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(change);
    }
}

/// How much is in flight at a pool's servers together is counted nowhere.
fn note_most(servers: &[Arc<Server>]) {
    let Some(first) = servers.first() else { return };
    let in_flight = servers.iter().map(|server| server.inflight()).sum();
    first.crew().most_inflight.fetch_max(in_flight, Relaxed);
}

pub fn rfc3339(at: OffsetDateTime) -> String {
    // Years beyond 9999 are the only ones it refuses.
    at.format(&Rfc3339).unwrap_or_default()
}
