//! Joins the servers' health with the rest: what a generation wants watched, and who is told when a state has changed.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::base::ids::{Generation, PoolIndex};
use crate::config::checked::{self, OnMarkedDown};
use crate::health::{MakeJudge, Plan, PoolPlan, Reach, ServerPlan};
use crate::hook::{ServerState, ServerView};
use crate::pipeline::{Site, WorkerHandle};
use crate::plugin::Seed;
use crate::tls;
use crate::upstream::Server;

use super::generation::{Fingerprint, Running};
use super::shared::Shared;
use super::{candidate, draft};

/// Changes that come so soon after each other are told together.
pub(super) const TOGETHER: Duration = Duration::from_millis(10);

/// What is to be watched of this generation's servers.
pub fn plan(running: &Running, judges: Vec<(Fingerprint, Seed)>) -> Plan {
    let pools = running.config.pools.iter();
    let pools = pools.zip(&running.servers).zip(&running.tls.pools);
    let make = |seed: Seed| -> MakeJudge { Box::new(move || seed.adopt()) };
    Plan {
        living: running
            .plugins
            .iter()
            .map(|plugin| plugin.fingerprint)
            .collect(),
        pools: pools
            .map(|((pool, servers), tls)| of_pool(running, pool, servers, tls.as_ref()))
            .collect(),
        judges: judges
            .into_iter()
            .map(|(fingerprint, seed)| (fingerprint, make(seed)))
            .collect(),
    }
}

fn of_pool(
    running: &Running,
    pool: &checked::Pool,
    servers: &[Arc<Server>],
    tls: Option<&Arc<tls::Client>>,
) -> PoolPlan {
    let judge = pool.judge.as_ref().or(pool.prober.as_ref());
    let judge = judge.and_then(|judge| running.plugins.get(judge.value.0 as usize));
    let servers = pool.servers.iter().zip(servers);
    PoolPlan {
        name: pool.name.clone(),
        probe: pool.health.clone(),
        judge: judge.map(|plugin| plugin.fingerprint),
        passive: pool.passive.clone(),
        slow_start: pool.slow_start,
        panic_threshold: pool.panic_threshold,
        servers: servers
            .map(|(written, live)| ServerPlan {
                live: live.clone(),
                weight: written.weight,
                backup: written.backup,
                reach: Reach {
                    proxy: candidate::proxy_line(pool),
                    tls: tls.and_then(|tls| tls.to(&written.tls_address())),
                    host: written.resolved_from.clone().map(Into::into),
                },
            })
            .collect(),
    }
}

/// Tells the balancers of every worker about pools where a server has changed, by their names; what is to end with a server that is
/// down ends.
pub async fn tell_balancers(shared: Arc<Shared>, mut changed: mpsc::UnboundedReceiver<String>) {
    while let Some(first) = changed.recv().await {
        tokio::time::sleep(TOGETHER).await;
        let mut pools = BTreeSet::from([first]);
        while let Ok(another) = changed.try_recv() {
            pools.insert(another);
        }
        // A generation that comes meanwhile knows the states, and has this told once more.
        let Some(running) = shared.running() else {
            continue;
        };
        for name in pools {
            tell(&shared, &running, &name).await;
        }
    }
}

/// Returns once every worker knows the states of this pool's servers as they are now.
pub async fn tell(shared: &Shared, running: &Running, name: &str) {
    let mut pools = running.config.pools.iter();
    let Some(at) = pools.position(|pool| pool.name == name) else {
        return;
    };
    let (pool, servers) = (&running.config.pools[at], &running.servers[at]);
    let views = Arc::new(draft::views(pool, servers));
    let told = shared.workers.iter().map(|worker| {
        let (views, generation) = (views.clone(), running.generation);
        worker.ask(move |site: &Rc<Site>| update(site, generation, PoolIndex(at as u32), &views))
    });
    futures_util::future::join_all(told).await;
    if let Some(first) = servers.first() {
        first.crew().queue.look_again();
    }
    if pool.on_marked_down != OnMarkedDown::Close {
        return;
    }
    // After the balancers, which send nobody there any more.
    for server in servers {
        if server.vitals.state() == ServerState::Down {
            let down = |worker: &WorkerHandle| worker.server_is_down(server.slot());
            shared.workers.iter().for_each(down);
        }
    }
}

fn update(site: &Site, generation: Generation, index: PoolIndex, views: &[ServerView]) {
    // Another generation counts its pools otherwise.
    if site.generation != generation {
        return;
    }
    if let Some(pool) = site.pool(index) {
        pool.balancer.1.update(index, views);
    }
}
