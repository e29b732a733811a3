//! TLS towards servers: who is believed, by which name, and what becomes of a request when nobody is.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use tidegate_tests::{Authority, Client, Front, Origin, Proxy, Setup, listener, reply, wait_until};

#[test]
fn a_server_is_verified_and_its_sessions_are_resumed() {
    let ca = Authority::new("ca");
    let origin = closing();
    let front = Front::of(origin.address(), &ca.issue(&["app.test"]));
    let proxy = to(&front, "ca = 'ca.pem', server-name = 'app.test'")
        .file("ca.pem", ca.pem())
        .start();
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "app");
    }
    let met = front.met();
    assert_eq!(met.len(), 4, "each request had a connection of its own");
    assert!(
        met.iter()
            .all(|met| met.server_name.as_deref() == Some("app.test"))
    );
    assert!(!met[0].resumed);
    // Both workers share the sessions.
    assert!(met[1..].iter().all(|met| met.resumed), "{met:?}");
}

#[test]
fn connections_are_kept() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let front = Front::of(origin.address(), &ca.issue(&["app.test"]));
    let proxy = to(&front, "ca = 'ca.pem', server-name = 'app.test'")
        .file("ca.pem", ca.pem())
        .start();
    let mut client = Client::connect(proxy.address("web"));
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "app");
    }
    assert_eq!(front.met().len(), 1);
}

#[test]
fn an_address_is_a_name_too() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let front = Front::of(origin.address(), &ca.issue(&["127.0.0.1"]));
    let proxy = to(&front, "ca = 'ca.pem'").file("ca.pem", ca.pem()).start();
    assert_eq!(proxy.get("/").text(), "app");
    assert_eq!(front.met()[0].server_name, None, "an address is no SNI");
}

#[test]
fn who_proves_nothing_is_not_believed() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let cases = [
        (
            Authority::new("other").issue(&["app.test"]),
            "no authority that is trusted",
        ),
        (ca.issue(&["other.test"]), "not app.test"),
        (ca.issue_expired(&["app.test"]), "has expired"),
    ];
    for (issued, why) in cases {
        let front = Front::of(origin.address(), &issued);
        let proxy = to(&front, "ca = 'ca.pem', server-name = 'app.test'")
            .file("ca.pem", ca.pem())
            .start();
        assert_eq!(proxy.get("/").status(), 503);
        let line = &proxy.access_log(1)[0];
        assert_eq!(line["fault"], "server-tls-failed");
        assert_eq!(line["termination"], "SC");
        let said = line["reasons"]["server-tls"].to_string();
        assert!(said.contains(why), "{why}: {said}");
        assert_eq!(origin.served(), 0);
    }
}

#[test]
fn the_systems_authorities_are_asked_where_none_is_named() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let front = Front::of(origin.address(), &ca.issue(&["app.test"]));
    let proxy = to(&front, "server-name = 'app.test'").start();
    assert_eq!(proxy.get("/").status(), 503);
    let said = proxy.access_log(1)[0]["reasons"]["server-tls"].to_string();
    assert!(said.contains("no authority"), "{said}");
}

#[test]
fn anybody_is_believed_where_the_file_says_so() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let front = Front::of(origin.address(), &ca.issue_expired(&["other.test"]));
    let proxy = to(&front, "verify = false").start();
    assert_eq!(proxy.get("/").text(), "app");
}

#[test]
fn another_server_is_tried() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let good = Front::of(origin.address(), &ca.issue(&["app.test"]));
    let bad = Front::of(origin.address(), &ca.issue(&["other.test"]));
    let servers = format!(
        "{{ address = '{}' }}, {{ address = '{}' }}",
        bad.address(),
        good.address()
    );
    let proxy = Setup::new(site(&servers, "ca = 'ca.pem', server-name = 'app.test'"))
        .file("ca.pem", ca.pem())
        .start();
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "app");
    }
    let log = proxy.access_log(4);
    assert!(log.iter().any(|line| line["attempts"] == 2), "{log:?}");
}

#[test]
fn a_certificate_is_shown_to_a_server_that_asks() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let front = Front::for_clients_of(origin.address(), &ca.issue(&["app.test"]), &ca);
    let ours = ca.issue(&["proxy.test"]);
    let tls = "ca = 'ca.pem', server-name = 'app.test'";
    for more in [
        ", certificate = 'us.pem'",
        ", certificate = 'us.crt', key = 'us.key'",
    ] {
        let proxy = to(&front, &format!("{tls}{more}"))
            .file("ca.pem", ca.pem())
            .file("us.pem", ours.bundle())
            .file("us.crt", &ours.chain)
            .file("us.key", &ours.key)
            .start();
        assert_eq!(proxy.get("/").text(), "app");
    }
    assert!(front.met().iter().all(|met| met.certificate));
    let proxy = to(&front, tls).file("ca.pem", ca.pem()).start();
    // In version 1.3 the server refuses behind the handshake.
    assert!([502, 503].contains(&proxy.get("/").status()));
}

#[test]
fn a_server_without_tls_is_told_apart() {
    let origin = Origin::named("app");
    let servers = format!("{{ address = '{}' }}", origin.address());
    let proxy = Proxy::start(site(&servers, "verify = false"));
    assert_eq!(proxy.get("/").status(), 503);
    let line = &proxy.access_log(1)[0];
    assert_eq!(line["fault"], "server-tls-failed");
    assert_eq!(origin.served(), 0);
}

