//! The one loop that changes take, one at a time: draft, snapshots, candidate, sockets, then every worker, then the word to
//! whoever asked. On any failure the candidate is dropped and traffic has noticed nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Instant;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};

use crate::base::ids::Generation;
use crate::config::checked::Log;
use crate::config::edits::{self, Edits, Weight};
use crate::config::{self, Config, Problem, Problems};
use crate::health::Health;
use crate::hook::ServerState;
use crate::observe::{Access, Prepared};
use crate::pipeline::{Gates, Site, WorkerHandle};
use crate::plugin::Runtime;
use crate::shipped;
use crate::state::State;
use crate::upstream::LiveTable;
use crate::upstream::vitals::Wanted;

use super::candidate::{Candidate, Snapshots};
use super::change::{Applied, Cause, Change, Rejected};
use super::draft::{self, Basis, Draft, named_hash};
use super::generation::{Hold, Kept, Running, Upload};
use super::history::History;
use super::listeners::{Listeners, Sockets};
use super::members;
use super::shared::Shared;
use super::watch::Watch;

/// A change, and where its answer goes.
pub struct Order {
    pub change: Change,
    /// Who asked for it.
    pub by: String,
    pub answer: oneshot::Sender<Result<Applied, Rejected>>,
}

/// The loop's own: nobody else changes these.
pub struct Loop {
    path: PathBuf,
    pub(super) kept: Kept,
    listeners: Listeners,
    pub(super) workers: Vec<WorkerHandle>,
    pub(super) shared: Arc<Shared>,
    watch: Option<Watch>,
    pub(super) servers_files: Option<Watch>,
    history: History,
    health: Health,
    /// Shared as the configuration says.
    pub state: Arc<State>,
    /// Told of each configuration before workers go by it.
    pub follow: Box<dyn Fn(&Config) + Send + Sync>,
    pub access: Arc<Access>,
}

/// What a candidate needs of the system beside its code, all of it to be had.
pub(super) struct Claims {
    sockets: Sockets,
    log: Prepared,
}

impl Loop {
    pub fn new(
        path: PathBuf,
        runtime: Runtime,
        live: Arc<LiveTable>,
        workers: Vec<WorkerHandle>,
        gates: Gates,
        shared: Arc<Shared>,
        health: Health,
    ) -> Loop {
        let kept = Kept {
            runtime,
            live,
            uploads: Default::default(),
            edits: Default::default(),
            running: None,
            workers: workers.len(),
            sessions: Default::default(),
        };
        Loop {
            path,
            kept,
            listeners: Listeners::new(gates),
            workers,
            shared,
            watch: None,
            servers_files: None,
            history: History::default(),
            health,
            state: Arc::default(),
            follow: Box::new(|_| ()),
            access: Arc::default(),
        }
    }

    /// Brings up the first generation.
    pub async fn start(&mut self, config: Config) -> Result<Applied, Rejected> {
        let begun = Instant::now();
        let result = self.install(Arc::new(config), begun).await;
        if result.is_ok() {
            self.remember("start", "start");
        }
        self.tell("start", "start", begun, &result);
        result
    }

