//! The only file that knows all floors: it starts a proxy from a configuration, keeps the admin surface in step with it,
//! and sees it out.
//!
//! Three kinds of threads: the workers (one a core, `pipeline`), the admin surface's own (`admin`), and the runtime that
//! this file makes for the rest: accepting, the change loop, signals.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus_client::registry::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::{EnvFilter, reload};

use crate::admin;
use crate::base::event::Observer;
use crate::config::{Config, Problems};
use crate::control::{AdminPort, Change, Control, HistoryEntry, Parts, Rejected, Status};
use crate::net::{self, systemd};
use crate::observe::Observers;
use crate::observe::tap::{Reader, Terms};
use crate::pipeline::{Gates, Question, Workers};
use crate::plugin::{Runtime, RuntimeOptions};
use crate::state::State;
use crate::upstream::LiveTable;

/// Runs a proxy until it is told to leave, and has drained.
pub fn run(config: Config, ready: impl FnOnce(&Control) + Send) -> Result<(), Failure> {
    let control_threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(Failure::system("the control thread"))?;
    control_threads.block_on(serve(config, ready))
}

/// Why a proxy did not start, each problem whole.
#[derive(Debug)]
pub struct Failure(pub Vec<String>);

async fn serve(config: Config, ready: impl FnOnce(&Control)) -> Result<(), Failure> {
    // Before anything can fail for long: a signal that comes meanwhile must not kill us half-way.
    let mut signals = Signals::new().map_err(Failure::system("signals"))?;
    let workers = config.proxy.workers;
    let files = net::pipe::set_aside(net::files::raise_limit(), workers);
    let gates = Gates::for_files(files, workers);
    let live = LiveTable::new();
    let state = State::new();
    let runtime = plugin_runtime(live.clone(), state.clone())?;
    let observers = Observers::default();
    let observer: Arc<dyn Observer> = observers.observer();
    let workers =
        Workers::spawn(workers, observer).map_err(Failure::system("the worker threads"))?;
    let mut registry = Registry::default();
    observers.register(&mut registry);
    registry.register_collector(runtime.collector());
    registry.register_collector(state.collector());
    let path = config.source.path.clone();
    let following = observers.clone();
    let level = Level::of(&config);
    let parts = Parts {
        path,
        runtime,
        state,
        live,
        workers: workers.handles().to_vec(),
        gates,
        traffic: observers.traffic(),
        registry,
        follow: Box::new(move |config: &Config| {
            level.follow(config);
            following.follow(config.tracing.as_ref());
        }),
        access: observers.access(),
        taps: observers.taps(),
    };
    let control = Control::start(parts, config).await?;
    let admin = tokio::spawn(keep_admin(control.clone()));
    let socket = tokio::spawn(keep_admin_socket(control.clone()));
    let watchdog = tokio::spawn({
        let control = control.clone();
        async move { systemd::watchdog(|| control.answers()).await }
    });
    ready(&control);
    systemd::ready("serving");
    signals.obey(&control, &observers).await;
    systemd::stopping("draining");
    drain(&control, &mut signals).await;
    // Before the admin surface, which would wait for their readers.
    observers.taps().close();
    watchdog.abort();
    admin.abort();
    socket.abort();
    observers.flush();
    Ok(())
}

/// A plugin runtime that keeps compiled code in the user's cache folder.
pub fn plugin_runtime(live: Arc<LiveTable>, state: Arc<State>) -> Result<Runtime, Failure> {
    let options = RuntimeOptions {
        cache: cache_folder(),
        live,
        state,
    };
    Runtime::new(options).map_err(|error| Failure(vec![error.to_string()]))
}

/// All that can be told of a configuration without running it. Blocks.
pub fn check(config: Config) -> Result<(), Problems> {
    let live = LiveTable::new();
    let source = config.source.clone();
    let runtime = plugin_runtime(live.clone(), State::new()).map_err(|Failure(list)| {
        let mut problems = Problems::new(source);
        for message in list {
            problems.push(crate::config::Problem::of_file(
                message,
                "plugins can't be checked without it",
            ));
        }
        problems
    })?;
    crate::control::check(runtime, live, config)
}

/// Overrules `log.level`.
const LEVEL_VARIABLE: &str = "TIDEGATE_LOG";

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

static FILTER: OnceLock<SetFilter> = OnceLock::new();

/// What the process says of itself goes to standard error.
pub fn start_log(level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(crate::config::color_for(&std::io::stderr()))
        .with_env_filter(filter)
        .with_filter_reloading();
    let filter = log.reload_handle();
    // Set already: a test in this process did it.
    if log.try_init().is_ok() {
        let _ = FILTER.set(Box::new(move |new| filter.reload(new)));
    }
}

/// `log.level` as it was last followed.
struct Level(Mutex<String>);

impl Level {
    fn of(config: &Config) -> Level {
        Level(Mutex::new(config.log.level.clone()))
    }

