//! Sums, series and the text that Prometheus gets.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use prometheus_client::encoding::text;

use super::*;
use crate::base::event::{RequestEnded, Times};
use crate::observe::tests::request;

fn scrape(metrics: &Arc<Metrics>) -> BTreeMap<String, f64> {
    let mut registry = Registry::default();
    register(&mut registry, metrics.clone());
    let mut text = String::new();
    text::encode(&mut text, &registry).unwrap();
    parse(&text)
}

/// Reads OpenMetrics text strictly: each sample belongs to the family declared last, by a suffix that its type has.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let (mut family, mut kind, mut seen) = (String::new(), String::new(), Vec::new());
    let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').unwrap();
            assert!(name.starts_with("tidegate_"), "{name}");
            assert!(!seen.contains(&name.to_owned()), "{name} comes twice");
            seen.push(name.to_owned());
            (family, kind) = (name.into(), of.into());
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(name.ends_with(unit) && name == family, "{line}");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let suffix = name.strip_prefix(&family).expect(line);
            let suffixes: &[&str] = match &*kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_sum", "_count", "_bucket"],
                other => panic!("{other}"),
            };
            assert!(suffixes.contains(&suffix), "{line} in a {kind}");
            let value = value.parse().expect(line);
            assert!(
                samples.insert(series.into(), value).is_none(),
                "{series} comes twice"
            );
        }
    }
    samples
}

#[track_caller]
fn expect(samples: &BTreeMap<String, f64>, series: &str, value: f64) {
    assert_eq!(
        samples.get(series),
        Some(&value),
        "{series} in {samples:#?}"
    );
}

#[test]
fn workers_are_summed_while_they_count() {
    const WORKERS: u32 = 4;
    const EACH: u32 = 20_000;
    let metrics = Arc::new(Metrics::new(MOST_SERIES));
    let (begun, done) = (Barrier::new(WORKERS as usize + 1), AtomicBool::new(false));
    thread::scope(|scope| {
        let counting: Vec<_> = (0..WORKERS)
            .map(|id| {
                let (metrics, begun) = (&metrics, &begun);
                scope.spawn(move || {
                    let worker = metrics.worker(WorkerId(id));
                    begun.wait();
                    worker.connection_opened("web");
                    for n in 0..EACH {
                        let server = ["web1", "web2"][n as usize % 2];
                        worker.request_started("web");
                        worker.request_ended(&RequestEnded {
                            server: Some(server),
                            ..request()
                        });
                    }
                    worker.request_started("web");
                })
            })
            .collect();
        let scraping = scope.spawn(|| {
            begun.wait();
            let mut before = 0.0;
            while !done.load(Relaxed) {
                let samples = scrape(&metrics);
                let now = samples.get("tidegate_connections_total{listener=\"web\"}");
                let now = now.copied().unwrap_or_default();
                assert!(now >= before, "a counter went back from {before} to {now}");
                before = now;
            }
        });
        counting
            .into_iter()
            .for_each(|worker| worker.join().unwrap());
        done.store(true, Relaxed);
        scraping.join().unwrap();
    });
    let samples = scrape(&metrics);
    let half = f64::from(WORKERS * EACH / 2);
    for server in ["web1", "web2"] {
        let series = format!(
            "tidegate_requests_total{{listener=\"web\",route=\"api\",pool=\"app\",server=\"{server}\",code=\"2xx\"}}"
        );
        expect(&samples, &series, half);
    }
    let all = f64::from(WORKERS * EACH);
    let exchange = "{listener=\"web\",pool=\"app\"}";
    expect(
        &samples,
        &format!("tidegate_request_duration_seconds_count{exchange}"),
        all,
    );
    expect(
        &samples,
        &format!("tidegate_response_bytes_total{exchange}"),
        all * 1_234.0,
    );
    expect(
        &samples,
        "tidegate_requests_in_flight{listener=\"web\"}",
        f64::from(WORKERS),
    );
    expect(
        &samples,
        "tidegate_connections_open{listener=\"web\"}",
        f64::from(WORKERS),
    );
    expect(&samples, "tidegate_worker_connections{worker=\"3\"}", 1.0);
    // Requests and what was served by each of both, exchanges, the pool, the listener.
    expect(
        &samples,
        "tidegate_metric_series",
        2.0 + 2.0 + 1.0 + 1.0 + 1.0,
    );
}

