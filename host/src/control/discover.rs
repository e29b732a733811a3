//! Servers that come and go by themselves: what names stand for, and servers files. Each change of them is a candidate like
//! any other, but for what can't have changed: plugins' instances, sockets and certificates of the running generation live
//! on, and balancers are told of the new members as the worker takes them up.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::base::ids::{Generation, PoolIndex};
use crate::config::checked;
use crate::config::edits::Edits;
use crate::config::lookup::Lookup;
use crate::config::{Config, Problems, servers_file};
use crate::discovery::Answers;
use crate::hook::ServerView;
use crate::pipeline::Site;
use crate::upstream::Server;

use super::candidate::{self, Candidate};
use super::change::{Applied, Rejected};
use super::draft::{self, Basis};
use super::generation::{Kept, Running};
use super::run::{Loop, blocking, invalid};
use super::secure;

impl Loop {
    /// With what is known of its names, once they have been asked for.
    pub(super) async fn resolved(&self, written: Arc<Config>) -> Arc<Config> {
        let wanted = lookups(&written);
        let any = !wanted.is_empty();
        self.shared.names.follow(wanted, &written.dns);
        if any {
            self.shared.names.settle(written.dns.wait).await;
        }
        if written.pools.iter().all(|pool| pool.discovered.is_none()) {
            return written;
        }
        let mut config = Arc::unwrap_or_clone(written);
        resolve(&mut config, &self.shared.names.answers());
        Arc::new(config)
    }

    /// After a candidate was refused: the names of what runs on are followed again.
    pub(super) fn follow_again(&self) {
        if let Some(running) = &self.kept.running {
            let config = &running.config;
            self.shared.names.follow(lookups(config), &config.dns);
        }
    }

    /// Servers files are watched whether the configuration is or not, those of what runs beside those of a candidate.
    pub(super) fn watch_servers_files(&mut self, config: &Config) {
        let files: Vec<_> = servers_files(config).map(|(_, file)| file).collect();
        if files.is_empty() {
            return;
        }
        if self.servers_files.is_none() {
            match super::watch::Watch::new() {
                Ok(watch) => self.servers_files = Some(watch),
                Err(error) => {
                    tracing::error!(%error, "servers files can't be watched; they are read with each reload")
                }
            }
        }
        if let Some(watch) = &mut self.servers_files {
            watch.follow_files(files);
        }
    }

    /// Where what runs has no servers file any more, none is watched.
    pub(super) fn watch_no_more(&mut self, running: &Config) {
        if servers_files(running).next().is_none() {
            self.servers_files = None;
        }
    }

    /// What names stand for has changed.
    pub(super) async fn names_have_changed(&mut self) {
        let config = self.running().written.clone();
        let begun = Instant::now();
        if let Err(rejected) = self.with_members(config, begun).await {
            for problem in rejected.problems {
                tracing::error!("the servers that DNS names now can't be used\n{problem}");
            }
        }
    }

    /// A servers file has changed: those that can be read are in force, of the others the former servers stay.
    pub(super) async fn servers_files_have_changed(&mut self) {
        let begun = Instant::now();
        let mut config = Config::clone(&self.running().written);
        let read = blocking(move || {
            let problems = read_again(&mut config);
            (config, problems)
        });
        let (config, problems) = match read.await {
            Ok(read) => read,
            Err(rejected) => return self.tell_of_servers_file(begun, &Err(rejected)),
        };
        self.shared.servers_files_are(&problems);
        let result = self.with_members(Arc::new(config), begun).await;
        let result = match problems.is_empty() {
            true => result,
            false => {
                let others = result.err().map(|rejected| rejected.problems);
                let problems = problems.into_iter().flat_map(|(_, texts)| texts);
                Err(Rejected {
                    cause: super::Cause::Invalid,
                    problems: problems.chain(others.into_iter().flatten()).collect(),
                })
            }
        };
        self.tell_of_servers_file(begun, &result);
    }

