//! The first half of a candidate: every plugin of a configuration is read, pinned, compiled and held against the roles that
//! it is used in. All that is wrong is noted with its place; nothing stops at the first problem.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::base::ids::{PluginIndex, PoolIndex};
use crate::config::checked::{self, PluginSource, PluginUse};
use crate::config::edits::Edits;
use crate::config::problem::Span;
use crate::config::{Config, Problem, Problems};
use crate::hook::{ServerState, ServerView};
use crate::plugin::{Artifact, Membership, Roles, Settings};
use crate::shipped;
use crate::upstream::{Server, live::Identity};

use super::generation::{Fingerprint, Kept, RunningPlugin, Secured, Upload};
use super::secure;

/// The largest `.wasm` that is read.
pub const MOST_WASM_BYTES: u64 = 64 << 20;

/// The live table's unit: a weight of 1 in full.
pub const FULL_WEIGHT: u32 = 256;

pub struct Draft {
    /// What the file says.
    pub written: Arc<Config>,
    /// With what was changed at run time.
    pub config: Arc<Config>,
    /// The changes that are still in force.
    pub edits: Edits,
    pub servers: Vec<Vec<Arc<Server>>>,
    /// In the order of `config.plugins`.
    pub parts: Vec<Part>,
    pub problems: Problems,
    pub tls: Secured,
    /// What is no good, but no reason to refuse a configuration that is to run.
    pub warnings: Vec<Problem>,
    /// The uploads that are still in force.
    pub uploads: HashMap<String, Upload>,
}

/// A plugin of a draft. None where it could not be loaded; the problem is noted.
pub type Part = Option<Loaded>;

pub struct Loaded {
    pub artifact: Arc<Artifact>,
    pub wasm: Arc<[u8]>,
    pub source: String,
    pub settings: Settings,
    pub updates: Vec<Membership>,
    pub fingerprint: Fingerprint,
    /// The same plugin, with nothing changed, where it runs already and runs well.
    pub running: Option<RunningPlugin>,
}

/// A plugin's code.
struct Code {
    artifact: Arc<Artifact>,
    wasm: Arc<[u8]>,
    /// What to call where it came from.
    source: String,
}

/// Where a draft has plugins and certificates from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// What the configuration names, as it is on disk now.
    Disk,
    /// What runs: the file is the same, and what has become of other files since is a reload's affair.
    Running,
}

impl Draft {
    /// Blocks: compiles.
    pub fn new(kept: &Kept, written: Arc<Config>, basis: Basis) -> Draft {
        let (config, edits) = kept.edits.applied(&written);
        let mut draft = Draft {
            problems: Problems::new(config.source.clone()),
            servers: Vec::new(),
            parts: Vec::new(),
            tls: Secured::default(),
            warnings: Vec::new(),
            uploads: HashMap::new(),
            written,
            config,
            edits,
        };
        draft.enter_servers(kept);
        draft.load_plugins(kept, basis);
        draft.check_roles();
        draft.secure(kept, basis);
        draft
    }

    /// For a trial: what is no good is a problem.
    pub fn strict(mut self) -> Draft {
        self.problems.list.append(&mut self.warnings);
        self
    }

    fn secure(&mut self, kept: &Kept, basis: Basis) {
        let secured = secure::all(kept, &self.config, basis);
        self.tls = secured.tls;
        self.problems.list.extend(secured.problems);
        self.warnings = secured.warnings;
    }

    fn enter_servers(&mut self, kept: &Kept) {
        let config = self.config.clone();
        for pool in &config.pools {
            let servers = enter_pool(kept, pool).unwrap_or_else(|problem| {
                self.problems.push(problem);
                Vec::new()
            });
            self.servers.push(servers);
        }
    }

    fn load_plugins(&mut self, kept: &Kept, basis: Basis) {
        let config = self.config.clone();
        for (index, plugin) in config.plugins.iter().enumerate() {
            let code = match basis {
                Basis::Running => self.running(kept, plugin).map(Ok),
                Basis::Disk => None,
            };
            let part = match code.unwrap_or_else(|| self.load(kept, plugin)) {
                Ok(code) => Some(self.describe(kept, index, code)),
                Err((message, remedy)) => {
                    self.problem(&plugin.source_span, message, remedy);
                    None
                }
            };
            self.parts.push(part);
        }
    }

    /// The code that runs. None: this plugin is new, or was given other code.
    fn running(&mut self, kept: &Kept, plugin: &checked::Plugin) -> Option<Code> {
        let running = kept.running.as_ref()?.plugin(&plugin.name)?;
        if let Some(upload) = kept.uploads.get(&plugin.name) {
            if !Arc::ptr_eq(&upload.wasm, &running.wasm) {
                return None;
            }
            self.uploads.insert(plugin.name.clone(), upload.clone());
        }
        Some(Code {
            artifact: running.artifact.clone(),
            wasm: running.wasm.clone(),
            source: running.source.clone(),
        })
    }

