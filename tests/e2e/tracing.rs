//! Traces: what servers are told by W3C Trace Context, and what a collector gets by OTLP.

use std::time::{Duration, Instant};

use tidegate_tests::{
    Authority, Collector, Front, Origin, Port, Proxy, Setup, Signal, curl, listener, reply, server,
    site, wait_for, wait_until,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// Version, trace, parent and flags of what the origin got last.
fn told(origin: &Origin) -> [String; 4] {
    let last = origin.last();
    let all = last.all("traceparent");
    assert_eq!(all.len(), 1, "{all:?}");
    let parts: Vec<String> = all[0].split('-').map(str::to_owned).collect();
    parts.try_into().expect("four parts")
}

fn ask(proxy: &Proxy, version: &str, path: &str, lines: &[&str]) {
    let url = proxy.url(path);
    let mut arguments = vec![version, url.as_str()];
    for line in lines {
        arguments.extend(["-H", line]);
    }
    curl(&arguments);
}

#[test]
fn a_request_is_told_to_the_server_and_to_the_collector_by_the_same_ids() {
    let (origin, collector) = (Origin::named("a"), Collector::start());
    let lines = "service-name = \"edge\"\nheaders = { x-key = { env = \"COLLECTOR_KEY\" } }";
    let proxy = Setup::new(collector.section(lines) + &site("round-robin", &[&origin]))
        .env("COLLECTOR_KEY", "secret")
        .start();
    for (version, name) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let path = format!("/{name}");
        ask(
            &proxy,
            version,
            &format!("{path}?q=1"),
            &["user-agent: test"],
        );
        let (request, call) = collector.request(&path);
        let call = call.expect("a span of the call");
        let [version, trace, parent, flags] = told(&origin);
        assert_eq!((&*version, &*flags), ("00", "01"));
        assert_eq!(trace, request.id("traceId"));
        assert_eq!(trace, call.id("traceId"));
        assert_eq!(parent, call.id("spanId"));
        assert_eq!(
            request.json.get("parentSpanId"),
            None,
            "the trace begins here"
        );
        assert_eq!(proxy.logged(&format!("{path}?q=1"))["trace_id"], *trace);
        let address = origin.address();
        for (span, key, value) in [
            (&request, "http.request.method", "GET"),
            (&request, "url.query", "q=1"),
            (&request, "url.scheme", "http"),
            (&request, "network.protocol.version", name),
            (&request, "server.address", "127.0.0.1"),
            (&request, "client.address", "127.0.0.1"),
            (&request, "user_agent.original", "test"),
            (&request, "http.response.status_code", "200"),
            (&request, "tidegate.pool", "app"),
            (&request, "tidegate.server", "a"),
            (&request, "tidegate.attempts", "1"),
            (&call, "server.address", &address.ip().to_string()),
            (&call, "server.port", &address.port().to_string()),
            (&call, "http.response.status_code", "200"),
        ] {
            let seen = span.attributes.get(key).map(String::as_str);
            assert_eq!(seen, Some(value), "{key} of {}", span.json);
        }
        assert_eq!(request.resource["service.name"], "edge");
    }
    let export = collector.origin.last();
    assert_eq!((export.method(), export.target()), ("POST", "/v1/traces"));
    assert_eq!(export.header("x-key"), Some("secret"));
}

#[test]
fn whoever_asks_decides_whether_he_is_traced() {
    let (origin, collector) = (Origin::named("a"), Collector::start());
    let proxy = Proxy::start(collector.section("sample = 0") + &site("round-robin", &[&origin]));
    let wanted = format!("traceparent: {}", traceparent("01"));
    ask(
        &proxy,
        "--http1.1",
        "/wanted",
        &[&wanted, "tracestate: a=1"],
    );
    let [_, trace, parent, flags] = told(&origin);
    assert_eq!((&*trace, &*flags), (TRACE, "01"));
    assert_eq!(origin.last().header("tracestate"), Some("a=1"));
    let (request, call) = collector.request("/wanted");
    assert_eq!(request.id("parentSpanId"), PARENT);
    assert_eq!(parent, call.expect("a call").id("spanId"));
    // One that is not wanted passes as it came, and one without a trace has one that is not sampled.
    let unwanted = format!("traceparent: {}", traceparent("00"));
    ask(&proxy, "--http1.1", "/unwanted", &[&unwanted]);
    assert_eq!(
        origin.last().header("traceparent"),
        Some(&*traceparent("00"))
    );
    ask(&proxy, "--http1.1", "/plain", &["tracestate: a=1"]);
    let [_, trace, _, flags] = told(&origin);
    assert_eq!(flags, "00");
    assert_eq!(origin.last().header("tracestate"), None, "it has no trace");
    assert_eq!(proxy.logged("/plain")["trace_id"], *trace);
    ask(&proxy, "--http1.1", "/last", &[&wanted]);
    collector.request("/last");
    assert_eq!(collector.spans(4).len(), 4, "of two requests");
}

