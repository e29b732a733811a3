//! Limits and what a breach of each looks like: to the client, in the log, in the metrics.

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use tidegate_tests::{Client, Origin, Port, Proxy, Setup, listener, pool, wait_for, wait_until};

#[test]
fn who_comes_to_a_full_listener_waits_until_there_is_room() {
    let origin = Origin::named("a");
    let two_addresses = web("max-connections = 2", &origin)
        .replace("bind = \"@web\"", "bind = [\"@web\", \"@same\"]");
    let proxy = Proxy::start(two_addresses);
    let mut first = connected(&proxy);
    // The socket that has accepted it finds no room for another then, and says so: whoever comes there from now on is one who waits.
    let mut second = Client::connect(proxy.address("same"));
    assert_eq!(second.get("/").status(), 200);
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

#[test]
fn a_head_that_does_not_end_is_408() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(web("timeouts = { request-head = \"300ms\" }", &origin));
    let mut client = Client::connect(proxy.address("web"));
    client.write(b"GET / HTTP/1.1\r\nhost: ").unwrap();
    assert_eq!(client.read().unwrap().status(), 408);
    expect_fault(&proxy, "request-head-timeout", "cR");
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let origin = Origin::named("a");
    for (lines, limit) in [("max-head = \"4KiB\"", 4096), ("", 32768)] {
        let proxy = Proxy::start(web(lines, &origin));
        let ask = |size| {
            let (begin, end) = ("GET / HTTP/1.1\r\nhost: a\r\nx: ", "\r\n\r\n");
            let fill = "x".repeat(size - begin.len() - end.len());
            Client::connect(proxy.address("web")).ask(&format!("{begin}{fill}{end}"))
        };
        assert_eq!(ask(limit).status(), 200);
        assert_eq!(ask(limit + 1).status(), 431);
        expect_fault(&proxy, "request-head-too-large", "PR");
    }
}

#[test]
fn a_head_of_too_many_fields_is_431_and_a_long_target_is_414() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(web("", &origin));
    let with = |fields| format!("GET / HTTP/1.1\nhost: a\n{}", "x: y\n".repeat(fields));
    assert_eq!(proxy.send(&with(99)).status(), 200, "100 with Host");
    assert_eq!(proxy.send(&with(100)).status(), 431);
    expect_fault(&proxy, "too-many-fields", "PR");
    let target = "a".repeat(8_000);
    let long = proxy.send(&format!("GET /{target} HTTP/1.1\nhost: a"));
    assert_eq!(long.status(), 414);
    expect_fault(&proxy, "target-too-long", "PR");
}

#[test]
fn a_connection_without_a_request_is_closed_and_counted() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(web(
        "timeouts = { request-head = \"300ms\", idle = \"300ms\" }",
        &origin,
    ));
    let mut unused = Client::connect(proxy.address("web"));
    let mut used = connected(&proxy);
    assert!(unused.closed() && used.closed());
    let count = |timeout| {
        let labels = [("listener", "web"), ("timeout", timeout)];
        proxy
            .metrics()
            .sum("tidegate_connections_timed_out_total", &labels)
    };
    wait_until("both are counted", || {
        count("request-head") == 1.0 && count("idle") == 1.0
    });
    assert_eq!(proxy.access_log(1).len(), 1, "the one request");
}

#[test]
fn a_body_that_stops_coming_is_408() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(web("timeouts = { body = \"300ms\" }", &origin));
    let mut client = Client::connect(proxy.address("web"));
    client.write(POST_1000).unwrap();
    client.write(b"the beginning").unwrap();
    assert_eq!(client.read().unwrap().status(), 408);
    expect_fault(&proxy, "request-body-timeout", "cD");
}

#[test]
fn a_body_that_comes_too_slowly_is_408() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(web(
        "min-body-rate = \"1kB\"\ntimeouts = { rate-grace = \"300ms\" }",
        &origin,
    ));
    let mut client = Client::connect(proxy.address("web"));
    client.write(POST_1000).unwrap();
    let begun = Instant::now();
    // A tenth of the rate; a byte now and then keeps any other timeout away.
    while client.pending().unwrap() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "never told");
        client.write(b"x").unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(client.read().unwrap().status(), 408);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    expect_fault(&proxy, "request-body-too-slow", "cD");
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    let origin = endless();
    let proxy = Proxy::start(web("timeouts = { body = \"300ms\" }", &origin));
    let mut client = Client::connect(proxy.address("web"));
    client.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    expect_fault(&proxy, "client-stalled", "cD");
}

#[test]
fn a_client_that_takes_an_answer_too_slowly_is_cut() {
    let origin = endless();
    let proxy = Proxy::start(web(
        "min-body-rate = \"100MB\"\ntimeouts = { rate-grace = \"300ms\" }",
        &origin,
    ));
    let mut client = Client::connect(proxy.address("web"));
    client.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let begun = Instant::now();
    let mut socket = client.socket();
    while io::Read::read(&mut socket, &mut [0; 4096]).is_ok_and(|count| count > 0) {
        assert!(begun.elapsed() < Duration::from_secs(20), "never cut");
        thread::sleep(Duration::from_millis(10));
    }
    expect_fault(&proxy, "response-too-slow", "cD");
}

