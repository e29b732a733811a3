//! One mechanism for every change: a `Change` comes in, a complete candidate is built off the request path, and either every
//! worker runs it or nothing has changed.
//!
//! `run` is the loop; `draft` and `candidate` are its two halves, `listeners` the sockets, `generation` what runs and what is
//! kept, `history` what can be gone back to, `shared` what others may read, `watch` the files on disk.

mod candidate;
pub mod change;
mod discover;
mod draft;
mod generation;
mod history;
mod listeners;
mod load;
mod members;
mod metrics;
mod places;
mod run;
mod secure;
mod servers;
mod shared;
mod sources;
pub mod status;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch as signal};

use crate::base::ids::Generation;
use crate::config::{Config, Problems};
use crate::health::Health;
use crate::net::listen::UnixSocket;
use crate::observe::tap::{Reader, Taps, Terms};
use crate::observe::{Access, Traffic};
use crate::pipeline::{Explained, Gates, Question, WorkerHandle};
use crate::plugin::Runtime;
use crate::state::State;
use crate::upstream::LiveTable;

pub use change::{Applied, Cause, Change, Rejected};
pub use draft::hex;
pub use history::HistoryEntry;
pub use run::shipped_names;
pub use shared::AdminPort;
pub use status::Status;

use candidate::{Candidate, Snapshots};
use draft::Draft;
use generation::Kept;
use run::{Loop, Order};
use shared::Shared;

/// Orders that may wait for the loop; whoever sends more waits with them.
const MOST_WAITING: usize = 64;

/// A hold on the running proxy: read its status, change it, end it.
#[derive(Clone)]
pub struct Control {
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
    registry: Arc<Registry>,
    taps: Arc<Taps>,
    stop: signal::Sender<bool>,
}

/// What the loop is built on.
pub struct Parts {
    pub path: PathBuf,
    pub runtime: Runtime,
    /// What plugins keep; the runtime's own.
    pub state: Arc<State>,
    pub live: Arc<LiveTable>,
    pub workers: Vec<WorkerHandle>,
    pub gates: Gates,
    /// What is counted of requests, as rates.
    pub traffic: Arc<Traffic>,
    /// With the collectors of the floors below in it.
    pub registry: Registry,
    /// Told of each configuration before workers go by it.
    pub follow: Box<dyn Fn(&Config) + Send + Sync>,
    pub access: Arc<Access>,
    pub taps: Arc<Taps>,
}

impl Control {
    /// Brings up the first generation; on an error nothing listens. Runs on a tokio runtime that is no worker's.
    pub async fn start(parts: Parts, config: Config) -> Result<Control, Rejected> {
        let Parts {
            path,
            runtime,
            state,
            live,
            workers,
            gates,
            traffic,
            mut registry,
            follow,
            access,
            taps,
        } = parts;
        let shared = Shared::new(workers.clone(), gates.clone(), state.clone(), traffic);
        metrics::register(&mut registry, &shared, &gates);
        let health = watch_servers(&live, &shared)?;
        let mut changes = Loop::new(path, runtime, live, workers, gates, shared.clone(), health);
        changes.state = state;
        changes.follow = follow;
        changes.access = access;
        changes.start(config).await?;
        let (orders, waiting) = mpsc::channel(MOST_WAITING);
        let stop = signal::Sender::new(false);
        tokio::spawn(changes.serve(waiting, stop.subscribe()));
        tokio::spawn(shared.clone().watch_workers());
        tokio::spawn(shared.clone().watch_traffic());
        tokio::spawn(secure::look_after(Arc::downgrade(&shared)));
        Ok(Control {
            orders,
            shared,
            registry: Arc::new(registry),
            taps,
            stop,
        })
    }