#[test]
fn a_share_of_none_and_of_all_may_hold_whatever_clients_say() {
    for (sample, flags, count) in [("0", "01", 0), ("1.0", "00", 2)] {
        let (origin, collector) = (Origin::named("a"), Collector::start());
        let lines = format!("sample = {sample}\nparent-based = false");
        let mut proxy = Proxy::start(collector.section(&lines) + &site("round-robin", &[&origin]));
        let line = format!("traceparent: {}", traceparent(flags));
        ask(&proxy, "--http1.1", "/x", &[&line]);
        assert_eq!(told(&origin)[1], TRACE, "it is the same trace");
        proxy.logged("/x");
        // What waits is exported before the process is gone.
        proxy.signal(Signal::TERM);
        assert!(proxy.exit().success());
        assert_eq!(collector.spans(0).len(), count, "sample = {sample}");
    }
}

#[test]
fn without_tracing_what_is_said_of_a_trace_passes_unchanged() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let line = format!("traceparent: {}", traceparent("01"));
        ask(&proxy, version, "/x", &[&line, "tracestate: a=1,b=2"]);
        let last = origin.last();
        assert_eq!(last.all("traceparent"), [traceparent("01")]);
        assert_eq!(last.all("tracestate"), ["a=1,b=2"]);
        ask(&proxy, version, "/x", &[]);
        assert_eq!(origin.last().header("traceparent"), None);
    }
    assert_eq!(proxy.logged("/x").get("trace_id"), None);
    assert!(!proxy.metrics().text.contains("tidegate_trace"));
}

#[test]
fn what_is_no_traceparent_begins_a_trace() {
    let (origin, collector) = (Origin::named("a"), Collector::start());
    let proxy = Proxy::start(collector.section("") + &site("round-robin", &[&origin]));
    let twice = format!("traceparent: {}", traceparent("01"));
    for lines in [
        &["traceparent: 00-zz-01", "tracestate: a=1"][..],
        &[&*twice, &*twice, "tracestate: a=1"],
    ] {
        ask(&proxy, "--http1.1", "/x", lines);
        let [_, trace, _, flags] = told(&origin);
        assert!(trace != TRACE && flags == "01", "{trace} {flags}");
        assert_eq!(origin.last().header("tracestate"), None);
    }
}

#[test]
fn attempts_and_failures_are_told() {
    let (origin, gone, collector) = (Origin::named("a"), Port::free(), Collector::start());
    let dead = format!("{{ name = \"dead\", address = \"{}\" }}", gone.address());
    let pools = |name: &str, servers: &str| {
        format!(
            "[[pool]]\nname = \"{name}\"\nbalancer = \"first\"\nretries = 1\nservers = [{servers}]\n"
        )
    };
    let proxy = Proxy::start(
        collector.section("")
            + &listener("web", "router = \"router\"\npool = \"app\"")
            + "[[route]]\nname = \"dead\"\npath = \"/dead\"\npool = \"dead\"\n"
            + &pools("app", &format!("{dead}, {}", server(&origin, "")))
            + &pools("dead", &dead),
    );
    proxy.get("/x");
    let (request, call) = collector.request("/x");
    let call = call.expect("a call");
    assert_eq!(request.attributes["tidegate.attempts"], "2");
    assert_eq!(request.json.get("status"), None);
    assert_eq!(call.attributes["http.request.resend_count"], "1");
    assert_eq!(call.attributes["tidegate.server"], "a");
    assert_eq!(told(&origin)[2], call.id("spanId"));
    assert_eq!(proxy.get("/dead").status(), 503);
    let (request, call) = collector.request("/dead");
    assert_eq!(request.json["status"]["code"], 2);
    assert_eq!(request.json["name"], "GET dead");
    assert_eq!(request.attributes["error.type"], "connect-failed");
    assert_eq!(
        call.expect("a call").attributes["error.type"],
        "connect-failed"
    );
}

