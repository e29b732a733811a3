//! From the file as typed to a configuration that is valid in itself: names are resolved, what contradicts is refused. Goes
//! on after a problem, so that all come at once; what it builds then is used for nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::checked::Config;
use super::problem::{Located, Problem, Problems};
use super::source::Source;
use super::written::File;

mod bodies;
mod health;
mod listeners;
mod log;
mod names;
mod plugins;
pub(super) mod pools;
mod process;
mod retries;
pub(super) mod routes;
mod shared;
mod tls;
mod tracing;
mod uses;

use names::Names;
use uses::Uses;

/// What the parts of the check share.
struct Check<'a> {
    source: &'a Source,
    shipped: &'a [&'a str],
    problems: &'a mut Problems,
    pools: Names,
    listeners: Names,
    plugins: Names,
}

/// Names of plugins that are used without being named.
const ROUTER: &str = "router";
const ROUND_ROBIN: &str = "round-robin";
const WEIGHTED: &str = "weighted-round-robin";

pub(super) fn check(
    file: &File,
    source: &Arc<Source>,
    shipped: &[&str],
    problems: &mut Problems,
) -> Config {
    let pools = Names::of(
        "pool",
        file.pool.value.0.iter().map(|p| p.value.name.as_ref()),
        problems,
    );
    let listeners = file.listeners().iter().map(|l| l.value.name.as_ref());
    let listeners = Names::of("listener", listeners, problems);
    let plugins = file.plugin.value.0.iter().map(|p| p.value.name.as_ref());
    let plugins = Names::of("plugin", plugins, problems);
    let mut check = Check {
        source,
        shipped,
        problems,
        pools,
        listeners,
        plugins,
    };
    check.file(file, source)
}

impl Check<'_> {
    fn file(&mut self, file: &File, source: &Arc<Source>) -> Config {
        let mut uses = Uses::new(self.written_plugins(file));
        let admin = self.admin(file);
        self.binds(file);
        let pools = self.written_pools(file, &mut uses);
        let mut listeners = self.written_listeners(file, &mut uses);
        let routes = self.written_routes(file, &mut uses);
        tls::hosts(file, &mut listeners, &routes, &uses.plugins);
        Config {
            source: Arc::clone(source),
            proxy: process::proxy(&file.proxy.value),
            admin,
            log: self.log(file),
            tracing: self.tracing(file).map(Arc::new),
            state: self.shared(file),
            plugins: uses.plugins,
            listeners,
            routes,
            pools,
            dns: Arc::new(process::dns(&file.dns.value)),
            shown: serde_json::Value::Null,
        }
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }
}

/// Reports all but the first of what is the same. Each has its message: `the pool name "app" is taken`.
fn refuse_twice<K: std::hash::Hash + Eq>(
    items: impl Iterator<Item = (K, Located<String>)>,
    remedy: &str,
    problems: &mut Problems,
) {
    let mut seen: HashMap<K, std::ops::Range<usize>> = HashMap::new();
    for (key, message) in items {
        if let Some(first) = seen.get(&key) {
            let problem = Problem::at(message.span, message.value, remedy);
            problems.push(problem.related(first.clone(), "the first"));
        } else {
            seen.insert(key, message.span);
        }
    }
}