    /// The plugin's code, or what is wrong, and the remedy.
    fn load(&mut self, kept: &Kept, plugin: &checked::Plugin) -> Result<Code, (String, String)> {
        let named = read(&plugin.name, &plugin.source);
        let named_hash = named.as_ref().ok().map(|(wasm, _)| hash(wasm));
        let upload = kept
            .uploads
            .get(&plugin.name)
            .filter(|up| up.instead_of == named_hash);
        let (wasm, source) = match upload {
            Some(upload) => {
                self.uploads.insert(plugin.name.clone(), upload.clone());
                (upload.wasm.clone(), "uploaded".to_owned())
            }
            None => named?,
        };
        check_pin(plugin, &wasm)?;
        let artifact = kept.runtime.load(&wasm).map_err(|error| {
            (
                format!(
                    "plugin \"{}\" ({source}) can't be used: {}",
                    plugin.name, error.message
                ),
                error.remedy,
            )
        })?;
        Ok(Code {
            artifact,
            wasm,
            source,
        })
    }

    fn describe(&self, kept: &Kept, index: usize, code: Code) -> Loaded {
        let Code {
            artifact,
            wasm,
            source,
        } = code;
        let plugin = &self.config.plugins[index];
        let config = match &plugin.source {
            PluginSource::Shipped(name) if name == "router" => with_routes(&self.config, plugin),
            _ => plugin.config.clone(),
        };
        let settings = Settings {
            name: plugin.name.clone(),
            config: config.to_string(),
            pools: self
                .config
                .pools
                .iter()
                .map(|pool| pool.name.clone())
                .collect(),
            routes: self
                .config
                .routes
                .iter()
                .map(|route| route.name.clone())
                .collect(),
            cpu_limit: plugin.cpu_limit,
            memory: plugin.memory,
            fetch_grants: plugin.fetch_grants.clone(),
        };
        // A balancer that is none is reported as that, not also as one that fails.
        let updates = match artifact.roles().any_balancer() {
            true => self.memberships(PluginIndex(index as u32)),
            false => Vec::new(),
        };
        // Of what the file says alone: an instance that lives on hears of the servers' states as they change.
        let fixed = self.without_discovered(&updates);
        let fingerprint = fingerprint(&artifact, &settings, &fixed, kept.workers);
        let updates = self.with_states(updates);
        let running = kept
            .running
            .as_ref()
            .and_then(|running| running.plugin(&plugin.name))
            .filter(|known| known.fingerprint == fingerprint && known.shared.quarantined() == 0)
            .cloned();
        Loaded {
            artifact,
            wasm,
            source,
            settings,
            updates,
            fingerprint,
            running,
        }
    }

    /// The servers of each pool that this plugin balances.
    fn memberships(&self, plugin: PluginIndex) -> Vec<Membership> {
        let pools = self.config.pools.iter().zip(&self.servers).enumerate();
        pools
            .filter(|(_, (pool, _))| pool.balancer.value == plugin)
            .map(|(index, (pool, servers))| Membership {
                pool: PoolIndex(index as u32),
                servers: pool.servers.iter().zip(servers).map(view).collect(),
            })
            .collect()
    }

    /// Servers that come and go by themselves are no reason for new instances: those that run are told.
    fn without_discovered(&self, updates: &[Membership]) -> Vec<Membership> {
        let mut fixed = updates.to_vec();
        for membership in &mut fixed {
            let pool = &self.config.pools[membership.pool.0 as usize];
            if pool.discovered.is_some() {
                membership.servers.clear();
            }
        }
        fixed
    }

    /// The servers as they are now.
    fn with_states(&self, mut updates: Vec<Membership>) -> Vec<Membership> {
        for membership in &mut updates {
            let live = &self.servers[membership.pool.0 as usize];
            for (view, live) in membership.servers.iter_mut().zip(live) {
                view.state = live.vitals.state();
            }
        }
        updates
    }

    fn check_roles(&mut self) {
        let config = self.config.clone();
        for listener in &config.listeners {
            for plugin in &listener.connect {
                self.check_role(plugin, "connect plugin", |roles| roles.connect);
            }
            self.check_filters(&listener.filters);
            if let Some(router) = &listener.router {
                self.check_role(router, "router", |roles| roles.router);
            }
        }
        for route in &config.routes {
            self.check_filters(&route.filters);
        }
        for pool in &config.pools {
            self.check_role(&pool.balancer, "balancer", Roles::any_balancer);
            if let Some(sticky) = &pool.sticky {
                self.check_role(sticky, "sticky plugin", |roles| roles.sticky);
            }
            if let Some(judge) = &pool.judge {
                self.check_role(judge, "judge of probes", |roles| roles.health);
            }
            if let Some(prober) = &pool.prober {
                self.check_role(prober, "prober", |roles| roles.prober);
            }
        }
    }

    fn check_filters(&mut self, filters: &[PluginUse]) {
        for filter in filters {
            self.check_role(filter, "filter", |roles| {
                roles.request_filter || roles.response_filter
            });
        }
    }

    fn check_role(&mut self, used: &PluginUse, role: &str, has: impl Fn(&Roles) -> bool) {
        let index = used.value.0 as usize;
        let Some(loaded) = &self.parts[index] else {
            return;
        };
        if has(&loaded.artifact.roles()) {
            return;
        }
        let name = &self.config.plugins[index].name;
        let message = format!("plugin \"{name}\" is no {role}");
        let remedy = format!("it has these roles: {}", loaded.artifact.roles());
        self.problem(&used.span, message, remedy);
    }