#[test]
fn a_collector_that_hangs_or_is_gone_costs_spans_and_nothing_else() {
    let hanging = Collector::answering(|_, _| {
        std::thread::park_timeout(Duration::from_secs(60));
        Ok(())
    });
    let gone = Port::free();
    let gone = format!(
        "[tracing]\nendpoint = \"http://{}/v1/traces\"\n",
        gone.address()
    );
    for section in [hanging.section(""), gone] {
        let origin = Origin::named("a");
        let config = section + "queue = 8\ntimeout = \"50ms\"\n" + &site("round-robin", &[&origin]);
        let mut proxy = Proxy::start(config);
        let begun = Instant::now();
        assert_eq!(proxy.origins("/", 500), vec!["a"; 500]);
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
        let dropped = |reason| {
            let metrics = proxy.metrics();
            metrics.sum("tidegate_trace_spans_dropped_total", &[("reason", reason)])
        };
        wait_until("spans find no room", || dropped("full") >= 900.0);
        let log = proxy.wait_for_log(&["spans can't be exported", "collector="]);
        assert!(!log.is_empty());
        assert_eq!(proxy.metrics().sum("tidegate_trace_spans_total", &[]), 0.0);
        // Nor does it hold up the end.
        proxy.signal(Signal::TERM);
        let begun = Instant::now();
        assert!(proxy.exit().success());
        assert!(
            begun.elapsed() < Duration::from_secs(8),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn an_export_that_fails_for_a_while_is_made_again() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let collector = Collector::answering(move |_, stream| {
        match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => reply(stream, 503, &[("retry-after", "0")], "later"),
            _ => reply(
                stream,
                200,
                &[],
                r#"{"partialSuccess":{"rejectedSpans":"1"}}"#,
            ),
        }
    });
    let origin = Origin::named("a");
    let proxy = Proxy::start(collector.section("") + &site("round-robin", &[&origin]));
    proxy.get("/x");
    let metrics = wait_for("an export", || {
        let metrics = proxy.metrics();
        (metrics.sum("tidegate_trace_spans_total", &[]) > 0.0).then_some(metrics)
    });
    let dropped = |reason| metrics.sum("tidegate_trace_spans_dropped_total", &[("reason", reason)]);
    assert_eq!(metrics.sum("tidegate_trace_spans_total", &[]), 1.0);
    assert_eq!(
        (dropped("refused"), dropped("failed"), dropped("full")),
        (1.0, 0.0, 0.0)
    );
    let exports = collector.origin.requests();
    assert_eq!(exports.len(), 2);
    assert_eq!(exports[0].text(), exports[1].text(), "the same spans");
    assert_eq!(collector.origin.accepted(), 1, "on the same connection");
}

#[test]
fn spans_that_are_not_wanted_are_counted() {
    let collector = Collector::answering(|_, stream| reply(stream, 400, &[], "no"));
    let origin = Origin::named("a");
    let proxy = Proxy::start(collector.section("") + &site("round-robin", &[&origin]));
    proxy.get("/x");
    wait_until("they are counted", || {
        let labels = [("reason", "refused")];
        proxy
            .metrics()
            .sum("tidegate_trace_spans_dropped_total", &labels)
            == 2.0
    });
    proxy.wait_for_log(&["spans can't be exported", "it answered 400"]);
    assert_eq!(collector.origin.served(), 1, "and not sent again");
}

#[test]
fn a_collector_may_speak_tls() {
    let (ca, collector) = (Authority::new("ca"), Collector::start());
    let front = Front::of(collector.origin.address(), &ca.issue(&["127.0.0.1"]));
    let section = |ca: &str| {
        let address = front.address();
        format!("[tracing]\nendpoint = \"https://{address}/v1/traces\"\nca = \"{ca}\"\n")
    };
    let origin = Origin::named("a");
    let config = |ca: &str| section(ca) + &site("round-robin", &[&origin]);
    let mut proxy = Setup::new(config("other.pem"))
        .file("ca.pem", ca.pem())
        .file("other.pem", Authority::new("other").pem())
        .start();
    proxy.get("/x");
    proxy.wait_for_log(&["spans can't be exported", "no authority that is trusted"]);
    proxy.reconfigure(config("ca.pem"));
    collector.request("/x");
}

#[test]
fn tracing_begins_and_ends_by_a_reload() {
    let (origin, collector) = (Origin::named("a"), Collector::start());
    let plain = site("round-robin", &[&origin]);
    let mut proxy = Proxy::start(&plain);
    proxy.get("/before");
    let inline = "headers = { authorization = \"Bearer hunter2\" }";
    proxy.reconfigure(collector.section(inline) + &plain);
    proxy.get("/during");
    collector.request("/during");
    assert_eq!(
        collector.origin.last().header("authorization"),
        Some("Bearer hunter2")
    );
    let shown = proxy.admin("GET", "/api/v1/config", b"").text();
    assert!(
        shown.contains("/v1/traces") && !shown.contains("hunter2"),
        "{shown}"
    );
    proxy.reconfigure(&plain);
    proxy.get("/after");
    assert_eq!(origin.last().header("traceparent"), None);
    proxy.logged("/after");
    assert_eq!(collector.spans(2).len(), 2);
}