    fn tell_of_servers_file(&self, begun: Instant, result: &Result<Applied, Rejected>) {
        let problems = result.as_ref().err().map(|rejected| &rejected.problems);
        for problem in problems.into_iter().flatten() {
            tracing::error!("servers file rejected; the former servers stay\n{problem}");
        }
        self.shared
            .remember_change("servers file", "watched file", begun.elapsed(), result);
    }

    /// Puts other servers in the place of those that run, where there are others.
    async fn with_members(
        &mut self,
        written: Arc<Config>,
        begun: Instant,
    ) -> Result<Applied, Rejected> {
        let written = self.resolved(written).await;
        let running = self.running();
        let same = |(now, new): (&checked::Pool, &checked::Pool)| {
            now.servers == new.servers && now.discovered == new.discovered
        };
        if running.written.pools.iter().zip(&written.pools).all(same) {
            return Ok(Applied {
                generation: running.generation,
                took: begun.elapsed(),
                plugins: Vec::new(),
            });
        }
        let (config, edits) = self.kept.edits.applied(&written);
        let applied = match same_plugins(&running.config, &config) {
            true => self.with_these(written, config, edits, begun).await?,
            false => {
                self.install_resolved(written, Basis::Running, begun)
                    .await?
            }
        };
        let new = self.running();
        tell(&running, &new);
        self.end_sessions(&running, &new);
        Ok(applied)
    }

    async fn with_these(
        &mut self,
        written: Arc<Config>,
        config: Arc<Config>,
        edits: Edits,
        begun: Instant,
    ) -> Result<Applied, Rejected> {
        let kept = self.kept.clone();
        let built = blocking(move || of_members(&kept, written, config, edits)).await?;
        let candidate = built.map_err(|problems| {
            self.follow_again();
            invalid(problems)
        })?;
        let new = self.adopt(candidate, None).await;
        Ok(Applied {
            generation: new.generation,
            took: begun.elapsed(),
            plugins: Vec::new(),
        })
    }

    /// Of servers that are gone, where sessions are to end with a server that is down.
    fn end_sessions(&self, before: &Running, now: &Running) {
        let staying: HashSet<_> = now.servers.iter().flatten().map(|s| s.slot()).collect();
        let gone = before.servers.iter().flatten();
        for server in gone.filter(|server| !staying.contains(&server.slot())) {
            for worker in &self.workers {
                worker.server_is_down(server.slot());
            }
        }
    }
}

/// Weights that were changed at run time may want another balancer by default.
fn same_plugins(now: &Config, new: &Config) -> bool {
    let balancers = |config: &Config| -> Vec<_> {
        config
            .pools
            .iter()
            .map(|pool| pool.balancer.value)
            .collect()
    };
    now.plugins.len() == new.plugins.len() && balancers(now) == balancers(new)
}

/// The names that a configuration wants looked up.
fn lookups(config: &Config) -> HashSet<Lookup> {
    let dynamic = config.pools.iter().filter(|pool| pool.discovered.is_some());
    let servers = dynamic.flat_map(checked::Pool::written_servers);
    servers.filter_map(checked::Server::lookup).collect()
}

fn servers_files(config: &Config) -> impl Iterator<Item = (&str, PathBuf)> {
    config.pools.iter().filter_map(|pool| {
        let file = pool.discovered.as_ref()?.file.clone()?;
        Some((pool.name.as_str(), file))
    })
}

/// Puts in the place of each name the servers that it stands for.
pub(super) fn resolve(config: &mut Config, answers: &Answers) {
    for pool in &mut config.pools {
        let Some(discovered) = &pool.discovered else {
            continue;
        };
        let mut servers = Vec::new();
        for written in pool.written_servers() {
            let Some(lookup) = written.lookup() else {
                servers.push(written.clone());
                continue;
            };
            let found = answers.get(&lookup).map_or(&[][..], Vec::as_slice);
            if found.len() > discovered.most {
                tracing::warn!(
                    pool = pool.name,
                    name = lookup.name(),
                    addresses = found.len(),
                    max_addresses = discovered.most,
                    "name stands for more addresses than may be used; the rest are left out"
                );
            }
            let used = found.iter().take(discovered.most);
            servers.extend(used.map(|found| written.found_at(found)));
        }
        pool.servers = servers;
    }
}