    /// Sets it where it has changed: what the process was started with may overrule the configuration.
    fn follow(&self, config: &Config) {
        let wanted = &config.log.level;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == *wanted || std::env::var(LEVEL_VARIABLE).is_ok() {
            return;
        }
        known.clone_from(wanted);
        let filter = EnvFilter::try_new(wanted).map_err(|error| error.to_string());
        let set = filter.and_then(|filter| {
            let set = FILTER.get().ok_or("another log is in place")?;
            set(filter).map_err(|error| error.to_string())
        });
        if let Err(error) = set {
            tracing::error!(
                error,
                level = wanted,
                "`log.level` can't be set: the former one stays"
            );
        }
    }
}

/// systemd's `CacheDirectory=`, else the XDG base directory's.
fn cache_folder() -> Option<PathBuf> {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    from("CACHE_DIRECTORY")
        .or_else(|| from("XDG_CACHE_HOME"))
        .or_else(|| from("HOME").map(|home| home.join(".cache")))
        .map(|folder| folder.join("tidegate"))
}

/// Serves the admin port as the running configuration has it.
async fn keep_admin(control: Control) {
    let mut ports = control.admin_port();
    let mut serving: Option<(AdminPort, admin::Server)> = None;
    loop {
        let wanted = ports.borrow_and_update().clone();
        serving = match (wanted, serving.take()) {
            (Some(wanted), Some((old, server))) if Arc::ptr_eq(&wanted.socket, &old.socket) => {
                server.set_token(wanted.token.as_ref().map(|token| token.0.clone()));
                Some((wanted, server))
            }
            (Some(wanted), _) => start_admin(&control, wanted),
            (None, _) => None,
        };
        if ports.changed().await.is_err() {
            return;
        }
    }
}

fn start_admin(control: &Control, port: AdminPort) -> Option<(AdminPort, admin::Server)> {
    let token = port.token.as_ref().map(|token| token.0.clone());
    // The surface accepts on a runtime of its own, so it needs a descriptor of its own.
    let socket = port
        .socket
        .as_fd()
        .try_clone_to_owned()
        .map(std::net::TcpListener::from);
    let started = socket.and_then(|socket| admin::start(socket, token, Arc::new(control.clone())));
    match started {
        Ok(server) => Some((port, server)),
        Err(error) => {
            tracing::error!(%error, "the admin surface can't be served");
            None
        }
    }
}

/// Serves the admin socket as the running configuration has it.
async fn keep_admin_socket(control: Control) {
    let mut sockets = control.admin_socket();
    loop {
        let wanted = sockets.borrow_and_update().clone();
        let serving = wanted.and_then(|socket| {
            let started = socket
                .duplicate()
                .and_then(|socket| admin::start_socket(socket, Arc::new(control.clone())));
            started
                .map_err(|error| tracing::error!(%error, "the admin socket can't be served"))
                .ok()
        });
        if sockets.changed().await.is_err() {
            return;
        }
        drop(serving);
    }
}

impl admin::Proxy for Control {
    fn status(&self) -> Arc<Status> {
        Arc::new(Control::status(self))
    }

    fn metrics_text(&self) -> String {
        Control::metrics_text(self)
    }

    fn health(&self, pool: Option<&str>) -> Result<(), String> {
        Control::health(self, pool)
    }

    fn change(&self, change: Change, by: String) -> admin::ChangeFuture<'_> {
        Box::pin(Control::change(self, change, by))
    }

    fn config(&self) -> serde_json::Value {
        Control::config(self)
    }

    fn history(&self) -> Arc<Vec<HistoryEntry>> {
        Control::history(self)
    }

    fn explain(&self, question: Question) -> admin::ExplainFuture<'_> {
        Box::pin(Control::explain(self, question))
    }

    fn tap(&self, terms: Terms) -> Option<Reader> {
        Control::tap(self, terms)
    }
}

/// HUP reloads; USR1 opens the access log anew; TERM and INT end.
struct Signals {
    hangup: Signal,
    reopen: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Until the first TERM or INT.
    async fn obey(&mut self, control: &Control, observers: &Observers) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    systemd::reloading();
                    let control = control.clone();
                    tokio::spawn(async move { reload(&control).await });
                }
                _ = self.reopen.recv() => observers.reopen(),
                () = Self::leave(&mut self.terminate, &mut self.interrupt) => return,
            }
        }
    }

    async fn leave(terminate: &mut Signal, interrupt: &mut Signal) {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// The control's log tells what came of it.
async fn reload(control: &Control) {
    systemd::ready(
        match control
            .change(Change::Reload, "signal HUP".to_owned())
            .await
        {
            Ok(_) => "serving",
            Err(_) => "serving; the last reload was refused, the log says why",
        },
    );
}

/// Lets go of what is in flight; a second signal cuts it.
async fn drain(control: &Control, signals: &mut Signals) {
    tracing::info!("draining: no new connections");
    if std::io::stderr().is_terminal() {
        tracing::info!("a second signal ends what is still in flight");
    }
    tokio::select! {
        drained = control.drain() => match drained {
            true => tracing::info!("drained"),
            false => tracing::warn!("the drain timeout is over: connections in flight are cut"),
        },
        () = Signals::leave(&mut signals.terminate, &mut signals.interrupt) => {
            tracing::warn!("told twice: connections in flight are cut");
        }
    }
}

impl Failure {
    fn system<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Failure {
        move |error| Failure(vec![format!("{what} can't be had: {error}")])
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Failure {
        Failure(rejected.problems)
    }
}