    /// Takes orders until told to stop, then closes the listening sockets.
    pub async fn serve(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                Some(Order { change, by, answer }) = orders.recv() => {
                    // Whoever asked may be gone; the change stands.
                    let _ = answer.send(self.take(change, &by).await);
                }
                () = changed_on_disk(&mut self.watch) => {
                    // Told in the log and the status.
                    let _ = self.take(Change::Reload, "watched file").await;
                }
                () = changed_on_disk(&mut self.servers_files) => {
                    self.servers_files_have_changed().await;
                }
                () = self.shared.names.changed() => {
                    // Names of one change in DNS are answered one after the other.
                    tokio::time::sleep(members::TOGETHER).await;
                    self.names_have_changed().await;
                }
                _ = stop.changed() => break,
            }
        }
        self.listeners.close();
    }

    async fn take(&mut self, change: Change, by: &str) -> Result<Applied, Rejected> {
        let begun = Instant::now();
        let before = self.running().generation;
        let (what, result) = match change {
            Change::Reload => ("reload".to_owned(), self.reload(begun).await),
            Change::Plugin { name, wasm } => {
                (format!("plugin {name}"), self.swap(name, wasm, begun).await)
            }
            Change::Server {
                pool,
                server,
                wanted,
                weight,
            } => {
                self.steer((&pool, &server), wanted, weight, by, begun)
                    .await
            }
            Change::Add {
                pool,
                server,
                wanted,
            } => self.add(&pool, &server, wanted, begun).await,
            Change::Remove { pool, server } => (
                format!("remove {pool}/{server}"),
                self.remove(&pool, &server, begun).await,
            ),
            Change::Rollback { to } => (
                format!("rollback to {}", to.0),
                self.roll_back(to, begun).await,
            ),
        };
        if result
            .as_ref()
            .is_ok_and(|applied| applied.generation != before)
        {
            self.remember(&what, by);
        }
        self.tell(&what, by, begun, &result);
        result
    }

    async fn reload(&mut self, begun: Instant) -> Result<Applied, Rejected> {
        let path = self.path.clone();
        let config = blocking(move || config::load(&path, &shipped_names())).await?;
        let config = Arc::new(config.map_err(invalid)?);
        self.install(config, begun).await
    }

    async fn swap(
        &mut self,
        name: String,
        wasm: Vec<u8>,
        begun: Instant,
    ) -> Result<Applied, Rejected> {
        let running = self.running();
        let mut plugins = running.config.plugins.iter();
        let Some(plugin) = plugins.find(|plugin| plugin.name == name).cloned() else {
            let known = running.plugins.iter().map(|plugin| plugin.name.as_str());
            let known = known.collect::<Vec<_>>().join(", ");
            return Err(Rejected::new(
                Cause::UnknownPlugin,
                format!("there is no plugin \"{name}\"; running are: {known}"),
            ));
        };
        let upload = Upload {
            wasm: wasm.into(),
            instead_of: blocking(move || named_hash(&plugin)).await?.ok(),
        };
        let before = self.kept.uploads.insert(name.clone(), upload);
        let config = running.written.clone();
        let result = self.install_resolved(config, Basis::Running, begun).await;
        if result.is_err() {
            match before {
                Some(before) => self.kept.uploads.insert(name, before),
                None => self.kept.uploads.remove(&name),
            };
        }
        result
    }

    /// What was asked for, and what has become of it. The weight first: it may be refused.
    async fn steer(
        &mut self,
        (pool, server): (&str, &str),
        wanted: Option<Wanted>,
        weight: Option<Weight>,
        by: &str,
        begun: Instant,
    ) -> (String, Result<Applied, Rejected>) {
        let mut what = Vec::new();
        let mut result = Ok(self.as_it_is(begun));
        if let Some(weight) = weight {
            let mut edits = self.kept.edits.clone();
            let weighed = edits.weigh(&self.running().config, (pool, server), weight);
            what.push(format!("weight {pool}/{server} {weight}"));
            let now = edits::weight(&self.running().config, pool, server);
            result = match weighed {
                // Those who say it again and again shall not push others out of the history.
                Ok(weight) if now == Some(weight) => Ok(self.as_it_is(begun)),
                Ok(_) => self.edit(edits, begun).await,
                Err(unfit) => Err(unfit.into()),
            };
        }
        if let (Some(wanted), Ok(applied)) = (wanted, &result) {
            what.push(format!("state {pool}/{server} {}", wanted.word()));
            let plugins = applied.plugins.clone();
            let wanted = self.want(pool, server, wanted, by, begun).await;
            result = wanted.map(|applied| Applied { plugins, ..applied });
        }
        (what.join(", "), result)
    }

    async fn want(
        &self,
        pool: &str,
        server: &str,
        wanted: Wanted,
        by: &str,
        begun: Instant,
    ) -> Result<Applied, Rejected> {
        let running = self.running();
        edits::known(&running.config, pool, server)?;
        let Some(live) = running.server(pool, server) else {
            return Ok(self.as_it_is(begun));
        };
        let before = live.vitals.wanted();
        live.vitals.set_wanted(wanted);
        self.settle(pool).await;
        tracing::info!(pool, server, by, ?before, now = ?wanted, "what is wanted of a server has changed");
        Ok(self.as_it_is(begun))
    }

    /// No generation has come of it.
    fn as_it_is(&self, begun: Instant) -> Applied {
        Applied {
            generation: self.running().generation,
            took: begun.elapsed(),
            plugins: Vec::new(),
        }
    }

    async fn add(
        &mut self,
        pool: &str,
        json: &Map<String, Value>,
        wanted: Wanted,
        begun: Instant,
    ) -> (String, Result<Applied, Rejected>) {
        let running = self.running();
        let server = match edits::server(json, running.config.source.folder()) {
            Ok(server) => server,
            Err(problems) => {
                let cause = Cause::Invalid;
                return (format!("add to {pool}"), Err(Rejected { cause, problems }));
            }
        };
        let what = format!("add {pool}/{}", server.name);
        let mut edits = self.kept.edits.clone();
        if let Err(unfit) = edits.add(&running.config, pool, server.clone()) {
            return (what, Err(unfit.into()));
        }
        // Held until it runs, so that it begins in this state. None: there is no room, as the draft will tell.
        let live = draft::enter(&self.kept, pool, &server);
        if let Some(live) = &live {
            live.vitals.set_wanted(wanted);
            if wanted == Wanted::Maint {
                live.vitals.set_state(ServerState::Down);
            }
        }
        let result = self.edit(edits, begun).await;
        if result.is_ok() {
            self.settle(pool).await;
        }
        (what, result)
    }

    async fn remove(
        &mut self,
        pool: &str,
        server: &str,
        begun: Instant,
    ) -> Result<Applied, Rejected> {
        let mut edits = self.kept.edits.clone();
        edits.remove(&self.running().config, pool, server)?;
        self.edit(edits, begun).await
    }

    /// Runs what runs, but for these edits.
    async fn edit(&mut self, edits: Edits, begun: Instant) -> Result<Applied, Rejected> {
        let before = std::mem::replace(&mut self.kept.edits, edits);
        let config = self.running().written.clone();
        let result = self.install_resolved(config, Basis::Running, begun).await;
        if result.is_err() {
            self.kept.edits = before;
        }
        result
    }

    /// Returns once the states of the pool's servers are what is wanted and found, on every worker.
    async fn settle(&self, pool: &str) {
        self.health.assess(pool).await;
        members::tell(&self.shared, &self.running(), pool).await;
    }

    async fn roll_back(&mut self, to: Generation, begun: Instant) -> Result<Applied, Rejected> {
        let Some(past) = self.history.find(to).cloned() else {
            let kept: Vec<_> = self.history.generations().map(|n| n.to_string()).collect();
            return Err(Rejected::new(
                Cause::UnknownGeneration,
                format!(
                    "generation {} is not kept; kept are: {}",
                    to.0,
                    kept.join(", ")
                ),
            ));
        };
        let (config, edits) = (past.written.clone(), past.edits.clone());
        let uploads = blocking(move || past.uploads()).await?;
        let uploads = std::mem::replace(&mut self.kept.uploads, uploads);
        let edits = std::mem::replace(&mut self.kept.edits, edits);
        let result = self.install(config, begun).await;
        if result.is_err() {
            self.kept.uploads = uploads;
            self.kept.edits = edits;
        }
        result
    }

    /// Another configuration, whose names are looked up first.
    async fn install(&mut self, config: Arc<Config>, begun: Instant) -> Result<Applied, Rejected> {
        self.watch_servers_files(&config);
        let config = self.resolved(config).await;
        let result = self.install_resolved(config, Basis::Disk, begun).await;
        if result.is_ok() {
            self.shared.servers_files_are(&[]);
        }
        if result.is_err() {
            self.follow_again();
        }
        result
    }

    /// All or nothing.
    pub(super) async fn install_resolved(
        &mut self,
        config: Arc<Config>,
        basis: Basis,
        begun: Instant,
    ) -> Result<Applied, Rejected> {
        if let Some(watch) = self.watching(&config) {
            watch.follow(&config);
        }
        if basis == Basis::Disk {
            self.shared.warn_of_what_needs_a_restart(&config);
        }
        let candidate = self.candidate(config, basis).await?;
        let claims = self.claim(&candidate.running.config).await?;
        // From here on nothing can fail.
        let fresh = candidate.fresh.clone();
        let running = self.adopt(candidate, Some(claims)).await;
        Ok(Applied {
            generation: running.generation,
            took: begun.elapsed(),
            plugins: fresh,
        })
    }

    /// Every worker runs it from here on.
    pub(super) async fn adopt(
        &mut self,
        candidate: Candidate,
        claims: Option<Claims>,
    ) -> Arc<Running> {
        let Candidate {
            running,
            uploads,
            parts,
            judges,
            ..
        } = candidate;
        let running = Arc::new(running);
        self.kept.uploads = uploads;
        let edits = std::mem::replace(&mut self.kept.edits, running.edits.clone());
        for server in edits.ended(&running.edits) {
            tracing::info!(
                server,
                "what was changed of a server at run time has ended: the config, or DNS, says otherwise"
            );
        }
        let previous = self.kept.running.replace(running.clone());
        running.set_weights();
        running.set_limits();
        (self.follow)(&running.config);
        let (sockets, log) = claims.map(|Claims { sockets, log }| (sockets, log)).unzip();
        let former = log.map(|log| self.access.adopt(log));
        let installs = self.workers.iter().zip(parts).map(|(worker, parts)| {
            worker.install(Box::new(move |previous: Option<&std::rc::Rc<Site>>| {
                parts.site(previous)
            }))
        });
        futures_util::future::join_all(installs).await;
        // No worker writes there any more.
        drop(former);
        if let Some(sockets) = sockets {
            self.listeners
                .adopt(sockets, &running.config, &self.workers);
        }
        self.shared.publish(running.clone(), &self.listeners);
        self.watch_no_more(&running.config);
        self.publish_history();
        self.health.watch(members::plan(&running, judges));
        drop(previous);
        if let Err(error) = self.state.share(running.config.state.as_ref()) {
            tracing::error!(%error, "there is no thread to share state by: each proxy has its own");
        }
        running
    }

    async fn candidate(
        &mut self,
        config: Arc<Config>,
        basis: Basis,
    ) -> Result<Candidate, Rejected> {
        let generation = Generation(self.kept.running.as_ref().map_or(1, |r| r.generation.0 + 1));
        let kept = self.kept.clone();
        let draft = blocking(move || Draft::new(&kept, config, basis)).await?;
        let snapshots = self.snapshots(&draft).await;
        let kept = self.kept.clone();
        blocking(move || Candidate::prepare(&kept, draft, generation, snapshots))
            .await?
            .map_err(invalid)
    }

    /// What the instances that are about to be replaced hand over.
    async fn snapshots(&self, draft: &Draft) -> Snapshots {
        let mut all = Snapshots::new();
        if !draft.problems.is_empty() {
            return all;
        }
        let Some(running) = &self.kept.running else {
            return all;
        };
        for loaded in draft
            .parts
            .iter()
            .flatten()
            .filter(|loaded| loaded.running.is_none())
        {
            let name = &loaded.settings.name;
            let Some(old) = running.plugin(name) else {
                continue;
            };
            if !old.artifact.roles().stateful || !loaded.artifact.roles().stateful {
                continue;
            }
            let fingerprint = old.fingerprint;
            let asked = self.workers.iter().map(|worker| {
                worker.ask(move |site: &std::rc::Rc<Site>| {
                    let hold = site.hold.downcast_ref::<Hold>()?;
                    hold.find(&fingerprint)?.snapshot()
                })
            });
            let given = futures_util::future::join_all(asked).await;
            all.insert(name.clone(), given.into_iter().flatten().collect());
        }
        all
    }

    /// The log last: it may make a file, which a change that is refused should not.
    async fn claim(&self, config: &Arc<Config>) -> Result<Claims, Rejected> {
        let refused = |list: Vec<Problem>| {
            let mut problems = Problems::new(config.source.clone());
            list.into_iter().for_each(|problem| problems.push(problem));
            Rejected {
                cause: Cause::System,
                problems: problems.render(false),
            }
        };
        let sockets = self.listeners.bind(config).map_err(refused)?;
        let (access, wanted) = (self.access.clone(), config.clone());
        let log = blocking(move || access.prepare(&wanted.log)).await?;
        let log = log.map_err(|error| refused(vec![no_log(&config.log, &error)]))?;
        Ok(Claims { sockets, log })
    }

    pub(super) fn running(&self) -> Arc<Running> {
        self.kept
            .running
            .clone()
            .expect("orders are taken after the first generation")
    }

    fn watching(&mut self, config: &Config) -> Option<&mut Watch> {
        if !config.proxy.watch {
            self.watch = None;
        } else if self.watch.is_none() {
            match Watch::new() {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => {
                    tracing::error!(%error, "files can't be watched; reload by HUP or the admin API")
                }
            }
        }
        self.watch.as_mut()
    }

    /// What runs is what this change has brought.
    fn remember(&mut self, what: &str, by: &str) {
        let running = self.running();
        self.history.remember(what, by, &running);
        self.publish_history();
    }

    fn publish_history(&self) {
        let entries = self.history.entries(self.running().generation);
        self.shared.publish_history(entries);
    }

    fn tell(&mut self, what: &str, by: &str, begun: Instant, result: &Result<Applied, Rejected>) {
        match result {
            Ok(applied) => {
                tracing::info!(
                    what,
                    by,
                    generation = applied.generation.0,
                    took_ms = begun.elapsed().as_millis() as u64,
                    "change applied"
                );
                self.shared.changes_applied.fetch_add(1, Relaxed);
            }
            Err(rejected) => {
                for problem in &rejected.problems {
                    tracing::error!(
                        what,
                        by,
                        "change rejected; what ran before runs on\n{problem}"
                    );
                }
                self.shared.changes_rejected.fetch_add(1, SeqCst);
            }
        }
        self.shared
            .remember_change(what, by, begun.elapsed(), result);
    }
}

fn no_log(log: &Log, error: &std::io::Error) -> Problem {
    use std::io::ErrorKind;
    let remedy = match error.kind() {
        ErrorKind::NotFound => "make its folder first",
        ErrorKind::PermissionDenied => {
            "let this user write the file, or choose a folder where it may"
        }
        ErrorKind::IsADirectory => "name a file in it",
        ErrorKind::NotConnected => "start the pipe's reader first",
        _ => "choose another place, or write access = \"off\"",
    };
    let message = format!("the access log can't be opened: {error}");
    Problem::at(log.access.span.clone(), message, remedy)
}

async fn changed_on_disk(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Runs what compiles or reads files on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Rejected> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| {
        Rejected::new(
            Cause::System,
            format!("building the candidate failed inside: {panic}"),
        )
    })
}

pub(super) fn invalid(problems: Problems) -> Rejected {
    Rejected {
        cause: Cause::Invalid,
        problems: problems.render(false),
    }
}

pub fn shipped_names() -> Vec<&'static str> {
    shipped::names().collect()
}
