//! Both listeners together, and the request that the tests of either begin with.

use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

use prometheus_client::encoding::text;

use super::*;
use crate::base::event::{Queued, Times};
use crate::base::ids::Generation;
use crate::config::checked::{AccessField, AccessFormat, AccessTarget, Captures, Log};
use crate::config::problem::Located;

/// A request as most are.
pub fn request() -> RequestEnded<'static> {
    RequestEnded {
        started: true,
        tcp: false,
        generation: Generation(7),
        listener: "web",
        route: Some("api"),
        pool: Some("app"),
        server: Some("web1"),
        method: "GET",
        target: b"/api/users?page=2",
        host: Some(b"example.com"),
        version: "HTTP/1.1",
        client_address: "192.0.2.7",
        client_port: "51034",
        peer: "192.0.2.7:51034".parse().unwrap(),
        request_id: "0190f0c4-31d2-7e2b",
        user_agent: Some(b"curl/8.5.0"),
        referer: None,
        request_headers: &[],
        response_headers: &[],
        trace: None,
        status: Some(200),
        bytes_in: 0,
        bytes_out: 1_234,
        body_bytes_out: 1_024,
        times: Times {
            head: Duration::from_micros(40),
            queue: Some(Duration::from_micros(1_300)),
            connect: Some(Duration::from_micros(2_450)),
            first_byte: Some(Duration::from_micros(30_999)),
            total: Duration::from_micros(35_100),
        },
        attempts: 1,
        queued: Queued::default(),
        connections: 3,
        server_in_flight: 1,
        reasons: &[],
        notes: &[],
        termination: *b"--",
        fault: None,
        logged: true,
        closely: None,
    }
}

fn log(access: AccessTarget) -> Log {
    Log {
        level: "info".into(),
        access: Located {
            value: access,
            span: 0..0,
        },
        format: AccessFormat::Json,
        fields: standard(),
        captures: Captures::default(),
    }
}

fn started(log: &Log) -> Observers {
    let observers = Observers::default();
    let prepared = observers.access.prepare(log).unwrap();
    drop(observers.access.adopt(prepared));
    observers
}

/// What a line holds when nothing is said of it.
pub fn standard() -> Vec<AccessField> {
    use AccessField::{RequestHeaders, ResponseHeaders, TraceId};
    let more = [RequestHeaders, ResponseHeaders, TraceId];
    let all = AccessField::ALL.iter();
    all.filter(|field| !more.contains(field)).copied().collect()
}

#[test]
fn a_request_is_counted_and_logged_unless_its_route_says_no() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let observers = started(&log(AccessTarget::File(path.clone())));
    let worker = observers.observer().worker(WorkerId(0));
    worker.connection_opened("web");
    for logged in [true, false, true] {
        worker.request_started("web");
        worker.request_ended(&RequestEnded {
            logged,
            ..request()
        });
    }
    observers.flush();
    let lines = fs::read_to_string(&path).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let mut registry = Registry::default();
    observers.register(&mut registry);
    let mut metrics = String::new();
    text::encode(&mut metrics, &registry).unwrap();
    let expected = [
        "tidegate_requests_total{listener=\"web\",route=\"api\",pool=\"app\",server=\"web1\",code=\"2xx\"} 3\n",
        "tidegate_connections_open{listener=\"web\"} 1\n",
        "tidegate_access_log_lines_total 2\n",
        "tidegate_access_log_lines_dropped_total{reason=\"full\"} 0\n",
    ];
    for line in expected {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
}

#[test]
fn an_access_log_that_is_off_writes_nothing() {
    let observers = started(&log(AccessTarget::Off));
    observers
        .observer()
        .worker(WorkerId(0))
        .request_ended(&request());
    observers.flush();
    observers.reopen();
    let mut registry = Registry::default();
    observers.register(&mut registry);
    let mut metrics = String::new();
    text::encode(&mut metrics, &registry).unwrap();
    assert!(
        metrics.contains("tidegate_access_log_lines_total 0\n"),
        "{metrics}"
    );
}

/// Not a test of anything: prints what the comment on top of the module tells. Run with `--ignored --nocapture` and optimised.
#[test]
#[ignore = "a measurement"]
fn what_a_request_costs() {
    let folder = tempfile::tempdir().unwrap();
    let reasons: [(Rc<str>, String); 2] = [
        ("router".into(), "/api".into()),
        ("two-choices".into(), "1 < 3".into()),
    ];
    let mut targets = vec![("off".to_owned(), log(AccessTarget::Off))];
    for format in [
        AccessFormat::Json,
        AccessFormat::Combined,
        AccessFormat::Httplog,
    ] {
        let target = AccessTarget::File(folder.path().join(format!("{format:?}")));
        targets.push((
            format!("{format:?}"),
            Log {
                format,
                ..log(target)
            },
        ));
    }
    for (name, log) in targets {
        let observers = started(&log);
        let worker = observers.observer().worker(WorkerId(0));
        let mut rounds: Vec<u128> = (0..200)
            .map(|_| {
                let begin = Instant::now();
                for _ in 0..500 {
                    worker.request_started("web");
                    worker.request_ended(&RequestEnded {
                        reasons: &reasons,
                        ..request()
                    });
                }
                let took = begin.elapsed().as_nanos() / 500;
                observers.flush();
                took
            })
            .collect();
        rounds.sort_unstable();
        println!("{name}: median {} ns, best {} ns", rounds[100], rounds[0]);
    }
}
