//! The one loop that changes take, one at a time: draft, snapshots, candidate, sockets, then every worker, then the word to
//! whoever asked. On any failure the candidate is dropped and traffic has noticed nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use crate::base::ids::Generation;
use crate::config::{self, Config, Problems};
use crate::health::Health;
use crate::pipeline::{Gates, Site, WorkerHandle};
use crate::plugin::Runtime;
use crate::shipped;
use crate::upstream::LiveTable;
use crate::upstream::vitals::Wanted;

use super::candidate::{Candidate, Snapshots};
use super::change::{Applied, Cause, Change, Rejected};
use super::draft::Draft;
use super::generation::{Hold, Kept, Running, Upload};
use super::history::History;
use super::listeners::{Listeners, Sockets};
use super::members;
use super::shared::Shared;
use super::watch::Watch;

/// A change, and where its answer goes.
pub struct Order {
    pub change: Change,
    pub answer: oneshot::Sender<Result<Applied, Rejected>>,
}

/// The loop's own: nobody else changes these.
pub struct Loop {
    path: PathBuf,
    kept: Kept,
    listeners: Listeners,
    workers: Vec<WorkerHandle>,
    shared: Arc<Shared>,
    watch: Option<Watch>,
    history: History,
    health: Health,
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
            history: History::default(),
            health,
        }
    }

    /// Brings up the first generation.
    pub async fn start(&mut self, config: Config) -> Result<Applied, Rejected> {
        let begun = Instant::now();
        let result = self.install(config, begun).await;
        self.tell("start", begun, &result);
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
                Some(Order { change, answer }) = orders.recv() => {
                    // Whoever asked may be gone; the change stands.
                    let _ = answer.send(self.take(change).await);
                }
                () = changed_on_disk(&mut self.watch) => {
                    // Told in the log and the status.
                    let _ = self.take(Change::Reload).await;
                }
                _ = stop.changed() => break,
            }
        }
        self.listeners.close();
    }

    async fn take(&mut self, change: Change) -> Result<Applied, Rejected> {
        let begun = Instant::now();
        let what = match &change {
            // No generation comes of it.
            Change::Server {
                pool,
                server,
                wanted,
            } => return self.want(pool, server, *wanted, begun),
            Change::Reload => "reload".to_owned(),
            Change::Plugin { name, .. } => format!("plugin {name}"),
            Change::Rollback { to } => format!("rollback to {}", to.0),
        };
        let result = match change {
            Change::Reload | Change::Server { .. } => self.reload(begun).await,
            Change::Plugin { name, wasm } => self.swap(name, wasm, begun).await,
            Change::Rollback { to } => self.roll_back(to, begun).await,
        };
        self.tell(&what, begun, &result);
        result
    }

    async fn reload(&mut self, begun: Instant) -> Result<Applied, Rejected> {
        let path = self.path.clone();
        let config = blocking(move || config::load(&path, &shipped_names())).await?;
        self.install(config.map_err(invalid)?, begun).await
    }

    async fn swap(
        &mut self,
        name: String,
        wasm: Vec<u8>,
        begun: Instant,
    ) -> Result<Applied, Rejected> {
        let running = self.running();
        let Some(plugin) = running
            .config
            .plugins
            .iter()
            .find(|plugin| plugin.name == name)
        else {
            let known: Vec<_> = running
                .plugins
                .iter()
                .map(|plugin| plugin.name.as_str())
                .collect();
            return Err(Rejected::new(
                Cause::UnknownPlugin,
                format!(
                    "there is no plugin \"{name}\"; running are: {}",
                    known.join(", ")
                ),
            ));
        };
        let instead_of = super::draft::named_hash(plugin)
            .map_err(|problem| Rejected::new(Cause::Invalid, problem))?;
        let upload = Upload {
            wasm: wasm.into(),
            instead_of,
        };
        let before = self.kept.uploads.insert(name.clone(), upload);
        let config = Config::clone(&running.config);
        let result = self.install(config, begun).await;
        if result.is_err() {
            match before {
                Some(before) => self.kept.uploads.insert(name, before),
                None => self.kept.uploads.remove(&name),
            };
        }
        result
    }

    fn want(
        &self,
        pool: &str,
        server: &str,
        wanted: Wanted,
        begun: Instant,
    ) -> Result<Applied, Rejected> {
        let running = self.running();
        let live = running.server(pool, server).ok_or_else(|| {
            let known = running.server_names().collect::<Vec<_>>().join(", ");
            Rejected::new(
                Cause::UnknownServer,
                format!("there is no server {pool}/{server}; there are: {known}"),
            )
        })?;
        let before = live.vitals.wanted();
        live.vitals.set_wanted(wanted);
        self.health.assess(pool);
        tracing::info!(pool, server, ?before, now = ?wanted, "what is wanted of a server has changed");
        Ok(Applied {
            generation: running.generation,
            took: begun.elapsed(),
            plugins: Vec::new(),
        })
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
        let config = Config::clone(&past.config);
        let uploads = blocking(move || past.uploads()).await?;
        let uploads = uploads.map_err(|problem| Rejected::new(Cause::Invalid, problem))?;
        let before = std::mem::replace(&mut self.kept.uploads, uploads);
        let result = self.install(config, begun).await;
        if result.is_err() {
            self.kept.uploads = before;
        }
        result
    }

    /// All or nothing.
    async fn install(&mut self, config: Config, begun: Instant) -> Result<Applied, Rejected> {
        if let Some(watch) = self.watching(&config) {
            watch.follow(&config);
        }
        self.shared.warn_of_what_needs_a_restart(&config);
        let candidate = self.candidate(config).await?;
        let sockets = self.bind(&candidate.running.config)?;
        let Candidate {
            running,
            uploads,
            parts,
            fresh,
            judges,
        } = candidate;
        let running = Arc::new(running);
        // From here on nothing can fail.
        self.kept.uploads = uploads;
        let previous = self.kept.running.replace(running.clone());
        running.set_weights();
        running.set_limits();
        let installs = self.workers.iter().zip(parts).map(|(worker, parts)| {
            worker.install(Box::new(move |previous: Option<&std::rc::Rc<Site>>| {
                parts.site(previous)
            }))
        });
        futures_util::future::join_all(installs).await;
        self.listeners
            .adopt(sockets, &running.config, &self.workers);
        self.shared.publish(running.clone(), &self.listeners);
        self.health.watch(members::plan(&running, judges));
        drop(previous);
        Ok(Applied {
            generation: running.generation,
            took: begun.elapsed(),
            plugins: fresh,
        })
    }

    async fn candidate(&mut self, config: Config) -> Result<Candidate, Rejected> {
        let generation = Generation(self.kept.running.as_ref().map_or(1, |r| r.generation.0 + 1));
        let kept = self.kept.clone();
        let draft = blocking(move || Draft::new(&kept, config)).await?;
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

    fn bind(&self, config: &Config) -> Result<Sockets, Rejected> {
        self.listeners.bind(config).map_err(|list| {
            let mut problems = Problems::new(config.source.clone());
            list.into_iter().for_each(|problem| problems.push(problem));
            Rejected {
                cause: Cause::System,
                problems: problems.render(false),
            }
        })
    }

    fn running(&self) -> Arc<Running> {
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

    fn tell(&mut self, what: &str, begun: Instant, result: &Result<Applied, Rejected>) {
        match result {
            Ok(applied) => {
                if let Some(running) = &self.kept.running {
                    self.history.remember(what, running);
                    self.shared.publish_history(self.history.entries());
                }
                tracing::info!(
                    what,
                    generation = applied.generation.0,
                    took_ms = begun.elapsed().as_millis() as u64,
                    "change applied"
                );
                self.shared.changes_applied.fetch_add(1, Relaxed);
            }
            Err(rejected) => {
                for problem in &rejected.problems {
                    tracing::error!(what, "change rejected; what ran before runs on\n{problem}");
                }
                self.shared.changes_rejected.fetch_add(1, SeqCst);
            }
        }
        self.shared.remember_change(what, begun.elapsed(), result);
    }
}

async fn changed_on_disk(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Runs what compiles or reads files on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Rejected> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| {
        Rejected::new(
            Cause::System,
            format!("building the candidate failed inside: {panic}"),
        )
    })
}

fn invalid(problems: Problems) -> Rejected {
    Rejected {
        cause: Cause::Invalid,
        problems: problems.render(false),
    }
}

pub fn shipped_names() -> Vec<&'static str> {
    shipped::names().collect()
}
