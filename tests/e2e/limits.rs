//! Limits and what a breach of each looks like: to the client, in the log, in the metrics.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use tidegate_tests::{Client, Origin, Proxy, Setup, listener, pool, wait_until};

#[test]
fn who_comes_to_a_full_listener_waits_until_there_is_room() {
    let origin = Origin::named("a");
    let two_addresses = web("max-connections = 2", &origin)
        .replace("bind = \"@web\"", "bind = [\"@web\", \"@same\"]");
    let proxy = Proxy::start(two_addresses);
    let mut first = connected(&proxy);
    let mut second = connected(&proxy);
    proxy.wait_for_log(&["WARN", "max-connections", "listener=\"web\"", "limit=2"]);
    let mut third = Client::connect(proxy.address("same"));
    third
        .write(b"GET /third HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    assert_eq!(first.get("/").status(), 200);
    assert_eq!(third.pending().expect("it is not turned away"), 0);
    assert_eq!(open(&proxy), 2.0);
    drop(first);
    assert_eq!(third.read().expect("now it is served").status(), 200);
    assert_eq!(second.get("/").status(), 200);
    let metrics = proxy.metrics();
    let web = [("listener", "web")];
    assert_eq!(metrics.sum("tidegate_connection_limit", &web), 2.0);
    assert_eq!(metrics.sum("tidegate_connections_held_total", &web), 1.0);
    assert_eq!(metrics.sum("tidegate_connections_refused_total", &web), 0.0);
}

#[test]
fn one_client_too_often_is_reset_and_others_are_served() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(web("max-connections-per-client = 2", &origin));
    let mut kept = [connected(&proxy), connected(&proxy)];
    for _ in 0..5 {
        expect_reset(&proxy);
    }
    let mut other = Client::connect_from(Ipv4Addr::new(127, 0, 0, 2), proxy.address("web"));
    assert_eq!(other.get("/").status(), 200);
    let reason = [
        ("listener", "web"),
        ("reason", "max-connections-per-client"),
    ];
    let metrics = proxy.metrics();
    assert_eq!(
        metrics.sum("tidegate_connections_refused_total", &reason),
        5.0
    );
    assert_eq!(metrics.sum("tidegate_connections_total", &reason[..1]), 3.0);
    proxy.wait_for_log(&["WARN", "max-connections-per-client", "client=127.0.0.1"]);
    assert_eq!(
        lines(&proxy, "max-connections-per-client"),
        1,
        "once a burst"
    );
    for client in &mut kept {
        assert_eq!(client.get("/").status(), 200, "these are none the worse");
    }
}

#[test]
fn trusted_proxies_may_connect_as_often_as_they_like() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(
        "[proxy]\ntrusted-proxies = [\"127.0.0.2\"]\n".to_owned()
            + &web("max-connections-per-client = 1", &origin),
    );
    let trusted = || Client::connect_from(Ipv4Addr::new(127, 0, 0, 2), proxy.address("web"));
    let mut many: Vec<_> = (0..4).map(|_| trusted()).collect();
    for client in &mut many {
        assert_eq!(client.get("/").status(), 200);
    }
}

#[test]
fn a_reload_counts_on_and_holds_new_bounds_against_what_is_open() {
    let origin = Origin::named("a");
    let mut proxy = Proxy::start(web("", &origin));
    let mut old = [connected(&proxy), connected(&proxy)];
    proxy.reconfigure(web("max-connections-per-client = 2", &origin));
    expect_reset(&proxy);
    proxy.reconfigure(web("max-connections = 1", &origin));
    let mut waiting = Client::connect(proxy.address("web"));
    waiting.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    for client in &mut old {
        assert_eq!(client.get("/").status(), 200, "what is open stays open");
    }
    proxy.wait_for_log(&["max-connections", "limit=1"]);
    assert_eq!(waiting.pending().unwrap(), 0);
    proxy.reconfigure(web("max-connections = 3", &origin));
    assert_eq!(waiting.read().unwrap().status(), 200);
}

#[test]
fn the_limit_of_open_files_is_raised_and_bounds_what_has_no_bound_of_its_own() {
    let origin = Origin::named("a");
    let config = web("max-connections = 1000", &origin) + &listener("free", "pool = \"app\"");
    let proxy = Setup::new(config).open_files(64, 300).start();
    let limits =
        std::fs::read_to_string(format!("/proc/{}/limits", proxy.process().pid())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let files: Vec<_> = files.unwrap().split_whitespace().collect();
    assert_eq!(files[3..5], ["300", "300"], "soft and hard");
    proxy.wait_for_log(&["WARN", "limit of open files is low", "files=300"]);
    proxy.wait_for_log(&["WARN", "max-connections is more", "possible=78"]);
    let metrics = proxy.metrics();
    for name in ["web", "free"] {
        // 300 less what the process and two workers have open, which is 128 + 16; two for each connection.
        assert_eq!(
            metrics.sum("tidegate_connection_limit", &[("listener", name)]),
            78.0
        );
    }
    let mut all: Vec<_> = (0..78)
        .map(|_| Client::connect(proxy.address("web")))
        .collect();
    wait_until("all are open", || open(&proxy) == 78.0);
    let mut further = Client::connect(proxy.address("free"));
    further.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    for client in &mut all {
        assert_eq!(
            client.get("/").status(),
            200,
            "each has a file left for its server"
        );
    }
    assert_eq!(further.pending().unwrap(), 0);
    all.clear();
    assert_eq!(further.read().unwrap().status(), 200);
}

/// A listener `web` with these lines, in front of that origin.
fn web(lines: &str, origin: &Origin) -> String {
    listener("web", &format!("pool = \"app\"\n{lines}")) + &pool("app", "", &[origin])
}

/// A client that the proxy has accepted.
#[track_caller]
fn connected(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.address("web"));
    assert_eq!(client.get("/").status(), 200);
    client
}

/// A new connection is reset, which connecting may show already.
#[track_caller]
fn expect_reset(proxy: &Proxy) {
    let connected = Client::try_connect(proxy.address("web"));
    let end = connected.and_then(|mut client| client.read());
    assert_eq!(
        end.expect_err("no byte for it").kind(),
        ErrorKind::ConnectionReset
    );
}

fn open(proxy: &Proxy) -> f64 {
    proxy.metrics().sum("tidegate_connections_open", &[])
}

/// How many lines of the log hold that word.
fn lines(proxy: &Proxy, word: &str) -> usize {
    let log = proxy.stderr();
    log.iter().filter(|line| line.contains(word)).count()
}
