//! The rounds of one server's probes: when the next is due, and when what they say changes the server's standing (HAProxy's
//! `inter`, `fastinter`, `downinter`, `rise`, `fall`).

use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::judge::verdict_of;
use super::probe::{NoSocket, Verdict, probe};
use super::ward::Ward;
use super::{Reach, ServerPlan};
use crate::config::checked::{Probe, ProbeKind};
use crate::upstream::Server;
use crate::upstream::outcome::Outcome;
use crate::upstream::vitals::{Checked, LastProbe};

/// At the start servers are probed one such time after the other, at most over one interval.
const APART: Duration = Duration::from_millis(2);

/// How often the same is told at most.
const QUIET: Duration = Duration::from_secs(30);

/// A server's task, which ends when this is dropped.
pub struct Round {
    probe: Arc<Probe>,
    reach: Reach,
    task: AbortHandle,
}

/// Begins to probe; `all` servers are probed together.
pub fn begin(ward: &Rc<Ward>, plan: &ServerPlan, probe: &Arc<Probe>, all: usize) -> Round {
    let spread = (APART * all as u32).min(probe.interval);
    let first = spread.mul_f64(part(ward.random()));
    let rounds = rounds(
        Rc::downgrade(ward),
        plan.live.clone(),
        (probe.clone(), plan.reach.clone()),
        first,
    );
    Round {
        probe: probe.clone(),
        reach: plan.reach.clone(),
        task: tokio::task::spawn_local(rounds).abort_handle(),
    }
}

impl Round {
    pub fn goes_by(&self, probe: &Arc<Probe>, reach: &Reach) -> bool {
        self.probe == *probe && self.reach.is(reach)
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn rounds(
    ward: Weak<Ward>,
    server: Arc<Server>,
    (settings, reach): (Arc<Probe>, Reach),
    first: Duration,
) {
    tokio::time::sleep(first).await;
    loop {
        let Some(ward) = ward.upgrade() else { return };
        let Ok(permit) = ward.permits.acquire().await else {
            return;
        };
        let begun = Instant::now();
        let judge = ward.pool(&server.identity().pool);
        let judge = judge.and_then(|pool| ward.judge(&pool));
        let seen = probe(&settings, (server.identity(), &reach), judge.as_deref()).await;
        drop(permit);
        let next = match seen {
            Ok(seen) => {
                let took = begun.elapsed();
                let outcome = seen.outcome;
                let verdict = match judge {
                    // Of a server that a prober could say nothing of, what it said before holds.
                    Some(_) if settings.kind == ProbeKind::Plugin && seen.probed.is_none() => {
                        seen.verdict
                    }
                    Some(judge) => verdict_of(&*judge, &ward, &server, seen, took),
                    None => seen.verdict,
                };
                let row = note(&server, (&verdict, outcome), took);
                decide(&ward, &server, &settings, &verdict, row);
                until_next(&server, &settings, row)
            }
            Err(NoSocket(error)) => {
                tell_of_no_socket(&ward, &error);
                settings.interval
            }
        };
        // A twentieth more or less, so that servers don't fall into step.
        let next = next.mul_f64(0.95 + part(ward.random()) / 10.0);
        drop(ward);
        tokio::time::sleep(next).await;
    }
}

fn note(server: &Server, (verdict, outcome): (&Verdict, Outcome), took: Duration) -> u32 {
    server.vitals.probed(LastProbe {
        passed: verdict.is_ok(),
        outcome: outcome.as_judged(verdict.is_ok()),
        words: verdict.clone().unwrap_or_else(|words| words),
        took,
    })
}

fn decide(ward: &Rc<Ward>, server: &Arc<Server>, settings: &Probe, verdict: &Verdict, row: u32) {
    let vitals = &server.vitals;
    let now = match (vitals.checked(), verdict) {
        (Checked::Not, Ok(_)) => Checked::Up,
        (Checked::Not, Err(_)) => Checked::Down,
        (Checked::Down, Ok(_)) if row >= settings.rise => Checked::Up,
        (Checked::Up, Err(_)) if row >= settings.fall => Checked::Down,
        _ => return,
    };
    let before = vitals.checked();
    vitals.set_checked(now);
    let identity = server.identity();
    if now == Checked::Up
        && before == Checked::Down
        && !vitals.is_ejected()
        && let Some(pool) = ward.pool(&identity.pool)
    {
        ward.ramp(&pool, server);
    }
    tell(ward, server, before, now, verdict);
    ward.assess(&identity.pool);
}

fn tell(ward: &Ward, server: &Server, before: Checked, now: Checked, verdict: &Verdict) {
    let (pool, name) = (&server.identity().pool, &server.identity().name);
    let (Ok(reason) | Err(reason)) = verdict;
    let (counts, usable) = (&server.vitals.counts, ward.healthy(pool));
    use std::sync::atomic::Ordering::Relaxed;
    match now {
        Checked::Down => {
            counts.went_down.fetch_add(1, Relaxed);
            tracing::warn!(pool, server = name, reason, usable, "server is down");
        }
        _ if before == Checked::Down => {
            counts.went_up.fetch_add(1, Relaxed);
            tracing::info!(pool, server = name, reason, usable, "server is up");
        }
        _ => tracing::debug!(pool, server = name, reason, "server passed its first probe"),
    }
}

/// All servers meet it together: once in a while is enough.
fn tell_of_no_socket(ward: &Ward, error: &io::Error) {
    let last = ward.told_of_no_socket.get();
    if last.is_none_or(|last| last.elapsed() > QUIET) {
        ward.told_of_no_socket.set(Some(Instant::now()));
        tracing::error!(%error, "servers can't be probed for want of a socket; what is known of them stands");
    }
}

fn until_next(server: &Server, settings: &Probe, row: u32) -> Duration {
    let passed = server.vitals.last_probe().is_some_and(|last| last.passed);
    match (server.vitals.checked(), passed) {
        (Checked::Up, false) => settings.fast_interval,
        (Checked::Down, true) if row < settings.rise => settings.fast_interval,
        (Checked::Down, _) => settings.down_interval,
        _ => settings.interval,
    }
}

/// From 0 to 1.
fn part(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}
