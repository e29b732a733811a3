//! TERM and INT: health fails first, what is in flight is finished, then the process ends with 0.

use std::sync::{Arc, Barrier};
use std::thread;

use tidegate_tests::{Client, Origin, Proxy, Signal, get, reply, site, wait_until};

#[test]
fn term_lets_the_request_in_flight_finish() {
    let (origin, gate) = gated();
    let mut proxy = Proxy::start(site("round-robin", &[&origin]));
    let address = proxy.address("web");
    let asking = thread::spawn(move || Client::connect(address).get("/hold"));
    wait_until("the request is at the origin", || origin.served() == 1);
    proxy.signal(Signal::TERM);
    wait_until("health fails", || {
        Client::try_connect(proxy.address("admin")).is_err()
            || get(proxy.address("admin"), "/healthz").status() == 503
    });
    assert!(
        proxy.status()["draining"].as_bool().unwrap_or(false),
        "the admin port still answers while draining"
    );
    gate.wait();
    let answer = asking.join().expect("the client does not fail");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "held"));
    assert!(proxy.exit().success());
}

#[test]
fn an_idle_proxy_leaves_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let origin = Origin::named("a");
        let mut proxy = Proxy::start(site("round-robin", &[&origin]));
        let mut idle = Client::connect(proxy.address("web"));
        idle.get("/");
        let start = std::time::Instant::now();
        proxy.signal(signal);
        assert!(proxy.exit().success());
        assert!(
            start.elapsed().as_secs() < 10,
            "a kept connection held the proxy for {:?}",
            start.elapsed()
        );
        assert!(idle.closed());
    }
}

#[test]
fn the_drain_has_a_deadline() {
    let (origin, _gate) = gated();
    let drain = "[proxy]\nworkers = 2\ndrain-timeout = \"500ms\"\n";
    let mut proxy = Proxy::start(drain.to_owned() + &site("round-robin", &[&origin]));
    let mut client = Client::connect(proxy.address("web"));
    client
        .write(b"GET /hold HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("sent");
    wait_until("the request is at the origin", || origin.served() == 1);
    let start = std::time::Instant::now();
    proxy.signal(Signal::TERM);
    proxy.exit();
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    let line = &proxy.access_log(1)[0];
    assert_eq!(
        (&line["fault"], &line["termination"]),
        (&"cut".into(), &"KH".into())
    );
}

#[test]
fn a_busy_connection_is_told_to_close() {
    let (origin, gate) = gated();
    let mut proxy = Proxy::start(site("round-robin", &[&origin]));
    let address = proxy.address("web");
    let asking = thread::spawn(move || {
        let mut client = Client::connect(address);
        let answer = client.get("/hold");
        (answer, client.closed())
    });
    wait_until("the request is at the origin", || origin.served() == 1);
    proxy.signal(Signal::TERM);
    wait_until("it drains", || {
        get(proxy.address("admin"), "/healthz").status() == 503
    });
    gate.wait();
    let (answer, closed) = asking.join().expect("the client does not fail");
    assert_eq!(answer.status(), 200);
    assert!(
        answer
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close")),
        "{answer:?}"
    );
    assert!(closed);
    assert!(proxy.exit().success());
}

/// Answers `/hold` once the test comes to the gate.
fn gated() -> (Origin, Arc<Barrier>) {
    let gate = Arc::new(Barrier::new(2));
    let origin = Origin::answering("gated", {
        let gate = gate.clone();
        move |request, stream| {
            if request.target() == "/hold" {
                gate.wait();
            }
            reply(stream, 200, &[], "held\n")
        }
    });
    (origin, gate)
}