#[test]
fn each_kind_of_end_is_told() {
    let metrics = Arc::new(Metrics::new(MOST_SERIES));
    let worker = metrics.worker(WorkerId(0));
    worker.connection_opened("web");
    worker.connection_opened("web");
    worker.connection_closed("web");
    worker.request_started("web");
    let retried = RequestEnded {
        status: Some(502),
        attempts: 3,
        bytes_in: 10,
        fault: Some("connect"),
        termination: *b"SC",
        times: Times {
            connect: Some(Duration::ZERO),
            total: Duration::from_millis(5),
            ..Times::default()
        },
        ..request()
    };
    assert_eq!(
        worker.request_ended(&retried),
        1,
        "connections at the listener"
    );
    // Never became a request: no duration, and nothing that was in flight.
    let unread = RequestEnded {
        started: false,
        route: None,
        pool: None,
        server: None,
        status: Some(408),
        fault: Some("request-timeout"),
        ..request()
    };
    worker.request_ended(&unread);
    worker.request_started("web");
    worker.request_ended(&RequestEnded {
        status: None,
        ..request()
    });
    worker.request_started("web");
    worker.request_ended(&RequestEnded {
        status: Some(600),
        ..request()
    });
    let samples = scrape(&metrics);
    let web1 = "listener=\"web\",route=\"api\",pool=\"app\",server=\"web1\"";
    for code in ["5xx", "none", "other"] {
        expect(
            &samples,
            &format!("tidegate_requests_total{{{web1},code=\"{code}\"}}"),
            1.0,
        );
    }
    let nowhere = "listener=\"web\",route=\"\",pool=\"\",server=\"\"";
    expect(
        &samples,
        &format!("tidegate_requests_total{{{nowhere},code=\"4xx\"}}"),
        1.0,
    );
    expect(&samples, "tidegate_retries_total{pool=\"app\"}", 2.0);
    expect(
        &samples,
        "tidegate_faults_total{listener=\"web\",pool=\"app\",server=\"web1\",fault=\"connect\"}",
        1.0,
    );
    expect(
        &samples,
        "tidegate_faults_total{listener=\"web\",pool=\"\",server=\"\",fault=\"request-timeout\"}",
        1.0,
    );
    expect(
        &samples,
        "tidegate_request_body_bytes_total{listener=\"web\",pool=\"app\"}",
        10.0,
    );
    expect(
        &samples,
        "tidegate_connections_total{listener=\"web\"}",
        2.0,
    );
    expect(&samples, "tidegate_connections_open{listener=\"web\"}", 1.0);
    expect(
        &samples,
        "tidegate_requests_in_flight{listener=\"web\"}",
        0.0,
    );
    expect(
        &samples,
        "tidegate_request_duration_seconds_count{listener=\"web\",pool=\"\"}",
        0.0,
    );
    // The first one's connection was a kept one, so two were made.
    expect(
        &samples,
        "tidegate_connect_duration_seconds_count{pool=\"app\"}",
        2.0,
    );
    expect(
        &samples,
        "tidegate_first_byte_duration_seconds_count{pool=\"app\"}",
        2.0,
    );
}

