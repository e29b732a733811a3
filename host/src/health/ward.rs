//! All pools that are watched: their tasks, kept by server across plans, and what the states of a pool's servers are once
//! probes, ejections and the panic threshold have all had their say.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::eject::Ejections;
use super::round::{self, Round};
use super::{Changed, JudgeKey, MakeJudge, Plan, PoolPlan, ServerPlan, ramp};
use crate::hook::{HealthPlugin, ServerState};
use crate::upstream::vitals::{Checked, WHOLE, Wanted};
use crate::upstream::{Server, live::Identity};

/// Probes under way at a time.
const MOST_PROBES: usize = 256;

pub struct Ward {
    changed: Changed,
    judges: RefCell<HashMap<JudgeKey, Rc<dyn HealthPlugin>>>,
    pools: RefCell<HashMap<String, Rc<PoolPlan>>>,
    rounds: RefCell<HashMap<Identity, Round>>,
    ramps: RefCell<HashMap<Identity, AbortHandle>>,
    pub(super) ejections: RefCell<HashMap<Identity, Ejections>>,
    /// When it was told last that a pool's share of ejections is used up.
    pub(super) told_of_no_room: RefCell<HashMap<String, Instant>>,
    pub(super) permits: Semaphore,
    /// Pools that are in panic.
    panics: RefCell<HashSet<String>>,
    random: Cell<u64>,
    pub(super) told_of_no_socket: Cell<Option<Instant>>,
}

impl Ward {
    pub fn new(changed: Changed) -> Rc<Ward> {
        Rc::new(Ward {
            changed,
            judges: RefCell::default(),
            pools: RefCell::default(),
            rounds: RefCell::default(),
            ramps: RefCell::default(),
            ejections: RefCell::default(),
            told_of_no_room: RefCell::default(),
            permits: Semaphore::new(MOST_PROBES),
            panics: RefCell::default(),
            random: Cell::new(seed()),
            told_of_no_socket: Cell::default(),
        })
    }

    /// Watches these pools and no others.
    pub fn watch(self: &Rc<Self>, plan: Plan) {
        let Plan {
            pools,
            judges,
            living,
        } = plan;
        self.seat(judges, &living);
        let plan: Vec<_> = pools.into_iter().map(Rc::new).collect();
        self.pools.replace(
            plan.iter()
                .map(|pool| (pool.name.clone(), pool.clone()))
                .collect(),
        );
        self.probe(&plan);
        for pool in &plan {
            self.forget_what_is_not_watched(pool);
            self.assess(&pool.name);
            // Whoever built the plan may have seen other states.
            (self.changed)(&pool.name);
        }
        self.forget_the_gone(&plan);
    }

    /// New judges join those of which no new instance was made.
    fn seat(&self, fresh: Vec<(JudgeKey, MakeJudge)>, living: &[JudgeKey]) {
        let mut judges = self.judges.borrow_mut();
        judges.extend(fresh.into_iter().map(|(key, make)| (key, make())));
        judges.retain(|key, _| living.contains(key));
    }

    pub(super) fn judge(&self, pool: &PoolPlan) -> Option<Rc<dyn HealthPlugin>> {
        self.judges.borrow().get(pool.judge.as_ref()?).cloned()
    }

    fn probe(self: &Rc<Self>, plan: &[Rc<PoolPlan>]) {
        let mut old = self.rounds.take();
        let probed = plan.iter().filter(|pool| pool.probe.is_some());
        let all: usize = probed.clone().map(|pool| pool.servers.len()).sum();
        let mut rounds = HashMap::new();
        for pool in probed {
            let Some(probe) = &pool.probe else { continue };
            for server in &pool.servers {
                let identity = server.live.identity().clone();
                let known = old.remove(&identity);
                let round = match known.filter(|round| round.goes_by(probe, &server.reach)) {
                    Some(round) => round,
                    None => round::begin(self, server, probe, all),
                };
                rounds.insert(identity, round);
            }
        }
        self.rounds.replace(rounds);
    }

