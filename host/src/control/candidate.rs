//! The second half of a candidate: instances are made and configured, and a site for each worker is put together from
//! them. Nothing here touches what runs.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::ids::{Generation, PluginIndex, PoolIndex};
use crate::config::checked::{
    HttpVersion, OnFailure, Plugin, PluginSource, PluginUse, Pool, ProxyOut, Route,
};
use crate::config::edits::Edits;
use crate::config::{Config, Problem, Problems};
use crate::hook::ServerView;
use crate::http::h2 as http2;
use crate::net::proxy;
use crate::pipeline::{
    Doorkeeper, Entrance, Filter, ListenerSite, PoolSite, RouteSite, ServerSite, Site,
};
use crate::plugin::{self, Plan, PrepareError, Prepared, Roles, Seed, WorkerPlugin};
use crate::tls;
use crate::upstream::Server;

use super::discover;
use super::draft::{Draft, Loaded};
use super::generation::{Fingerprint, Hold, Kept, Running, RunningPlugin, Secured, Upload};

/// A generation that is complete and runs nowhere yet.
pub struct Candidate {
    pub running: Running,
    pub uploads: HashMap<String, Upload>,
    /// One a worker.
    pub parts: Vec<WorkerParts>,
    /// The plugins whose instances are new.
    pub fresh: Vec<String>,
    /// New instances that judge probes, for the thread that makes these.
    pub judges: Vec<(Fingerprint, Seed)>,
}

/// What a worker needs to make its site.
pub struct WorkerParts {
    generation: Generation,
    config: Arc<Config>,
    servers: Arc<Vec<Vec<Arc<Server>>>>,
    tls: Secured,
    /// By plugin: its instance, or none where the one that runs lives on.
    seeds: Vec<(Fingerprint, Roles, Option<Seed>)>,
    /// Servers that are news to the instances that live on.
    news: Arc<Vec<(PoolIndex, Vec<ServerView>)>>,
}

/// The state of the instances that a plugin's new ones follow, by plugin name.
pub type Snapshots = HashMap<String, Vec<Vec<u8>>>;

impl Candidate {
    /// Blocks: instantiates and configures.
    pub fn prepare(
        kept: &Kept,
        draft: Draft,
        generation: Generation,
        mut snapshots: Snapshots,
    ) -> Result<Candidate, Problems> {
        let Draft {
            written,
            config,
            edits,
            servers,
            parts,
            mut problems,
            tls,
            warnings,
            uploads,
        } = draft;
        let mut plugins = Vec::with_capacity(parts.len());
        for (index, part) in parts.into_iter().enumerate() {
            let Some(loaded) = part else { continue };
            let inherited = snapshots.remove(&loaded.settings.name).unwrap_or_default();
            match instances(kept, loaded, generation, inherited) {
                Ok(plugin) => plugins.push(plugin),
                Err((name, error)) => problems.push(refusal(&config, index, &name, &error)),
            }
        }
        problems.or(())?;
        for warning in warnings {
            tracing::warn!(remedy = warning.remedy, "{}", warning.message);
        }
        Ok(assemble(
            kept,
            generation,
            (written, config, edits),
            (servers, tls),
            plugins,
            uploads,
        ))
    }
}

pub(super) type Instances = (RunningPlugin, Option<Vec<Seed>>);

fn instances(
    kept: &Kept,
    loaded: Loaded,
    generation: Generation,
    snapshots: Vec<Vec<u8>>,
) -> Result<Instances, (String, PrepareError)> {
    let Loaded {
        artifact,
        wasm,
        source,
        settings,
        updates,
        fingerprint,
        running,
    } = loaded;
    if let Some(running) = running {
        return Ok((RunningPlugin { source, ..running }, None));
    }
    let name = settings.name.clone();
    let plan = Plan {
        artifact: &artifact,
        settings,
        updates,
        snapshots,
        // One more for the thread that probes.
        workers: kept.workers + usize::from(artifact.roles().health || artifact.roles().prober),
    };
    let Prepared { seeds, shared } =
        plugin::prepare(&kept.runtime, plan).map_err(|error| (name.clone(), error))?;
    let plugin = RunningPlugin {
        name,
        fingerprint,
        artifact,
        wasm,
        shared,
        source,
        since: generation,
    };
    Ok((plugin, Some(seeds)))
}

fn refusal(config: &Config, index: usize, name: &str, error: &PrepareError) -> Problem {
    let plugin = &config.plugins[index];
    let (span, remedy) = match error {
        PrepareError::Settings(words) => match refused_route(config, plugin, words) {
            Some(route) => (&route.span, "correct the route"),
            None => (
                &plugin.config_span,
                "the plugin's README, or its author, tells what its settings are",
            ),
        },
        _ => (
            &plugin.span,
            "`tidegate plugin test` runs a plugin by itself",
        ),
    };
    Problem::at(span.clone(), format!("plugin \"{name}\": {error}"), remedy)
}

