//! GOAWAY: a connection is told that it is let go, and what is in flight on it is finished.

use std::sync::{Arc, Barrier};
use std::thread;

use tidegate_tests::{Origin, Proxy, Signal, listener, pool, python, reply, site, wait_until};

use super::frames;

const ASK: &str = "import sys\nfrom frames import *\nc = Client(sys.argv[1])\nc.request(1, path='/hold')\n\
                   c.until(lambda: c.goaway is not None)\nsay('goaway', c.goaway)\nsay(c.whole(1))\n\
                   c.until(lambda: False)\nsay('closed')";

fn gated() -> (Origin, Arc<Barrier>) {
    let gate = Arc::new(Barrier::new(2));
    let at_origin = gate.clone();
    let origin = Origin::answering("a", move |request, stream| {
        if ["/hold", "/go"].contains(&request.target()) {
            at_origin.wait();
        }
        reply(stream, 200, &[], "held")
    });
    (origin, gate)
}

#[test]
fn a_drain_lets_streams_finish() {
    let (origin, gate) = gated();
    let mut proxy = Proxy::start(site("round-robin", &[&origin]));
    let web = proxy.address("web").to_string();
    let client = thread::spawn(move || python(ASK, &[&web]));
    wait_until("the request is at the origin", || origin.served() == 1);
    proxy.signal(Signal::TERM);
    wait_until("the proxy drains", || {
        proxy.status()["draining"].as_bool() == Some(true)
    });
    gate.wait();
    let said = client.join().expect("the client does not fail");
    assert_eq!(said, "goaway 0\n200 held\nclosed\n");
    assert!(proxy.exit().success());
    assert!(
        proxy.stdout().iter().all(|line| line.contains("\"--\"")),
        "{:?}",
        proxy.stdout()
    );
}

#[test]
fn a_listener_that_is_gone_lets_go_and_others_stay() {
    let (origin, gate) = gated();
    let two = site("round-robin", &[&origin]) + &listener("other", "pool = \"app\"");
    let mut proxy = Proxy::start(two);
    let web = proxy.address("web").to_string();
    let client = thread::spawn(move || python(ASK, &[&web]));
    wait_until("the request is at the origin", || origin.served() == 1);
    proxy.reconfigure(listener("other", "pool = \"app\"") + &pool("app", "", &[&origin]));
    gate.wait();
    let said = client.join().expect("the client does not fail");
    assert_eq!(said, "goaway 0\n200 held\nclosed\n");
}

/// It is no error: the client may have begun it before it heard (RFC 9113, 6.8).
#[test]
fn what_begins_after_the_last_goaway_is_passed_over() {
    let (origin, _gate) = gated();
    let two = site("round-robin", &[&origin]) + &listener("other", "pool = \"app\"");
    let mut proxy = Proxy::start(two);
    let addresses = ["web", "other"].map(|name| proxy.address(name).to_string());
    let script = "import sys\nfrom frames import *\nc = Client(sys.argv[1])\nc.request(1, path='/hold')\n\
                  c.until(lambda: c.last == 1)\n\
                  for end in (True, False):\n    \
                      c.request(3, method='POST', end=end)\n    c.data(3, b'x' * 70000, end)\n\
                  c.request(5, method='POST', end=False)\nc.data(5, b'', end=False)\n\
                  c.send(c.headers(5, [('late', 'yes')]))\n\
                  c.send(frames.WindowUpdateFrame(5, window_increment=1), frames.RstStreamFrame(5))\n\
                  c.send(frames.PingFrame(0, opaque_data=b'12345678'))\nc.until(lambda: c.pongs)\nsay('open')\n\
                  other = Client(sys.argv[2])\nother.request(1, path='/go')\nsay(other.whole(1))\n\
                  say(c.whole(1))\nc.until(lambda: False)\nsay('goaway', c.goaway, sorted(c.answers))";
    let client = thread::spawn(move || python(script, &[&addresses[0], &addresses[1]]));
    wait_until("the request is at the origin", || origin.served() == 1);
    proxy.reconfigure(listener("other", "pool = \"app\"") + &pool("app", "", &[&origin]));
    let said = client.join().expect("the client does not fail");
    assert_eq!(said, "open\n200 held\n200 held\ngoaway 0 [0, 1]\n");
}

#[test]
fn a_reload_is_nothing_to_a_connection() {
    let origin = Origin::named("a");
    let mut proxy = Proxy::start(site("round-robin", &[&origin]));
    let web = proxy.address("web").to_string();
    let client = thread::spawn(move || {
        let script = "import sys\nfrom frames import *\nc = Client(sys.argv[1])\nfor n in range(400):\n    \
                      c.request(2 * n + 1)\n    assert c.whole(2 * n + 1).status == '200'\nsay(c.goaway)";
        python(script, &[&web])
    });
    wait_until("requests come", || origin.served() > 10);
    proxy.reconfigure(site("least-connections", &[&origin]));
    assert_eq!(client.join().expect("the client does not fail"), "None\n");
}

#[test]
fn the_drains_deadline_cuts_streams() {
    let (origin, _gate) = gated();
    let drain = "[proxy]\nworkers = 2\ndrain-timeout = \"500ms\"\n";
    let mut proxy = Proxy::start(drain.to_owned() + &site("round-robin", &[&origin]));
    let web = proxy.address("web").to_string();
    let script = "import sys\nfrom frames import *\nc = Client(sys.argv[1])\nc.request(1, path='/hold')\nsay(c.whole(1))";
    let client = thread::spawn(move || python(script, &[&web]));
    wait_until("the request is at the origin", || origin.served() == 1);
    proxy.signal(Signal::TERM);
    assert!(proxy.exit().success());
    assert_eq!(
        client.join().expect("the client does not fail"),
        "goaway 0\n"
    );
    assert_eq!(proxy.logged("/hold")["fault"], "cut");
}

#[test]
fn an_idle_connection_is_let_go() {
    let origin = Origin::named("a");
    let lines = "pool = \"app\"\ntimeouts = { idle = \"300ms\", request-head = \"300ms\" }";
    let proxy = Proxy::start(listener("web", lines) + &pool("app", "", &[&origin]));
    let script = "c.request(1)\nsay(c.whole(1))\nc.until(lambda: False)\nsay('goaway', c.goaway)";
    assert_eq!(frames(&proxy, script), "200 a\ngoaway 0\n");
    assert_eq!(
        frames(&proxy, "c.until(lambda: False)\nsay('goaway', c.goaway)"),
        "goaway 0\n"
    );
    // One that answers nothing is closed all the same, and pings keep nobody.
    let deaf = "c.send = lambda *f: True\nc.until(lambda: False)\nsay('closed')";
    assert_eq!(frames(&proxy, deaf), "closed\n");
}