#[test]
fn the_handshake_is_part_of_connecting() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = format!("{{ address = '{}' }}", silent.local_addr().unwrap());
    let more = "retries = 0\ntimeouts = { connect = '300ms' }";
    let proxy = Proxy::start(site(&servers, "verify = false") + more);
    let begun = Instant::now();
    assert_eq!(proxy.get("/").status(), 504);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(proxy.access_log(1)[0]["fault"], "connect-timeout");
}

#[test]
fn a_body_that_tls_does_not_end_is_broken() {
    let ca = Authority::new("ca");
    let origin = Origin::answering("app", |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")?;
        Err(std::io::ErrorKind::BrokenPipe.into())
    });
    let issued = ca.issue(&["app.test"]);
    let tls = "verify = false";
    let whole = Front::of(origin.address(), &issued);
    let proxy = to(&whole, tls).start();
    assert_eq!(proxy.get("/").text(), "until the end");
    let cut = Front::cutting(origin.address(), &issued);
    let proxy = to(&cut, tls).start();
    let mut client = Client::connect(proxy.address("web"));
    let got = client.try_ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(got.is_err(), "{got:?}");
    assert_eq!(proxy.access_log(1)[0]["fault"], "server-aborted");
}

/// One address, three ways to it.
#[test]
fn connections_of_other_settings_are_not_mixed() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let front = Front::of(origin.address(), &ca.issue(&["a.test", "b.test"]));
    let listeners = ["a", "b", "plain"].map(|name| listener(name, &format!("pool = '{name}'")));
    let pool = |name: &str, tls: &str| {
        format!(
            "\n[[pool]]\nname = '{name}'\nservers = [{{ address = '{}' }}]\n{tls}\n",
            front.address()
        )
    };
    let config = listeners.concat()
        + &pool("a", "tls = { ca = 'ca.pem', server-name = 'a.test' }")
        + &pool("b", "tls = { ca = 'ca.pem', server-name = 'b.test' }")
        + &pool("plain", "");
    let proxy = Setup::new(config + "[proxy]\nworkers = 1\n")
        .file("ca.pem", ca.pem())
        .start();
    let get = |name: &str| tidegate_tests::get(proxy.address(name), "/").status();
    for _ in 0..3 {
        assert_eq!((get("a"), get("b")), (200, 200));
        assert_ne!(get("plain"), 200, "plain HTTP to a TLS server");
    }
    let names: Vec<_> = front
        .met()
        .into_iter()
        .filter_map(|met| met.server_name)
        .collect();
    assert_eq!(names, ["a.test", "b.test"]);
}

#[test]
fn changed_authorities_are_believed_without_a_reload() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let origin = closing();
    let front = Front::of(origin.address(), &new.issue(&["app.test"]));
    let proxy = to(&front, "ca = 'ca.pem', server-name = 'app.test'")
        .file("ca.pem", old.pem())
        .start();
    assert_eq!(proxy.get("/").status(), 503);
    proxy.write_file("ca.pem", new.pem());
    wait_until("the new authority is believed", || {
        proxy.get("/").status() == 200
    });
    assert_eq!(proxy.generation(), 1);
}

/// Closes after each answer.
fn closing() -> Origin {
    Origin::answering("app", |_, stream| {
        reply(stream, 200, &[("connection", "close")], "app")?;
        Err(std::io::ErrorKind::BrokenPipe.into())
    })
}

fn to(front: &Front, tls: &str) -> Setup {
    let servers = format!("{{ address = '{}' }}", front.address());
    Setup::new(site(&servers, tls))
}

fn site(servers: &str, tls: &str) -> String {
    let pool = format!("\n[[pool]]\nname = 'app'\nservers = [{servers}]\ntls = {{ {tls} }}\n");
    listener("web", "pool = 'app'") + &pool
}

/// A pool with a name among its servers learns them in another way; TLS must not be lost on the way.
#[test]
fn a_server_that_is_added_beside_a_name_is_spoken_to_over_tls() {
    let (ca, origins) = (Authority::new("ca"), ["a", "b"].map(Origin::named));
    let fronts = origins
        .each_ref()
        .map(|origin| Front::of(origin.address(), &ca.issue(&["app.test"])));
    let pool = format!(
        "[[pool]]\nname = 'app'\ntls = {{ ca = 'ca.pem', server-name = 'app.test' }}\nservers = [{{ name = 'a', address = 'localhost:{}' }}]\n",
        fronts[0].address().port()
    );
    let proxy = Setup::new(listener("web", "pool = 'app'") + &pool)
        .file("ca.pem", ca.pem())
        .start();
    wait_until("its name is known", || proxy.get("/").status() == 200);
    let added = format!(
        "{{\"name\": \"b\", \"address\": \"{}\"}}",
        fronts[1].address()
    );
    let answer = proxy.admin("POST", "/api/v1/pools/app/servers", added.as_bytes());
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(proxy.origins("/", 8).contains(&"b".to_owned()));
    assert!(!fronts[1].met().is_empty());
}