/// The shipped router gets the file's routes for settings, and says which one it refuses: ``route `NAME`: …``.
fn refused_route<'a>(config: &'a Config, plugin: &Plugin, words: &str) -> Option<&'a Route> {
    if plugin.source != PluginSource::Shipped("router".to_owned()) {
        return None;
    }
    let rest = words.strip_prefix("route `")?;
    let mut routes = config.routes.iter();
    routes.find(|route| {
        let rest = rest.strip_prefix(route.name.as_str());
        rest.is_some_and(|rest| rest.starts_with("`:"))
    })
}

pub(super) fn assemble(
    kept: &Kept,
    generation: Generation,
    (written, config, edits): (Arc<Config>, Arc<Config>, Edits),
    (servers, tls): (Vec<Vec<Arc<Server>>>, Secured),
    plugins: Vec<Instances>,
    uploads: HashMap<String, Upload>,
) -> Candidate {
    let mut by_worker: Vec<_> = (0..kept.workers)
        .map(|_| Vec::with_capacity(plugins.len()))
        .collect();
    let mut judges = Vec::new();
    let mut running = Vec::with_capacity(plugins.len());
    let mut fresh = Vec::new();
    for (plugin, seeds) in plugins {
        if seeds.is_some() {
            fresh.push(plugin.name.clone());
        }
        let mut seeds = seeds.map(Vec::into_iter);
        for of_worker in &mut by_worker {
            let seed = seeds.as_mut().and_then(Iterator::next);
            of_worker.push((plugin.fingerprint, plugin.artifact.roles(), seed));
        }
        let left = seeds.as_mut().and_then(Iterator::next);
        judges.extend(left.map(|seed| (plugin.fingerprint, seed)));
        running.push(plugin);
    }
    let running = Running {
        generation,
        written,
        config,
        edits,
        plugins: running,
        servers,
        tls,
    };
    let news = Arc::new(discover::news(kept.running.as_deref(), &running, &fresh));
    let servers = Arc::new(running.servers.clone());
    let parts = by_worker.into_iter().map(|seeds| WorkerParts {
        generation,
        config: running.config.clone(),
        servers: servers.clone(),
        tls: running.tls.clone(),
        seeds,
        news: news.clone(),
    });
    Candidate {
        parts: parts.collect(),
        running,
        uploads,
        fresh,
        judges,
    }
}

impl WorkerParts {
    /// Called on the worker. `previous` is the site whose instances live on where nothing changed.
    pub fn site(self, previous: Option<&Rc<Site>>) -> Rc<Site> {
        let WorkerParts {
            generation,
            config,
            servers,
            tls,
            seeds,
            news,
        } = self;
        let before = previous.and_then(|site| site.hold.downcast_ref::<Hold>());
        let mut held = Vec::with_capacity(seeds.len());
        let mut roles = Vec::with_capacity(seeds.len());
        for (fingerprint, its_roles, seed) in seeds {
            let plugin = match seed {
                Some(seed) => seed.adopt(),
                None => before
                    .and_then(|hold| hold.find(&fingerprint))
                    .expect("a draft keeps only what the current generation runs, and changes come one at a time"),
            };
            held.push((fingerprint, plugin));
            roles.push(its_roles);
        }
        let instances = OnWorker {
            config: &config,
            held: &held,
            roles: &roles,
        };
        let captures = &config.log.captures;
        let site = Rc::new(Site {
            generation,
            listeners: config
                .listeners
                .iter()
                .zip(&tls.listeners)
                .map(|(l, tls)| instances.listener(l, tls.clone()))
                .collect(),
            routes: config.routes.iter().map(|r| instances.route(r)).collect(),
            pools: config
                .pools
                .iter()
                .zip(&*servers)
                .zip(&tls.pools)
                .map(|((p, s), tls)| instances.pool(p, s, tls.as_deref()))
                .collect(),
            trusted_proxies: config.proxy.trusted_proxies.clone(),
            sampling: config.tracing.as_ref().map(|tracing| tracing.sampling),
            captures: captures.any().then(|| Rc::new(captures.clone())),
            drain_timeout: config.proxy.drain_timeout,
            retry_bodies: config.proxy.retry_bodies,
            hold: Box::new(Hold(held)),
        });
        // Balancers know the new servers from here on, and what is on its way by the old site must not blame them for it.
        previous.into_iter().for_each(|old| old.retire());
        discover::tell_balancers(&site, &news);
        site
    }
}

fn granted(granted: &crate::config::checked::Http2) -> http2::Settings {
    http2::Settings {
        max_streams: granted.max_concurrent_streams,
        window: granted.initial_window,
    }
}