    /// What was found by rules that the plan no longer has must not stand for ever.
    fn forget_what_is_not_watched(&self, pool: &PoolPlan) {
        for server in &pool.servers {
            let vitals = &server.live.vitals;
            if pool.probe.is_none() {
                vitals.set_checked(Checked::Not);
            }
            if pool.judge.is_none() {
                vitals.set_advised(Wanted::Ready);
                server.live.set_fitness(100);
            }
            if pool.passive.is_none() && (vitals.is_ejected() || vitals.trial.is_on()) {
                vitals.set_ejected(false);
                vitals.trial.lift();
            }
            // One that was gone for a while has left its ramp behind.
            let grows = self.ramps.borrow().contains_key(server.live.identity());
            if vitals.share() != WHOLE && (pool.slow_start.is_zero() || !grows) {
                self.stop_ramp(server.live.identity());
                server.live.set_share(WHOLE);
            }
        }
    }

    fn forget_the_gone(&self, plan: &[Rc<PoolPlan>]) {
        let servers = plan.iter().flat_map(|pool| &pool.servers);
        let living: HashSet<_> = servers.map(|server| server.live.identity()).collect();
        let gone = |identity: &Identity| !living.contains(identity);
        let mut ramps = self.ramps.borrow_mut();
        ramps.retain(|identity, ramp| {
            if gone(identity) {
                ramp.abort();
            }
            !gone(identity)
        });
        let mut ejections = self.ejections.borrow_mut();
        ejections.retain(|identity, _| !gone(identity));
        let mut panics = self.panics.borrow_mut();
        let known = |pool: &str| plan.iter().any(|known| known.name == pool);
        panics.retain(|pool| known(pool));
        let mut told = self.told_of_no_room.borrow_mut();
        told.retain(|pool, _| known(pool));
    }

    pub(super) fn pool(&self, name: &str) -> Option<Rc<PoolPlan>> {
        self.pools.borrow().get(name).cloned()
    }

    /// Brings the states of a pool's servers up to date, and tells of it where one has changed.
    pub(super) fn assess(self: &Rc<Self>, pool: &str) {
        let Some(pool) = self.pool(pool) else { return };
        let panics = self.panics(&pool);
        let mut changed = false;
        for server in &pool.servers {
            let vitals = &server.live.vitals;
            let state = match vitals.wants() {
                Wanted::Maint => ServerState::Down,
                _ if !vitals.is_healthy() && !panics => ServerState::Down,
                Wanted::Drain => ServerState::Drain,
                Wanted::Ready => ServerState::Ready,
            };
            changed |= vitals.set_state(state);
        }
        if let Some(first) = pool.servers.first() {
            let mut servers = pool.servers.iter().map(|server| &server.live.vitals);
            let down = servers.all(|vitals| vitals.state() != ServerState::Ready);
            first.live.crew().uptime.is(down);
        }
        if changed {
            (self.changed)(&pool.name);
        }
    }

    /// Whether so few are left that all are used again.
    fn panics(&self, pool: &PoolPlan) -> bool {
        let panics = must_panic(pool);
        let mut known = self.panics.borrow_mut();
        let was = known.contains(&pool.name);
        if panics && !was {
            known.insert(pool.name.clone());
            tracing::error!(
                pool = pool.name,
                "panic: fewer servers are up than `panic-threshold` asks for; all are used, whatever probes say"
            );
        } else if !panics && was {
            known.remove(&pool.name);
            tracing::info!(pool = pool.name, "panic is over");
        }
        panics
    }

    /// A server is back: it gets its weight bit by bit.
    pub(super) fn ramp(&self, pool: &PoolPlan, server: &Arc<Server>) {
        self.stop_ramp(server.identity());
        if pool.slow_start.is_zero() {
            return;
        }
        // Before anybody can pick it.
        server.set_share(ramp::FIRST);
        let task = tokio::task::spawn_local(ramp::grow(server.clone(), pool.slow_start));
        let mut ramps = self.ramps.borrow_mut();
        ramps.insert(server.identity().clone(), task.abort_handle());
    }