    fn problem(&mut self, span: &Span, message: String, remedy: String) {
        self.problems
            .push(Problem::at(span.clone(), message, remedy));
    }
}

/// The servers of a pool. Err: there are too many.
pub(super) fn enter_pool(kept: &Kept, pool: &checked::Pool) -> Result<Vec<Arc<Server>>, Problem> {
    let servers = pool.servers.iter();
    let servers = servers.map(|server| enter(kept, &pool.name, server));
    servers.collect::<Option<_>>().ok_or_else(|| {
        Problem::at(
            pool.span.clone(),
            format!(
                "pool \"{}\" has more servers than there is room for",
                pool.name
            ),
            format!(
                "at most {} servers in all, those of configurations that still drain included",
                crate::upstream::live::MOST_SERVERS
            ),
        )
    })
}

/// The server, with its counters where it is known. One that is new gets its weight at once, for the calls that warm a
/// balancer up; one that runs keeps it until the candidate does.
pub(super) fn enter(kept: &Kept, pool: &str, server: &checked::Server) -> Option<Arc<Server>> {
    let identity = Identity {
        pool: pool.to_owned(),
        name: server.name.clone(),
        address: server.address.clone(),
    };
    let live = kept.live.server(identity)?;
    if Arc::strong_count(&live) == 1 {
        live.set_weight(server.weight * FULL_WEIGHT);
    }
    Some(live)
}

/// The hash of what the config names for this plugin; or why it can't be had.
pub fn named_hash(plugin: &checked::Plugin) -> Result<[u8; 32], String> {
    let (wasm, _) = read(&plugin.name, &plugin.source).map_err(|(message, _)| message)?;
    Ok(hash(&wasm))
}

fn hash(wasm: &[u8]) -> [u8; 32] {
    Sha256::digest(wasm).into()
}

type Bytes = Arc<[u8]>;

fn read(name: &str, source: &PluginSource) -> Result<(Bytes, String), (String, String)> {
    match source {
        PluginSource::Shipped(shipped) => {
            let wasm = shipped::get(shipped).ok_or_else(|| {
                let known: Vec<_> = shipped::names().collect();
                (
                    format!("plugin \"{name}\": there is no shipped plugin \"{shipped}\""),
                    format!("shipped are: {}", known.join(", ")),
                )
            })?;
            Ok((wasm.into(), format!("shipped {shipped}")))
        }
        PluginSource::File { path, .. } => {
            let shown = path.display();
            let failed = |error: String| {
                (
                    format!("plugin \"{name}\": {shown} can't be read: {error}"),
                    "name a `.wasm` file; a relative path begins at the config file's folder"
                        .to_owned(),
                )
            };
            let size = fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
            if size > MOST_WASM_BYTES {
                return Err(failed(format!(
                    "it has {size} bytes, over the bound of 64 MiB"
                )));
            }
            let wasm = fs::read(path).map_err(|e| failed(e.to_string()))?;
            Ok((wasm.into(), shown.to_string()))
        }
    }
}

fn check_pin(plugin: &checked::Plugin, wasm: &[u8]) -> Result<(), (String, String)> {
    let PluginSource::File {
        sha256: Some(pin), ..
    } = &plugin.source
    else {
        return Ok(());
    };
    let found = hash(wasm);
    if found == *pin {
        return Ok(());
    }
    Err((
        format!(
            "plugin \"{}\" is not the file that `sha256` pins",
            plugin.name
        ),
        format!("if this file is meant, write sha256 = \"{}\"", hex(&found)),
    ))
}

/// The shipped router reads `[[route]]`, beside settings of its own.
fn with_routes(config: &Config, plugin: &checked::Plugin) -> serde_json::Value {
    let mut settings = crate::config::router_settings(config);
    if let (Some(all), Some(own)) = (settings.as_object_mut(), plugin.config.as_object()) {
        all.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    settings
}

/// A pool's servers as they are now.
pub(super) fn views(pool: &checked::Pool, servers: &[Arc<Server>]) -> Vec<ServerView> {
    let pairs = pool.servers.iter().zip(servers);
    pairs
        .map(|pair| ServerView {
            state: pair.1.vitals.state(),
            ..view(pair)
        })
        .collect()
}

pub(super) fn view((written, server): (&checked::Server, &Arc<Server>)) -> ServerView {
    ServerView {
        slot: server.slot(),
        name: written.name.clone(),
        address: written.address.clone(),
        weight: written.weight,
        state: ServerState::Ready,
        backup: written.backup,
        labels: written.labels.clone(),
    }
}

fn fingerprint(
    artifact: &Artifact,
    settings: &Settings,
    updates: &[Membership],
    workers: usize,
) -> Fingerprint {
    let mut hash = Sha256::new();
    hash.update(artifact.sha256());
    hash.update(format!("{settings:?}{updates:?}{workers}"));
    hash.finalize().into()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
