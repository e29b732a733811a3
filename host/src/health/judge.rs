//! What a pool's plugin makes of a probe, that it judges or has made itself: its word on up and down goes the usual way through `rise` and `fall`; a share
//! of the weight, drain and maint hold from this probe on, until another says otherwise.

use std::rc::Rc;
use std::time::Duration;

use http::HeaderName;

use super::probe::{Seen, Verdict};
use super::ward::Ward;
use crate::hook::{HealthPlugin, Judgement, ProbeView, Probed};
use crate::upstream::Server;
use crate::upstream::vitals::Wanted;

pub fn verdict_of(
    judge: &dyn HealthPlugin,
    ward: &Rc<Ward>,
    server: &Server,
    seen: Seen,
    took: Duration,
) -> Verdict {
    if let Some(probed) = seen.probed {
        return verdict_of_prober(ward, server, &probed, seen.verdict);
    }
    let judgement = ask(judge, server, &seen, took);
    advise(ward, server, &judgement);
    let (Ok(words) | Err(words)) = &seen.verdict;
    match judgement {
        Judgement::AsUsual => seen.verdict,
        Judgement::Up(percent) => Ok(format!("{words}, judged up at {percent} %")),
        Judgement::Drain => Ok(format!("{words}, judged to drain")),
        Judgement::Maint => Ok(format!("{words}, judged to be in maintenance")),
        Judgement::Down(why) => Err(format!("{words}, judged down: {why}")),
    }
}

fn verdict_of_prober(
    ward: &Rc<Ward>,
    server: &Server,
    probed: &Probed,
    verdict: Verdict,
) -> Verdict {
    advise(ward, server, &probed.judgement);
    let more = match &probed.judgement {
        Judgement::Up(100) | Judgement::AsUsual | Judgement::Down(_) => return verdict,
        Judgement::Up(percent) => format!("up at {percent} %"),
        Judgement::Drain => "to drain".to_owned(),
        Judgement::Maint => "in maintenance".to_owned(),
    };
    verdict.map(|words| format!("{words}: {more}"))
}

fn ask(judge: &dyn HealthPlugin, server: &Server, seen: &Seen, took: Duration) -> Judgement {
    let identity = server.identity();
    let (successes, failures) = server.vitals.row();
    let field = |name: &HeaderName| seen.fields.joined(name).map(|value| value.into_owned());
    let judged = judge.judge(&ProbeView {
        pool: &identity.pool,
        server: &identity.name,
        status: seen.status,
        body: &seen.body,
        field: &field,
        took,
        timed_out: seen.timed_out,
        successes,
        failures,
    });
    judged.unwrap_or(Judgement::AsUsual)
}

fn advise(ward: &Rc<Ward>, server: &Server, judgement: &Judgement) {
    let (wanted, fitness) = match judgement {
        Judgement::Up(percent) => (Wanted::Ready, *percent),
        Judgement::Drain => (Wanted::Drain, 100),
        Judgement::Maint => (Wanted::Maint, 100),
        Judgement::AsUsual | Judgement::Down(_) => (Wanted::Ready, 100),
    };
    let (vitals, identity) = (&server.vitals, server.identity());
    if vitals.fitness() != fitness {
        server.set_fitness(fitness);
    }
    if vitals.advised() != wanted {
        vitals.set_advised(wanted);
        tracing::info!(
            pool = identity.pool,
            server = identity.name,
            state = ?wanted,
            "probes are judged to ask for another state"
        );
        ward.assess(&identity.pool);
    }
}