/// Reads the servers files again; what is wrong with them, by pool. Where something is, what was listed stays. Blocks.
fn read_again(config: &mut Config) -> Vec<(String, Vec<String>)> {
    let folder = config.source.folder().to_owned();
    let mut problems = Vec::new();
    for pool in &mut config.pools {
        let Some(discovered) = &mut pool.discovered else {
            continue;
        };
        let Some(file) = &discovered.file else {
            continue;
        };
        match servers_file::read(file, &folder, &discovered.own) {
            Ok(listed) => discovered.listed = listed,
            Err(found) => problems.push((pool.name.clone(), found.render(false))),
        }
    }
    problems
}

/// What runs, with the servers of this configuration, which differs in nothing else. Blocks: may read certificates.
fn of_members(
    kept: &Kept,
    written: Arc<Config>,
    config: Arc<Config>,
    edits: Edits,
) -> Result<Candidate, Problems> {
    let running = kept
        .running
        .as_ref()
        .expect("members change while something runs");
    let mut problems = Problems::new(config.source.clone());
    let mut servers = Vec::with_capacity(config.pools.len());
    for pool in &config.pools {
        let entered = draft::enter_pool(kept, pool);
        servers.push(entered.unwrap_or_else(|problem| {
            problems.push(problem);
            Vec::new()
        }));
    }
    let secured = secure::all(kept, &config, Basis::Running);
    problems.list.extend(secured.problems);
    problems.or(())?;
    let plugins = running.plugins.iter();
    let plugins = plugins.map(|plugin| (plugin.clone(), None)).collect();
    let generation = Generation(running.generation.0 + 1);
    let uploads = kept.uploads.clone();
    Ok(candidate::assemble(
        kept,
        generation,
        (written, config, edits),
        (servers, secured.tls),
        plugins,
        uploads,
    ))
}

/// What balancers whose instances live on have to be told of their pools.
pub(super) fn news(
    before: Option<&Running>,
    now: &Running,
    fresh: &[String],
) -> Vec<(PoolIndex, Vec<ServerView>)> {
    let Some(before) = before else {
        return Vec::new();
    };
    let pools = now.config.pools.iter().zip(&now.servers).enumerate();
    let pools = pools.filter(|(_, (pool, servers))| {
        let balancer = &now.config.plugins[pool.balancer.value.0 as usize].name;
        !fresh.contains(balancer) && !is_as_it_was(before, pool, servers)
    });
    pools
        .map(|(index, (pool, servers))| (PoolIndex(index as u32), draft::views(pool, servers)))
        .collect()
}

fn is_as_it_was(before: &Running, pool: &checked::Pool, servers: &[Arc<Server>]) -> bool {
    let mut pools = before.config.pools.iter().zip(&before.servers);
    let known = pools.find(|(known, _)| known.name == pool.name);
    known.is_some_and(|(known, known_servers)| {
        let slots = |servers: &[Arc<Server>]| servers.iter().map(|s| s.slot()).collect::<Vec<_>>();
        known.servers == pool.servers && slots(known_servers) == slots(servers)
    })
}

/// On its worker, before the site takes requests.
pub(super) fn tell_balancers(site: &Site, news: &[(PoolIndex, Vec<ServerView>)]) {
    for (index, views) in news {
        if let Some(pool) = site.pool(*index) {
            pool.balancer.1.update(*index, views);
        }
    }
}

fn tell(before: &Running, now: &Running) {
    let pools = before.config.pools.iter().zip(&now.config.pools);
    for (old, new) in pools.filter(|(old, new)| old.servers != new.servers) {
        let names = |all: &[checked::Server], than: &[checked::Server]| {
            let others = all.iter().filter(|s| than.iter().all(|t| t.name != s.name));
            others
                .map(|s| s.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        tracing::info!(
            pool = new.name,
            came = names(&new.servers, &old.servers),
            gone = names(&old.servers, &new.servers),
            servers = new.servers.len(),
            generation = now.generation.0,
            "servers of a pool have changed"
        );
    }
}