#[test]
fn a_fault_names_the_server_that_is_to_blame() {
    let metrics = Arc::new(Metrics::new(MOST_SERIES));
    let worker = metrics.worker(WorkerId(0));
    let ends = [
        (*b"SC", "web1"),
        (*b"sH", "web1"),
        (*b"PH", "web1"),
        (*b"DD", "web1"),
        (*b"sQ", ""),
        (*b"CD", ""),
        (*b"cD", ""),
        (*b"PR", ""),
        (*b"KD", ""),
    ];
    for (termination, server) in ends {
        let fault = std::str::from_utf8(termination.as_slice())
            .map(str::to_owned)
            .unwrap();
        let fault: &'static str = fault.leak();
        worker.request_ended(&RequestEnded {
            started: false,
            termination,
            fault: Some(fault),
            ..request()
        });
        let labels = format!("listener=\"web\",pool=\"app\",server=\"{server}\",fault=\"{fault}\"");
        expect(
            &scrape(&metrics),
            &format!("tidegate_faults_total{{{labels}}}"),
            1.0,
        );
    }
}

#[test]
fn a_bucket_holds_its_upper_bound() {
    let metrics = Arc::new(Metrics::new(MOST_SERIES));
    let worker = metrics.worker(WorkerId(0));
    let times =
        [100_000, 100_001, 1_000_000, 60_000_000_000, 60_000_000_001].map(Duration::from_nanos);
    for total in times {
        let times = Times {
            total,
            ..Times::default()
        };
        worker.request_ended(&RequestEnded { times, ..request() });
    }
    let samples = scrape(&metrics);
    let bucket = |le: &str| {
        let series = format!(
            "tidegate_request_duration_seconds_bucket{{le=\"{le}\",listener=\"web\",pool=\"app\"}}"
        );
        samples[&series]
    };
    assert_eq!(bucket("0.0001"), 1.0);
    assert_eq!(bucket("0.00025"), 2.0);
    assert_eq!(bucket("0.0005"), 2.0);
    assert_eq!(bucket("0.001"), 3.0);
    assert_eq!(bucket("60.0"), 4.0);
    assert_eq!(bucket("+Inf"), 5.0);
    let sum = samples["tidegate_request_duration_seconds_sum{listener=\"web\",pool=\"app\"}"];
    assert!((sum - 120.001_200_002).abs() < 1e-9, "{sum}");
}

#[test]
fn names_without_room_are_counted_together_and_told_of() {
    // A pool, a listener, listener and pool, and for two servers what they served and the requests.
    let metrics = Arc::new(Metrics::new(7));
    let workers = [0, 1].map(|id| metrics.worker(WorkerId(id)));
    for server in ["a", "b", "c", "d", "a"] {
        workers[0].request_started("web");
        workers[0].request_ended(&RequestEnded {
            server: Some(server),
            ..request()
        });
    }
    // Known to the other worker only: no room here.
    workers[1].request_ended(&RequestEnded {
        server: Some("a"),
        fault: Some("reset"),
        ..request()
    });
    let samples = scrape(&metrics);
    let of = |names: &str| format!("tidegate_requests_total{{{names},code=\"2xx\"}}");
    let web = "listener=\"web\",route=\"api\",pool=\"app\"";
    let other = "listener=\"other\",route=\"other\",pool=\"other\",server=\"other\"";
    expect(&samples, &of(&format!("{web},server=\"a\"")), 2.0);
    expect(&samples, &of(&format!("{web},server=\"b\"")), 1.0);
    expect(&samples, &of(other), 3.0);
    expect(
        &samples,
        "tidegate_faults_total{listener=\"other\",pool=\"other\",server=\"other\",fault=\"other\"}",
        1.0,
    );
    expect(&samples, "tidegate_metric_series", 7.0);
    expect(&samples, "tidegate_metric_series_overflow_total", 3.0);
}

#[test]
fn a_long_chain_of_series_ends_without_recursion() {
    let metrics = Arc::new(Metrics::new(MOST_SERIES));
    let worker = metrics.worker(WorkerId(0));
    for n in 0..40_000 {
        let server = n.to_string();
        worker.request_ended(&RequestEnded {
            server: Some(&server),
            ..request()
        });
    }
    assert_eq!(metrics.requests.sums().len(), 40_000);
    drop(worker);
    drop(metrics);
}