    fn stop_ramp(&self, identity: &Identity) {
        if let Some(ramp) = self.ramps.borrow_mut().remove(identity) {
            ramp.abort();
        }
    }

    /// How many of a pool's servers are fit, for the log.
    pub(super) fn healthy(&self, pool: &str) -> usize {
        let pool = self.pool(pool);
        pool.map_or(0, |pool| pool.servers.iter().filter(|s| is_fit(s)).count())
    }

    /// Fast, and not for secrets (xorshift64*).
    pub(super) fn random(&self) -> u64 {
        let mut state = self.random.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.random.set(state);
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn is_fit(server: &ServerPlan) -> bool {
    is_meant(server) && server.live.vitals.is_healthy()
}

/// Whether it is to take new users, if it can.
fn is_meant(server: &ServerPlan) -> bool {
    server.weight > 0 && server.live.vitals.wants() == Wanted::Ready
}

fn must_panic(pool: &PoolPlan) -> bool {
    let regular = || pool.servers.iter().filter(|s| !s.backup && is_meant(s));
    let spare = pool.servers.iter().any(|s| s.backup && is_fit(s));
    let fit = regular().filter(|server| is_fit(server)).count() as u64;
    !spare && fit * 100 < u64::from(pool.panic_threshold) * regular().count() as u64
}

fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() | 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::Reach;
    use crate::upstream::LiveTable;

    fn pool(panic_threshold: u32, servers: &[(&str, bool, bool)]) -> PoolPlan {
        let table = LiveTable::with_capacity(8);
        let servers = servers.iter().map(|(name, up, backup)| {
            let identity = Identity {
                pool: "app".into(),
                name: (*name).into(),
                address: "h:1".into(),
            };
            let live = table.server(identity).unwrap();
            live.vitals.set_checked(match up {
                true => Checked::Up,
                false => Checked::Down,
            });
            ServerPlan {
                live,
                weight: 1,
                backup: *backup,
                reach: Reach::default(),
            }
        });
        PoolPlan {
            name: "app".into(),
            probe: None,
            judge: None,
            passive: None,
            slow_start: Duration::ZERO,
            panic_threshold,
            servers: servers.collect(),
        }
    }

    #[tokio::test]
    async fn what_the_operator_wants_and_what_is_found_make_the_state() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let told = Arc::new(AtomicUsize::new(0));
        let count = told.clone();
        let ward = Ward::new(Box::new(move |pool| {
            assert_eq!(pool, "app");
            count.fetch_add(1, Ordering::Relaxed);
        }));
        let pool = pool(0, &[("a", true, false), ("b", false, false)]);
        let servers: Vec<_> = pool.servers.iter().map(|s| s.live.clone()).collect();
        ward.pools.replace([("app".into(), Rc::new(pool))].into());
        let states = || [0, 1].map(|at: usize| servers[at].vitals.state());
        ward.assess("app");
        assert_eq!(states(), [ServerState::Ready, ServerState::Down]);
        servers
            .iter()
            .for_each(|s| s.vitals.set_wanted(Wanted::Drain));
        ward.assess("app");
        assert_eq!(states(), [ServerState::Drain, ServerState::Down]);
        servers[0].vitals.set_wanted(Wanted::Maint);
        ward.assess("app");
        assert_eq!(states(), [ServerState::Down, ServerState::Down]);
        ward.assess("app");
        assert_eq!(told.load(Ordering::Relaxed), 3, "nothing new is not told");
    }

    #[test]
    fn too_few_servers_mean_panic_unless_a_backup_is_up() {
        let (a, b, c) = (("a", true, false), ("b", false, false), ("c", false, false));
        assert!(must_panic(&pool(50, &[a, b, c])));
        assert!(!must_panic(&pool(33, &[a, b, c])));
        assert!(!must_panic(&pool(0, &[b, c])), "it is off");
        assert!(!must_panic(&pool(50, &[b, c, ("spare", true, true)])));
        assert!(must_panic(&pool(50, &[b, c, ("spare", false, true)])));
    }
}