    /// Answers once every worker runs the change, or once it is refused. `by`: who asks for it, for log and history.
    pub async fn change(&self, change: Change, by: String) -> Result<Applied, Rejected> {
        let leaving =
            || Rejected::new(Cause::Draining, "the proxy is draining and takes no change");
        if self.shared.is_draining() {
            return Err(leaving());
        }
        let (answer, answered) = oneshot::channel();
        self.orders
            .send(Order { change, by, answer })
            .await
            .map_err(|_| leaving())?;
        answered.await.map_err(|_| leaving())?
    }

    pub fn status(&self) -> Status {
        status::of(&self.shared)
    }

    /// Whether traffic would be served, and by this pool; or why not.
    pub fn health(&self, pool: Option<&str>) -> Result<(), String> {
        status::health(&self.shared, pool)
    }

    /// The configuration that runs, without its secrets.
    pub fn config(&self) -> serde_json::Value {
        let running = self.shared.running();
        running.map_or_else(Default::default, |running| running.config.shown.clone())
    }

    /// The last generations, the newest first.
    pub fn history(&self) -> Arc<Vec<HistoryEntry>> {
        self.shared.history()
    }

    /// What would become of a request now. Err: it can't be one, and why.
    pub async fn explain(&self, question: Question) -> Result<Explained, String> {
        // Every worker has the same configuration and plugins of the same code.
        match self.shared.workers.first() {
            Some(worker) => worker.explain(question).await,
            None => Err("there is no worker".to_owned()),
        }
    }

    /// Follows requests that end. None: too many do already.
    pub fn tap(&self, terms: Terms) -> Option<Reader> {
        self.taps.open(terms)
    }

    /// Whether every worker has answered lately.
    pub fn answers(&self) -> bool {
        self.shared.silent_workers().is_empty()
    }

    /// The Prometheus text of all metrics.
    pub fn metrics_text(&self) -> String {
        let mut text = String::new();
        // Writing into a string can't fail, and our collectors don't.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    /// The admin port, now and whenever it changes.
    pub fn admin_port(&self) -> signal::Receiver<Option<AdminPort>> {
        self.shared.admin()
    }

    /// The admin socket, now and whenever it changes.
    pub fn admin_socket(&self) -> signal::Receiver<Option<Arc<UnixSocket>>> {
        self.shared.admin_socket()
    }

    /// Health checks fail from now on, listening sockets are closed, connections are let go as their requests end.
    /// Resolves when the last is gone, or after the drain timeout; false: some were cut.
    pub async fn drain(&self) -> bool {
        self.shared.begin_drain();
        self.stop.send_replace(true);
        let timeout = self
            .shared
            .running()
            .map_or(Duration::ZERO, |running| running.config.proxy.drain_timeout);
        let drains = self
            .shared
            .workers
            .iter()
            .map(|worker| worker.drain(timeout));
        futures_util::future::join_all(drains).await;
        self.shared
            .workers
            .iter()
            .all(|worker| worker.connections() == 0)
    }
}

/// The thread that watches servers, with whoever is told by it.
fn watch_servers(live: &Arc<LiveTable>, shared: &Arc<Shared>) -> Result<Health, Rejected> {
    let (changed, told) = mpsc::unbounded_channel();
    let tell = Box::new(move |pool: &str| {
        // Nobody is left to be told when the proxy ends.
        let _ = changed.send(pool.to_owned());
    });
    let health = Health::start(live.clone(), tell)
        .map_err(|error| Rejected::new(Cause::System, format!("the thread for probes: {error}")))?;
    tokio::spawn(members::tell_balancers(shared.clone(), told));
    Ok(health)
}

/// Builds a candidate of `config` and drops it: all that `tidegate check` can tell. Blocks.
pub fn check(runtime: Runtime, live: Arc<LiveTable>, config: Config) -> Result<(), Problems> {
    let kept = Kept {
        runtime,
        live,
        uploads: Default::default(),
        edits: Default::default(),
        running: None,
        workers: 1,
        sessions: Default::default(),
    };
    let draft = Draft::new(&kept, Arc::new(config), draft::Basis::Disk).strict();
    Candidate::prepare(&kept, draft, Generation(1), Snapshots::new()).map(drop)
}