#[test]
fn a_tunnel_where_nobody_speaks_is_closed() {
    let origin = Origin::answering("a", |_, stream| {
        stream.write_all(b"HTTP/1.1 101 Switching\r\nupgrade: chat\r\nconnection: upgrade\r\n\r\n")
    });
    let proxy = Proxy::start(web("timeouts = { tunnel = \"300ms\" }", &origin));
    let mut client = Client::connect(proxy.address("web"));
    client
        .write(b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: chat\r\nconnection: upgrade\r\n\r\n")
        .unwrap();
    expect_fault(&proxy, "tunnel-timeout", "cD");
}

#[test]
fn a_server_that_refuses_is_503_and_one_that_does_not_connect_is_504() {
    let gone = Port::free();
    let proxy = Proxy::start(in_front_of(gone.address(), ""));
    assert_eq!(proxy.get("/").status(), 503);
    expect_fault(&proxy, "connect-failed", "SC");
    let full = Full::new();
    let proxy = Proxy::start(in_front_of(full.address, "connect = \"300ms\""));
    assert_eq!(proxy.get("/").status(), 504);
    expect_fault(&proxy, "connect-timeout", "sC");
}

#[test]
fn a_server_that_takes_nothing_of_a_request_is_504() {
    // Connections wait in its queue, and nobody reads what they send.
    let deaf = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = Proxy::start(in_front_of(deaf.local_addr().unwrap(), "send = \"300ms\""));
    let mut client = Client::connect(proxy.address("web"));
    let mut sending = client.socket().try_clone().unwrap();
    let sending = thread::spawn(move || {
        let block = [b'x'; 64 << 10];
        let head = format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
            1 << 26
        );
        let sent = sending.write_all(head.as_bytes());
        // Until the proxy has had enough.
        sent.and_then(|()| (0..1 << 10).try_for_each(|_| sending.write_all(&block)))
    });
    assert_eq!(client.read().unwrap().status(), 504);
    expect_fault(&proxy, "send-timeout", "sH");
    drop(client);
    let _ = sending.join().unwrap();
}

#[test]
fn a_server_that_does_not_answer_is_504() {
    let origin = Origin::answering("a", |_, _| Ok(()));
    let proxy = Proxy::start(in_front_of(origin.address(), "first-byte = \"300ms\""));
    assert_eq!(proxy.get("/").status(), 504);
    expect_fault(&proxy, "first-byte-timeout", "sH");
}

#[test]
fn an_answer_that_stops_coming_is_cut() {
    let origin = Origin::answering("a", |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
    });
    let proxy = Proxy::start(in_front_of(origin.address(), "between-bytes = \"300ms\""));
    let cut = Client::connect(proxy.address("web")).try_ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(cut.is_err(), "{cut:?}");
    expect_fault(&proxy, "between-bytes-timeout", "sD");
}

const POST_1000: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n";

/// What went wrong last is so called in the log, and counted.
#[track_caller]
fn expect_fault(proxy: &Proxy, word: &str, letters: &str) {
    let called = |line: &serde_json::Value| line["fault"] == word;
    let line = wait_for(&format!("a log line with {word}"), || {
        proxy.access_log(1).into_iter().find(called)
    });
    assert_eq!(line["termination"], letters, "{line}");
    let labels = [("listener", "web"), ("fault", word)];
    let count = proxy.metrics().sum("tidegate_faults_total", &labels);
    assert_eq!(count, 1.0, "tidegate_faults_total of {word}");
}

/// Answers as long as anybody takes it.
fn endless() -> Origin {
    Origin::answering("endless", |_, stream| {
        stream.write_all(
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1u64 << 40).as_bytes(),
        )?;
        loop {
            stream.write_all(&[b'x'; 64 << 10])?;
        }
    })
}

/// A listening socket whose queue is full: connecting to it takes for ever.
struct Full {
    address: SocketAddr,
    _held: (std::os::fd::OwnedFd, Vec<TcpStream>),
}

impl Full {
    fn new() -> Full {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        listen(&socket, 0).unwrap();
        let address = getsockname(&socket).unwrap().try_into().unwrap();
        let soon = Duration::from_millis(300);
        let fillers = std::iter::from_fn(|| TcpStream::connect_timeout(&address, soon).ok());
        let fillers = fillers.take(16).collect();
        Full {
            address,
            _held: (socket, fillers),
        }
    }
}

/// A listener `web` in front of a server at that address, held to these timeouts.
fn in_front_of(address: SocketAddr, timeouts: &str) -> String {
    let app = format!(
        "[[pool]]\nname = \"app\"\ntimeouts = {{ {timeouts} }}\nservers = [{{ name = \"a\", address = \"{address}\" }}]\n"
    );
    listener("web", "pool = \"app\"") + &app
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