/// The instances of one worker, in the order of `config.plugins`.
struct OnWorker<'a> {
    config: &'a Config,
    held: &'a [(Fingerprint, Rc<WorkerPlugin>)],
    roles: &'a [Roles],
}

/// The PROXY line that a pool's servers get.
pub fn proxy_line(pool: &Pool) -> Option<proxy::Version> {
    match pool.proxy_protocol {
        ProxyOut::Off => None,
        ProxyOut::V1 => Some(proxy::Version::V1),
        ProxyOut::V2 => Some(proxy::Version::V2),
    }
}

impl OnWorker<'_> {
    fn listener(
        &self,
        listener: &crate::config::checked::Listener,
        tls: Option<Arc<tls::Server>>,
    ) -> ListenerSite {
        ListenerSite {
            name: listener.name.as_str().into(),
            filters: self.filters(&listener.filters),
            router: listener.router.as_ref().map(|router| {
                let plugin: Rc<dyn crate::hook::Router> = self.plugin(router.value);
                (self.name(router.value), plugin)
            }),
            pool: listener.pool,
            max_head: listener.max_head,
            min_body_rate: listener.min_body_rate,
            max_body: listener.max_body,
            compression: listener.compression.clone(),
            error_pages: listener.error_pages.clone(),
            http2: listener.http2.as_ref().map(granted),
            timeouts: listener.timeouts.clone(),
            abort_on_close: listener.abort_on_close,
            tls,
            entrance: self.entrance(listener),
        }
    }

    fn entrance(&self, listener: &crate::config::checked::Listener) -> Entrance {
        let connect = listener.connect.iter().map(|used| Doorkeeper {
            name: self.name(used.value),
            plugin: self.plugin(used.value),
            on_failure: self.on_failure(used.value),
        });
        Entrance {
            mode: listener.mode,
            proxy_protocol: listener.proxy_protocol,
            tls_passthrough: listener.tls_passthrough,
            connect: connect.collect(),
        }
    }

    fn route(&self, route: &crate::config::checked::Route) -> RouteSite {
        RouteSite {
            name: route.name.as_str().into(),
            filters: self.filters(&route.filters),
            pools: route.pools.clone(),
            access_log: route.access_log,
        }
    }

    fn pool(
        &self,
        pool: &crate::config::checked::Pool,
        servers: &[Arc<Server>],
        tls: Option<&tls::Client>,
    ) -> PoolSite {
        let balancer: Rc<dyn crate::hook::Balancer> = self.plugin(pool.balancer.value);
        let servers = pool
            .servers
            .iter()
            .zip(servers)
            .map(|(written, live)| ServerSite {
                live: live.clone(),
                name: written.name.as_str().into(),
                address: written.address.as_str().into(),
                weight: written.weight,
                backup: written.backup,
                tls: tls.and_then(|tls| tls.to(&written.tls_address())),
                host: written.resolved_from.as_deref().map(Into::into),
                http2: pool.http == HttpVersion::Http2,
            });
        let mut site = PoolSite::new(
            pool.name.as_str().into(),
            (self.name(pool.balancer.value), balancer),
            servers.collect(),
            pool.timeouts.clone(),
            pool.retries,
        );
        site.passive = pool.passive.clone();
        site = site.with_retry(pool.retry.clone()).with_limits(pool);
        site.on_marked_down = pool.on_marked_down;
        if let Some(sticky) = &pool.sticky {
            site = site.with_sticky(self.name(sticky.value), self.plugin(sticky.value));
        }
        site.with_proxy_lines(proxy_line(pool))
    }

    fn filters(&self, uses: &[PluginUse]) -> Vec<Filter> {
        uses.iter().map(|used| self.filter(used.value)).collect()
    }

    fn filter(&self, index: PluginIndex) -> Filter {
        let roles = self.roles[index.0 as usize];
        Filter {
            name: self.name(index),
            request: roles
                .request_filter
                .then(|| self.plugin(index) as Rc<dyn crate::hook::RequestFilter>),
            response: roles
                .response_filter
                .then(|| self.plugin(index) as Rc<dyn crate::hook::ResponseFilter>),
            on_failure: self.on_failure(index),
        }
    }

    fn on_failure(&self, index: PluginIndex) -> OnFailure {
        let written = &self.config.plugins[index.0 as usize];
        written.on_failure.unwrap_or(OnFailure::Reject)
    }

    fn plugin(&self, index: PluginIndex) -> Rc<WorkerPlugin> {
        self.held[index.0 as usize].1.clone()
    }

    fn name(&self, index: PluginIndex) -> Rc<str> {
        self.config.plugins[index.0 as usize].name.as_str().into()
    }
}
