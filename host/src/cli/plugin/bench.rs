//! `tidegate plugin bench`: what a call of each role costs on this machine, through the same path as in the proxy.
//!
//! Calls are timed in batches, so that reading the clock costs nothing; shown are the fastest batch (what the call costs) and
//! the middle one (what it costs among the machine's other work).

use std::time::{Duration, Instant};

use crate::hook::{Balancer, Connect, RequestFilter, ResponseFilter, Router};
use crate::plugin::{PrepareError, Roles};

use super::super::Host;
use super::super::arguments::Bench;
use super::super::terminal::{Failure, Progress, print, table};
use super::cases::{self, Cases, Request, Response, Server};
use super::fake::{FakeRequest, FakeResponse};
use super::stage::{Actor, Refusal, Setup, Stage};
use super::{load, runtime};

/// How long one batch should take.
const BATCH: Duration = Duration::from_micros(500);

pub fn bench(host: &Host, flags: &Bench) -> Result<(), Failure> {
    (host.start_log)("warn");
    let cases = given(flags)?;
    let mut progress = Progress::new("compiling the plugin");
    let (runtime, live) = runtime(host)?;
    let artifact = load(&runtime, &flags.file)?;
    let roles = artifact.roles();
    let stage = Stage {
        runtime,
        live,
        artifact,
    };
    let servers = servers(&cases, flags.servers);
    let name = "bench".to_owned();
    let setup = Setup::of_cases(&cases, name, &cases.settings, &servers);
    let actor = stage.actor(&setup).map_err(explained)?;
    let request = FakeRequest::new(&first_request(&cases))?;
    let mut rows = Vec::new();
    for (role, call) in calls(&actor, roles, &request, servers.len())? {
        progress.now(&format!("measuring {role}"));
        let figures = measure(Duration::from_millis(flags.time.into()), &call)
            .map_err(|()| Failure::new(format!("{role}: a call failed ({})", actor.causes())))?;
        rows.push(figures.row(role));
    }
    drop(progress);
    if cfg!(debug_assertions) {
        eprintln!(
            "note: this tidegate is a debug build; figures of a release build are several times smaller"
        );
    }
    print(&table(&["role", "ns/call min", "median", "calls"], &rows))
}

/// The cases file for settings, pools and the first request; `--config` overrules its settings.
fn given(flags: &Bench) -> Result<Cases, Failure> {
    let mut cases = match &flags.cases {
        Some(file) => cases::read(file)?.0,
        None => toml::from_str("").expect("all keys may be left out"),
    };
    if let Some(config) = &flags.config {
        let wrong = |error: serde_json::Error| {
            Failure::new(format!(
                "--config is no JSON object: {error}; for example '{{\"header\": \"x-tenant\"}}'"
            ))
        };
        cases.settings = serde_json::from_str(config).map_err(wrong)?;
    }
    Ok(cases)
}

/// Those of the file, or as many equal ones as asked for.
fn servers(cases: &Cases, count: Option<u32>) -> Vec<Server> {
    match count {
        None if !cases.servers.is_empty() => cases.servers.clone(),
        count => (0..count.unwrap_or(10))
            .map(|i| Server::plain(format!("server-{i}")))
            .collect(),
    }
}

fn first_request(cases: &Cases) -> Request {
    let steps = cases.cases.iter().flat_map(|case| case.get_ref().steps());
    steps
        .into_iter()
        .find_map(|step| step.request)
        .unwrap_or_default()
}

fn explained(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Given(failure) => failure,
        Refusal::Plugin(error @ PrepareError::Settings(_)) => Failure::new(format!(
            "{error}; give it its settings with --config '{{…}}', or pools and settings with --cases CASES.toml"
        )),
        Refusal::Plugin(error) => Failure::new(error.to_string()),
    }
}

type Call<'a> = Box<dyn Fn(u64) -> Result<(), crate::hook::Failure> + 'a>;

/// One call a role that the plugin exports; its argument is a random number.
fn calls<'a>(
    actor: &'a Actor<'_>,
    roles: Roles,
    request: &'a FakeRequest,
    servers: usize,
) -> Result<Vec<(String, Call<'a>)>, Failure> {
    let plugin = &*actor.plugin;
    let pool = actor.pool(None)?;
    let answer = Response {
        status: 200,
        server: Some("server-0".into()),
        headers: Default::default(),
    };
    let response = FakeResponse::new(request, &answer)?;
    let mut calls: Vec<(String, Call<'a>)> = Vec::new();
    if roles.connect {
        calls.push((
            "connect".into(),
            Box::new(|_| Connect::admit(plugin, request).map(drop)),
        ));
    }
    if roles.router {
        calls.push((
            "router".into(),
            Box::new(|_| Router::route(plugin, request).map(drop)),
        ));
    }
    if roles.request_filter {
        calls.push((
            "request-filter".into(),
            Box::new(|_| RequestFilter::request(plugin, request).map(drop)),
        ));
    }
    if roles.response_filter {
        calls.push((
            "response-filter".into(),
            Box::new(move |_| plugin.response(&response).map(drop)),
        ));
    }
    if roles.any_balancer() {
        let role = if roles.balancer {
            "balancer"
        } else {
            "request-balancer"
        };
        let plural = if servers == 1 { "" } else { "s" };
        let pick = move |random| Balancer::pick(plugin, pool, request, random, &[]).map(drop);
        calls.push((format!("{role}, {servers} server{plural}"), Box::new(pick)));
    }
    if calls.is_empty() {
        return Err(Failure::new(format!(
            "nothing to measure: the plugin's roles are {roles}"
        )));
    }
    Ok(calls)
}

struct Figures {
    min: f64,
    median: f64,
    calls: u64,
}

fn measure(time: Duration, call: &Call<'_>) -> Result<Figures, ()> {
    let mut random = 0u64;
    let mut batch = |size: u32| -> Result<Duration, ()> {
        let start = Instant::now();
        for _ in 0..size {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            call(random).map_err(drop)?;
        }
        Ok::<_, ()>(start.elapsed())
    };
    let mut size = 1;
    while batch(size)? < BATCH {
        size *= 2;
    }
    let mut each = Vec::new();
    let end = Instant::now() + time;
    while each.is_empty() || Instant::now() < end {
        each.push(batch(size)?.as_nanos() as f64 / f64::from(size));
    }
    each.sort_by(f64::total_cmp);
    Ok(Figures {
        min: each[0],
        median: each[each.len() / 2],
        calls: each.len() as u64 * u64::from(size),
    })
}

impl Figures {
    fn row(&self, role: String) -> Vec<String> {
        vec![
            role,
            format!("{:.0}", self.min),
            format!("{:.0}", self.median),
            self.calls.to_string(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_measured_in_batches() {
        let figures = measure(
            Duration::from_millis(20),
            &(Box::new(|_| Ok(())) as Call<'_>),
        )
        .unwrap();
        assert!(
            figures.min <= figures.median && figures.calls > 1000,
            "{}",
            figures.calls
        );
        let fails: Call<'_> = Box::new(|_| Err(crate::hook::Failure::Failed));
        assert!(measure(Duration::from_millis(1), &fails).is_err());
    }
}
