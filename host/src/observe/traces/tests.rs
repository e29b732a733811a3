//! Spans against the JSON mapping of OTLP, and the queue's bounds.

use std::collections::BTreeMap;

use serde_json::Value;

use super::batch::Batch;
use super::*;
use crate::base::event::{RequestEnded, Trace};
use crate::observe::tests::request;

const ENDED: Duration = Duration::from_nanos(1_795_368_707_648_100_001);

fn trace() -> Trace<'static> {
    Trace {
        id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
        parent: Some(0x00f0_67aa_0ba9_02b7),
        span: 0x0102_0304_0506_0708,
        call: 0x090a_0b0c_0d0e_0f10,
        sampled: true,
        scheme: "https",
        server_address: Some("[2001:db8::1]:8080"),
    }
}

/// The spans of a request, read from the body of an export.
fn spans(request: &RequestEnded<'_>, trace: &Trace<'_>) -> Vec<Value> {
    let report = span::report_at(request, trace, ENDED);
    let (mut batch, queue) = (Batch::default(), Queue::default());
    queue.waiting.store(report.spans, Relaxed);
    queue.bytes.store(report.json.len(), Relaxed);
    batch.take(report, &queue);
    assert_eq!(
        (queue.waiting.into_inner(), queue.bytes.into_inner()),
        (0, 0)
    );
    let body: Value = serde_json::from_slice(&batch.body("edge")).expect("JSON");
    let resource = &body["resourceSpans"][0];
    assert_eq!(attributes(&resource["resource"])["service.name"], "edge");
    resource["scopeSpans"][0]["spans"]
        .as_array()
        .unwrap()
        .clone()
}

fn attributes(of: &Value) -> BTreeMap<String, String> {
    let list = of["attributes"].as_array().unwrap().iter();
    let list = list.map(|attribute| {
        let value = attribute["value"].as_object().unwrap();
        assert_eq!(value.len(), 1, "{attribute}");
        let value = value.values().next().unwrap().as_str().unwrap();
        (
            attribute["key"].as_str().unwrap().to_owned(),
            value.to_owned(),
        )
    });
    list.collect()
}

#[test]
fn a_request_and_its_call_are_told() {
    let spans = spans(&request(), &trace());
    let [server, call] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(server["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(server["spanId"], "0102030405060708");
    assert_eq!(server["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(
        (&server["kind"], &server["name"]),
        (&Value::from(2), &Value::from("GET api"))
    );
    assert_eq!(server["startTimeUnixNano"], "1795368707613000001");
    assert_eq!(server["endTimeUnixNano"], "1795368707648100001");
    assert_eq!(server.get("status"), None);
    let told = attributes(server);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/api/users"),
        ("url.query", "page=2"),
        ("url.scheme", "https"),
        ("server.address", "example.com"),
        ("client.address", "192.0.2.7"),
        ("client.port", "51034"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "curl/8.5.0"),
        ("http.response.status_code", "200"),
        ("tidegate.listener", "web"),
        ("tidegate.route", "api"),
        ("tidegate.pool", "app"),
        ("tidegate.server", "web1"),
        ("tidegate.attempts", "1"),
    ] {
        assert_eq!(told.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(call["traceId"], server["traceId"]);
    assert_eq!(call["spanId"], "090a0b0c0d0e0f10");
    assert_eq!(call["parentSpanId"], server["spanId"]);
    assert_eq!(
        (&call["kind"], &call["name"]),
        (&Value::from(3), &Value::from("GET"))
    );
    assert_eq!(
        call["startTimeUnixNano"], "1795368707614340001",
        "a server was chosen"
    );
    let told = attributes(call);
    assert_eq!(
        (&*told["server.address"], &*told["server.port"]),
        ("2001:db8::1", "8080")
    );
    assert!(!told.contains_key("http.request.resend_count"));
}

#[test]
fn errors_are_told_as_the_side_sees_them() {
    let status = |status| RequestEnded {
        status: Some(status),
        ..request()
    };
    let told = |request: &RequestEnded<'_>| -> Vec<(bool, Option<String>)> {
        let spans = spans(request, &trace());
        let spans = spans.iter();
        let told = spans.map(|span| {
            let error = span["status"]["code"] == 2;
            (error, attributes(span).remove("error.type"))
        });
        told.collect()
    };
    assert_eq!(told(&status(200)), [(false, None), (false, None)]);
    let by_status = |code: &str| (true, Some(code.to_owned()));
    assert_eq!(told(&status(404)), [(false, None), by_status("404")]);
    assert_eq!(told(&status(503)), [by_status("503"), by_status("503")]);
    let failed = RequestEnded {
        fault: Some("connect-failed"),
        attempts: 3,
        method: "BREW",
        ..status(503)
    };
    assert_eq!(
        told(&failed),
        [by_status("connect-failed"), by_status("connect-failed")]
    );
    let spans = spans(&failed, &trace());
    let call = attributes(&spans[1]);
    assert_eq!(call["http.request.resend_count"], "2");
    assert!(
        !call.contains_key("http.response.status_code"),
        "no server answered"
    );
    assert_eq!(spans[0]["name"], "HTTP api");
    assert_eq!(call["http.request.method"], "_OTHER");
    assert_eq!(call["http.request.method_original"], "BREW");
}

#[test]
fn a_request_that_went_nowhere_has_one_span() {
    let request = RequestEnded {
        attempts: 0,
        server: None,
        ..request()
    };
    let trace = Trace {
        parent: None,
        ..trace()
    };
    let spans = spans(&request, &trace);
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].get("parentSpanId"), None);
}

#[test]
fn values_are_bounded_and_json_whatever_they_are() {
    let every: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let request = RequestEnded {
        target: &every,
        host: Some(&every),
        user_agent: Some(&every),
        ..request()
    };
    let report = span::report_at(&request, &trace(), ENDED);
    assert!(report.json.len() < 64 << 10, "{}", report.json.len());
    assert_eq!(spans(&request, &trace()).len(), 2);
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    let traces = Traces::new();
    let worker = traces.worker();
    let sampled = RequestEnded {
        trace: Some(trace()),
        ..request()
    };
    let skipped = RequestEnded {
        trace: Some(Trace {
            sampled: false,
            ..trace()
        }),
        ..request()
    };
    worker.write(&sampled);
    assert_eq!(traces.queue.full.load(Relaxed), 2, "nobody wants any");
    traces.queue.room.store(5, Relaxed);
    for _ in 0..4 {
        worker.write(&sampled);
        worker.write(&skipped);
    }
    assert_eq!(traces.queue.waiting.load(Relaxed), 4);
    assert_eq!(traces.queue.full.load(Relaxed), 6);
}
