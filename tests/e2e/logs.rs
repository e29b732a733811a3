//! The access log in its three formats, and `/metrics`.

use tidegate_tests::{Client, Origin, Proxy, Signal, listener, pool, site, wait_for, wait_until};

#[test]
fn json_says_why() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(
        listener("web", "router = \"router\"")
            + "[[route]]\nname = \"shop\"\npath = \"/shop\"\npool = \"app\"\n"
            + &pool("app", "balancer = \"round-robin\"", &[&origin]),
    );
    proxy.send("GET /shop/x?y=1 HTTP/1.1\nhost: shop.example\nuser-agent: te\"st\nreferer: http://r.example/");
    let line = &proxy.access_log(1)[0];
    for (key, value) in [
        ("listener", "web"),
        ("route", "shop"),
        ("pool", "app"),
        ("server", "a"),
        ("method", "GET"),
        ("host", "shop.example"),
        ("user_agent", "te\"st"),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert_eq!(line["status"], 200);
    assert_eq!(line["attempts"], 1);
    assert_eq!(line["generation"], 1);
    assert!(line.to_string().contains("/shop/x?y=1"), "{line}");
}

#[test]
fn a_request_is_logged_when_it_has_ended_not_when_its_connection_does() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let mut kept = Client::connect(proxy.address("web"));
    for n in 1..=3 {
        kept.get("/");
        assert_eq!(proxy.access_log(n).len(), n);
    }
}

#[test]
fn combined_is_what_log_analysers_read() {
    let lines = logged(
        "combined",
        "GET /x?y=1 HTTP/1.1\nhost: h\nuser-agent: te\"st\nreferer: http://r/",
    );
    let line = &lines[0];
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(
        line.contains("] \"GET /x?y=1 HTTP/1.1\" 200 2 \"http://r/\" \"te"),
        "{line}"
    );
    assert!(
        !line.contains("\"te\"st\""),
        "a quote in a value is escaped: {line}"
    );
}

#[test]
fn httplog_is_what_haproxy_users_read() {
    let lines = logged("httplog", "GET /x HTTP/1.1\nhost: h");
    let line = &lines[0];
    assert!(
        line.contains(" web app/a "),
        "frontend backend/server: {line}"
    );
    assert!(line.ends_with("\"GET /x HTTP/1.1\""), "{line}");
    assert!(line.contains(" ---- "), "no abnormal end: {line}");
    let timers = line
        .split_whitespace()
        .find(|word| word.matches('/').count() == 4)
        .expect("five timers");
    assert!(
        timers.split('/').all(|t| t.parse::<i64>().is_ok()),
        "{line}"
    );
}

#[test]
fn a_value_cannot_forge_a_line() {
    for format in ["json", "combined", "httplog"] {
        let lines = logged(
            format,
            "GET /%0a%0dforged HTTP/1.1\nhost: h\nuser-agent: a\tb",
        );
        assert_eq!(lines.len(), 1, "{format}: {lines:?}");
    }
}

#[test]
fn a_route_may_keep_out_of_the_log() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(
        listener("web", "router = \"router\"\npool = \"app\"")
            + "[[route]]\npath = \"/quiet\"\npool = \"app\"\naccess-log = false\n"
            + &pool("app", "", &[&origin]),
    );
    proxy.get("/quiet");
    proxy.get("/loud");
    let log = proxy.access_log(1);
    assert_eq!(log.len(), 1);
    assert!(log[0].to_string().contains("/loud"), "{log:?}");
}

#[test]
fn the_log_may_go_to_a_file() {
    let origin = Origin::named("a");
    let log = "[log]\naccess = \"./access.log\"\nformat = \"json\"\n";
    let proxy = Proxy::start(log.to_owned() + &site("round-robin", &[&origin]));
    proxy.get("/to-a-file");
    let path = proxy.path().join("access.log");
    wait_for("a line in the file", || {
        std::fs::read_to_string(&path)
            .ok()
            .filter(|text| text.contains("/to-a-file") && text.ends_with('\n'))
    });
    assert!(proxy.stdout().is_empty(), "{:?}", proxy.stdout());
}

#[test]
fn metrics_count_requests_and_plugin_calls() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    proxy.origins("/", 25);
    // A request has ended a moment after its client has the answer.
    let metrics = wait_for("25 requests to be counted", || {
        let metrics = proxy.metrics();
        let counted = metrics.sum("tidegate_requests_total", &[("listener", "web")]);
        (counted >= 25.0).then_some(metrics)
    });
    for name in metrics.names() {
        assert!(name.starts_with("tidegate_"), "{name}");
    }
    assert_eq!(
        metrics.sum("tidegate_requests_total", &[("listener", "web")]),
        25.0,
        "{}",
        metrics.text
    );
    assert_eq!(
        metrics.sum("tidegate_plugin_calls_total", &[("plugin", "round-robin")]),
        25.0,
        "{}",
        metrics.text
    );
    assert_eq!(
        metrics.sum("tidegate_plugin_instances", &[("plugin", "round-robin")]),
        2.0,
        "{}",
        metrics.text
    );
}

/// The access log after this one request.
fn logged(format: &str, request: &str) -> Vec<String> {
    let origin = Origin::named("a");
    let log = format!("[log]\naccess = \"stdout\"\nformat = \"{format}\"\n");
    let proxy = Proxy::start(log + &site("round-robin", &[&origin]));
    proxy.send(request);
    wait_for("a line", || {
        Some(proxy.stdout()).filter(|lines| !lines.is_empty())
    })
}

#[test]
fn a_file_that_was_moved_is_opened_anew() {
    let origin = Origin::named("a");
    let log = "\n[log]\naccess = \"./access.log\"\nformat = \"json\"\n";
    let proxy = Proxy::start(site("round-robin", &[&origin]) + log);
    let (path, moved) = (
        proxy.path().join("access.log"),
        proxy.path().join("access.log.1"),
    );
    let lines = |path: &std::path::Path, target: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| line.contains(target)).count()
    };
    proxy.get("/before");
    wait_until("the line is written", || lines(&path, "/before") == 1);
    std::fs::rename(&path, &moved).expect("it can be moved");
    proxy.get("/meanwhile");
    wait_until("the file goes on until told", || {
        lines(&moved, "/meanwhile") == 1
    });
    proxy.signal(Signal::USR1);
    wait_until("a new file is there", || path.exists());
    proxy.get("/after");
    wait_until("the line is in the new file", || {
        lines(&path, "/after") == 1
    });
    assert_eq!(lines(&moved, "/after"), 0);
}
