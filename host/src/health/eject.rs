//! Passive health: a server that has failed too many requests is taken out for a while, longer each time, but never more of
//! a pool than its share (Envoy's outlier detection).

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::PoolPlan;
use super::ward::Ward;
use crate::config::checked::Passive;
use crate::upstream::Server;

/// That a pool has no room for more is told this often at most.
const QUIET: Duration = Duration::from_secs(30);

/// What is remembered of a server's ejections.
#[derive(Default)]
pub struct Ejections {
    /// In a row.
    times: u32,
    /// How long the last one was, and when it ended.
    last: Option<(Duration, Instant)>,
    coming_back: Option<AbortHandle>,
}

impl Ward {
    /// Requests to this server have failed more often than its pool allows.
    pub fn suspect(self: &Rc<Self>, server: &Arc<Server>) {
        server.vitals.acquit();
        let name = &server.identity().pool;
        let Some(pool) = self.pool(name) else { return };
        let Some(rules) = &pool.passive else { return };
        let verdict = server.vitals.trial.verdict();
        if server.vitals.is_ejected() {
            return;
        }
        if verdict == Some(true) {
            return self.readmit(&pool, server);
        }
        let (pool_name, server_name) = (&pool.name, &server.identity().name);
        if !has_room(&pool, rules) {
            if verdict.is_some() {
                server.vitals.trial.set(rules.trials);
                server.crew().queue.look_again();
            }
            return self.tell_of_no_room(pool_name, server_name);
        }
        let time = self.time_out(server, rules, server.vitals.trial.is_on());
        server.vitals.set_ejected(true);
        tracing::warn!(
            pool = pool_name,
            server = server_name,
            seconds = time.as_secs_f64(),
            usable = self.healthy(pool_name),
            "server fails requests and is ejected"
        );
        let back = bring_back(Rc::downgrade(self), server.clone(), time);
        self.expect_back(server, tokio::task::spawn_local(back).abort_handle());
        self.assess(pool_name);
    }

    /// It is one of its pool's servers again.
    fn readmit(self: &Rc<Self>, pool: &PoolPlan, server: &Arc<Server>) {
        let identity = server.identity();
        server.vitals.trial.lift();
        if server.vitals.is_healthy() {
            self.ramp(pool, server);
        }
        tracing::info!(
            pool = identity.pool,
            server = identity.name,
            "server is no longer ejected"
        );
        self.assess(&identity.pool);
    }

    /// Once in a while: it may be so with every request.
    fn tell_of_no_room(&self, pool: &str, server: &str) {
        let now = Instant::now();
        let mut told = self.told_of_no_room.borrow_mut();
        let last = told.get(pool);
        if last.is_some_and(|last| now - *last < QUIET) {
            return;
        }
        told.insert(pool.to_owned(), now);
        tracing::warn!(
            pool,
            server,
            "server fails requests, but as many are ejected as `max-ejected` allows"
        );
    }

    /// An ejection that a reload has lifted has its return still to come; this one's is another.
    fn expect_back(&self, server: &Server, task: AbortHandle) {
        let mut all = self.ejections.borrow_mut();
        let known = all.entry(server.identity().clone()).or_default();
        if let Some(old) = known.coming_back.replace(task) {
            old.abort();
        }
    }

    fn time_out(&self, server: &Server, rules: &Passive, on_trial: bool) -> Duration {
        let mut all = self.ejections.borrow_mut();
        let known = all.entry(server.identity().clone()).or_default();
        let time = known.next(rules, Instant::now(), on_trial);
        known.last = Some((time, Instant::now() + time));
        time
    }
}

impl Ejections {
    /// One that held out for as long as it was away begins anew; one that failed its trial never came back.
    fn next(&mut self, rules: &Passive, now: Instant, on_trial: bool) -> Duration {
        let soon = self
            .last
            .is_some_and(|(time, ended)| now.saturating_duration_since(ended) < time);
        self.times = if soon || on_trial { self.times + 1 } else { 1 };
        rules.eject.saturating_mul(self.times).min(rules.max_eject)
    }
}

fn has_room(pool: &PoolPlan, rules: &Passive) -> bool {
    let ejected = pool.servers.iter().filter(|s| s.live.vitals.is_ejected());
    let after = ejected.count() as u64 + 1;
    after * 100 <= u64::from(rules.max_ejected) * pool.servers.len() as u64
}

async fn bring_back(ward: Weak<Ward>, server: Arc<Server>, after: Duration) {
    tokio::time::sleep(after).await;
    let Some(ward) = ward.upgrade() else { return };
    // A reload may have let it go before.
    if !server.vitals.is_ejected() {
        return;
    }
    server.vitals.acquit();
    server.vitals.set_ejected(false);
    let identity = server.identity();
    let Some(pool) = ward.pool(&identity.pool) else {
        return;
    };
    let trials = pool.passive.as_ref().map_or(0, |rules| rules.trials);
    if trials == 0 {
        return ward.readmit(&pool, &server);
    }
    server.vitals.trial.set(trials);
    tracing::info!(
        pool = identity.pool,
        server = identity.name,
        "ejected server is tried again, by one request at a time"
    );
    ward.assess(&identity.pool);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_again_soon_stays_away_longer_up_to_a_bound() {
        let second = Duration::from_secs(1);
        let rules = Passive {
            max_fails: 1,
            window: second,
            max_rate: 0,
            min_requests: 1,
            eject: second * 10,
            max_eject: second * 25,
            max_ejected: 50,
            trials: 0,
            on: Default::default(),
        };
        let mut ejections = Ejections::default();
        let mut now = Instant::now();
        let mut eject = |pause: Duration| {
            now += pause;
            let time = ejections.next(&rules, now, false);
            now += time;
            ejections.last = Some((time, now));
            time.as_secs()
        };
        assert_eq!(eject(Duration::ZERO), 10);
        assert_eq!(eject(second * 9), 20);
        assert_eq!(eject(second * 19), 25);
        assert_eq!(eject(second * 25), 10, "it held out");
        let time = ejections.next(&rules, now + second * 3600, true);
        assert_eq!(time.as_secs(), 20, "however late its trial comes");
    }
}
