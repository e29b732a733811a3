//! Servers that take only so many requests at a time: who waits, in which order, how long, and who is told so.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use tidegate_tests::{
    Authority, Client, Message, Origin, Proxy, Raw, Server, Setup, get, listener, reply, server,
    tls_connect, wait_until,
};

#[test]
fn four_workers_serve_strictly_in_the_order_in_which_requests_came() {
    let gate = Gate::new("a");
    let proxy = Proxy::start(site(4, "", &[(&gate.origin, ", max-connections = 1")]));
    let first = ask(&proxy, "/first");
    gate.wait_for(1);
    let waiting: Vec<_> = (0..24)
        .map(|number| {
            let waiting = ask(&proxy, &format!("/{number}"));
            wait_for_queue(&proxy, number + 1);
            waiting
        })
        .collect();
    assert_eq!(proxy.status()["pools"][0]["queued"], 24);
    for served in 1..=25 {
        gate.wait_for(served);
        gate.open(1);
    }
    assert_eq!(first.join().unwrap().status(), 200);
    for waiting in waiting {
        assert_eq!(waiting.join().unwrap().status(), 200);
    }
    let order = gate.targets();
    let expected: Vec<_> = (0..24).map(|number| format!("/{number}")).collect();
    assert_eq!(order[1..], expected);
    assert_eq!(gate.most(), 1, "never two at a time");
    wait_for_queue(&proxy, 0);
    let metrics = proxy.metrics();
    assert_eq!(
        metrics.sum("tidegate_pool_queue_waits_total", &[("pool", "app")]),
        24.0
    );
    assert!(metrics.sum("tidegate_pool_queue_wait_seconds_total", &[]) > 0.0);
    assert_eq!(
        metrics.sum("tidegate_server_limit", &[("server", "a")]),
        1.0
    );
    let line = proxy.logged("/23");
    assert!(line["queue_us"].as_u64().unwrap() > 0, "{line}");
    let workers: std::collections::BTreeSet<_> = proxy
        .access_log(25)
        .iter()
        .map(|line| line["client_port"].to_string())
        .collect();
    assert_eq!(workers.len(), 25, "each on a connection of its own");
}

#[test]
fn who_waits_too_long_is_told_when_to_come_again() {
    let gate = Gate::new("a");
    let proxy = Proxy::start(site(
        2,
        "timeouts = { queue = \"150ms\" }",
        &[(&gate.origin, ", max-connections = 1")],
    ));
    let held = ask(&proxy, "/held");
    gate.wait_for(1);
    let late = proxy.get("/late");
    assert_eq!(
        (late.status(), late.header("retry-after")),
        (503, Some("1"))
    );
    let line = proxy.logged("/late");
    assert_eq!(
        (&line["fault"], &line["termination"], &line["attempts"]),
        (&"queue-timeout".into(), &"sQ".into(), &0.into())
    );
    assert!(line["queue_us"].as_u64().unwrap() >= 150_000, "{line}");
    assert_eq!(line["server"], serde_json::Value::Null);
    gate.open(2);
    assert_eq!(held.join().unwrap().status(), 200);
    assert_eq!(proxy.get("/next").status(), 200, "its place is free");
}

#[test]
fn a_full_line_takes_nobody() {
    let gate = Gate::new("a");
    let proxy = Proxy::start(site(
        2,
        "max-queue = 2",
        &[(&gate.origin, ", max-connections = 1")],
    ));
    let served: Vec<_> = ["/held", "/1", "/2"]
        .into_iter()
        .enumerate()
        .map(|(number, path)| {
            let asked = ask(&proxy, path);
            gate.wait_for(1);
            wait_for_queue(&proxy, number);
            asked
        })
        .collect();
    let refused = proxy.get("/3");
    assert_eq!(
        (refused.status(), refused.header("retry-after")),
        (503, Some("5"))
    );
    let line = proxy.logged("/3");
    assert_eq!(
        (&line["fault"], &line["termination"]),
        (&"queue-full".into(), &"SQ".into())
    );
    gate.open(3);
    for asked in served {
        assert_eq!(asked.join().unwrap().status(), 200);
    }
}

#[test]
fn who_leaves_gives_up_its_place() {
    let gate = Gate::new("a");
    let proxy = Proxy::start(
        site(2, "", &[(&gate.origin, ", max-connections = 1")])
            .replace("name = \"web\"", "name = \"web\"\nabort-on-close = true"),
    );
    let held = ask(&proxy, "/held");
    gate.wait_for(1);
    let mut leaver = Client::connect(proxy.address("web"));
    leaver
        .write(b"GET /leaver HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    wait_for_queue(&proxy, 1);
    let patient = ask(&proxy, "/patient");
    wait_for_queue(&proxy, 2);
    drop(leaver);
    wait_for_queue(&proxy, 1);
    let line = proxy.logged("/leaver");
    assert_eq!(
        (&line["fault"], &line["termination"]),
        (&"client-closed".into(), &"CQ".into())
    );
    gate.open(2);
    assert_eq!(held.join().unwrap().status(), 200);
    assert_eq!(patient.join().unwrap().status(), 200);
    assert_eq!(gate.targets(), ["/held", "/patient"]);
    let waits = [("pool", "app")];
    let waits = proxy
        .metrics()
        .sum("tidegate_pool_queue_waits_total", &waits);
    assert_eq!(waits, 2.0, "the one in vain too");
}

#[test]
fn a_reload_that_raises_the_limit_lets_in_who_waits_and_one_that_lowers_it_holds() {
    let gate = Gate::new("a");
    let with = |most: u32| {
        let limit = format!(", max-connections = {most}");
        site(4, "", &[(&gate.origin, &limit)])
    };
    let mut proxy = Proxy::start(with(1));
    let mut asked: Vec<_> = (0..6)
        .map(|number| {
            let asked = ask(&proxy, &format!("/{number}"));
            gate.wait_for(1);
            wait_for_queue(&proxy, number);
            asked
        })
        .collect();
    proxy.reconfigure(with(4));
    gate.wait_for(4);
    wait_for_queue(&proxy, 2);
    proxy.reconfigure(with(2));
    gate.open(2);
    asked.push(ask(&proxy, "/last"));
    wait_for_queue(&proxy, 3);
    assert_eq!(gate.targets().len(), 4, "two are still there");
    gate.open(10);
    for asked in asked {
        assert_eq!(asked.join().unwrap().status(), 200);
    }
    assert_eq!(gate.most(), 4);
    // And none at all: from an unlimited one nobody waits, and those that are there count when there is a limit again.
    proxy.reconfigure(site(4, "", &[(&gate.origin, "")]));
    gate.close();
    let many: Vec<_> = (0..5).map(|n| ask(&proxy, &format!("/m{n}"))).collect();
    gate.wait_for(12);
    proxy.reconfigure(with(5));
    let more = ask(&proxy, "/more");
    wait_for_queue(&proxy, 1);
    gate.open(6);
    for asked in many.into_iter().chain([more]) {
        assert_eq!(asked.join().unwrap().status(), 200);
    }
}

#[test]
fn whoever_is_full_is_passed_over_and_with_all_full_the_first_place_is_taken() {
    let gates = [Gate::new("a"), Gate::new("b")];
    let limit = ", max-connections = 1";
    let proxy = Proxy::start(site(
        2,
        "balancer = \"first\"",
        &[(&gates[0].origin, limit), (&gates[1].origin, limit)],
    ));
    let first = ask(&proxy, "/1");
    gates[0].wait_for(1);
    let second = ask(&proxy, "/2");
    gates[1].wait_for(1);
    let third = ask(&proxy, "/3");
    wait_for_queue(&proxy, 1);
    gates[1].open(2);
    assert_eq!(second.join().unwrap().text(), "b");
    assert_eq!(third.join().unwrap().text(), "b", "which has a place again");
    gates[0].open(1);
    assert_eq!(first.join().unwrap().text(), "a");
}

/// HAProxy's hashes wait as well: another server would know nothing of what they ask for.
#[test]
fn who_must_have_that_server_waits_for_it() {
    let gates = [Gate::new("a"), Gate::new("b")];
    let limit = ", max-connections = 1";
    let proxy = Proxy::start(site(
        2,
        "balancer = \"first\"\nwhen-full = \"wait\"",
        &[(&gates[0].origin, limit), (&gates[1].origin, limit)],
    ));
    let first = ask(&proxy, "/1");
    gates[0].wait_for(1);
    let second = ask(&proxy, "/2");
    wait_until("it waits at the server", || {
        let labels = [("server", "a")];
        proxy
            .metrics()
            .sum("tidegate_server_queued_requests", &labels)
            == 1.0
    });
    gates[0].open(2);
    assert_eq!(first.join().unwrap().text(), "a");
    assert_eq!(second.join().unwrap().text(), "a");
    assert!(gates[1].targets().is_empty());
}

#[test]
fn a_stuck_user_waits_for_its_server_and_others_pass() {
    let gates = [Gate::new("a"), Gate::new("b")];
    let limit = ", max-connections = 1";
    let proxy = Proxy::start(site(
        2,
        "balancer = \"first\"\nmax-queue = 1\nsticky = { plugin = \"sticky-cookie\", cookie = \"S\" }",
        &[(&gates[0].origin, limit), (&gates[1].origin, limit)],
    ));
    let stuck = |path: &str| with_header(&proxy, path, "cookie: S=a\r\n");
    let first = stuck("/1");
    gates[0].wait_for(1);
    let second = stuck("/2");
    wait_until("it waits at the server", || {
        proxy.status()["pools"][0]["servers"][0]["queued"] == 1
    });
    // Its line is full: as with HAProxy's `maxqueue`, the next one goes elsewhere.
    let third = stuck("/3");
    gates[1].wait_for(1);
    gates[1].open(1);
    assert_eq!(third.join().unwrap().text(), "b");
    gates[0].open(2);
    assert_eq!(first.join().unwrap().text(), "a");
    assert_eq!(second.join().unwrap().text(), "a");
}

#[test]
fn a_server_that_dies_loses_no_place_and_sends_its_line_elsewhere() {
    let gates = [Gate::new("a"), Gate::new("b")];
    let limit = ", max-connections = 1";
    let health = "health = { type = \"tcp\", interval = \"20ms\", fall = 1, rise = 1 }";
    let proxy = Proxy::start(site(
        4,
        &format!("balancer = \"first\"\nwhen-full = \"wait\"\n{health}"),
        &[(&gates[0].origin, limit), (&gates[1].origin, limit)],
    ));
    wait_until("both are probed", || {
        let status = proxy.status();
        let servers = status["pools"][0]["servers"].as_array().unwrap().clone();
        servers.iter().all(|server| server["health"] == "up")
    });
    let first = ask(&proxy, "/1");
    gates[0].wait_for(1);
    let others: Vec<_> = (2..6)
        .map(|number| {
            let other = ask(&proxy, &format!("/{number}"));
            wait_until("it waits", || {
                proxy.status()["pools"][0]["servers"][0]["queued"] == number - 1
            });
            other
        })
        .collect();
    gates[1].open(100);
    gates[0].origin.stop();
    for other in others {
        assert_eq!(other.join().unwrap().text(), "b");
    }
    // A GET that its server did not answer is tried elsewhere too.
    assert_eq!(first.join().unwrap().text(), "b");
    wait_for_queue(&proxy, 0);
    let status = proxy.status();
    for server in status["pools"][0]["servers"].as_array().unwrap() {
        assert_eq!(
            (&server["in_flight"], &server["queued"]),
            (&0.into(), &0.into())
        );
    }
}

#[test]
fn a_backup_does_not_help_out_where_the_others_are_only_full() {
    let gates = [Gate::new("a"), Gate::new("spare")];
    let proxy = Proxy::start(site(
        2,
        "",
        &[
            (&gates[0].origin, ", max-connections = 1"),
            (&gates[1].origin, ", backup = true"),
        ],
    ));
    let first = ask(&proxy, "/1");
    gates[0].wait_for(1);
    let second = ask(&proxy, "/2");
    wait_for_queue(&proxy, 1);
    gates[0].open(2);
    assert_eq!(first.join().unwrap().text(), "a");
    assert_eq!(second.join().unwrap().text(), "a");
    assert!(gates[1].targets().is_empty());
}

/// No slot is lost when clients come, wait, leave, and servers and limits change, on four workers.
#[test]
fn no_place_is_lost_under_load() {
    let origins = ["a", "b", "c"].map(Origin::named);
    let with = |most: u32| {
        let limit = format!(", max-connections = {most}");
        let servers = origins.each_ref().map(|origin| (origin, limit.as_str()));
        site(4, "max-queue = 1000", &servers)
            .replace("name = \"web\"", "name = \"web\"\nabort-on-close = true")
    };
    let mut proxy = Proxy::start(with(1));
    let address = proxy.address("web");
    let clients: Vec<_> = (0..12)
        .map(|number| {
            thread::spawn(move || {
                for round in 0..60 {
                    let mut client = Client::connect(address);
                    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
                    client.write(request).unwrap();
                    if (number + round) % 5 != 0 {
                        assert_eq!(client.read().unwrap().status(), 200);
                    }
                }
            })
        })
        .collect();
    for most in [2, 1, 3, 1] {
        proxy.reconfigure(with(most));
    }
    for client in clients {
        client.join().unwrap();
    }
    wait_for_queue(&proxy, 0);
    wait_until("nothing is in flight", || {
        let status = proxy.status();
        let servers = status["pools"][0]["servers"].as_array().unwrap().clone();
        servers.iter().all(|server| server["in_flight"] == 0)
    });
    for _ in 0..6 {
        assert_eq!(get(address, "/").status(), 200);
    }
}

#[test]
fn streams_of_one_connection_count_one_by_one() {
    let server = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             active, most = 0, 0\n    \
             def began(self, stream, request):\n        \
                 self.active += 1\n        say('active', self.active)\n    \
             def ended(self, stream, request):\n        \
                 def end():\n            self.active -= 1\n            self.answer(stream, b'a')\n        \
                 self.later(0.1, end)\n\
         serve(C)",
    );
    let proxy = Proxy::start(format!(
        "[proxy]\nworkers = 1\n{}\n[[pool]]\nname = \"app\"\nhttp = \"h2\"\nservers = [{{ address = \"{}\", max-connections = 2 }}]\n",
        listener("web", "pool = \"app\""),
        server.address()
    ));
    let asked: Vec<_> = (0..6).map(|n| ask(&proxy, &format!("/{n}"))).collect();
    for asked in asked {
        assert_eq!(asked.join().unwrap().text(), "a");
    }
    let lines = server.wait_for(6);
    let known = |line: &String| line == "active 1" || line == "active 2";
    assert!(lines.iter().all(known), "{lines:?}");
}

#[test]
fn connections_in_tcp_mode_wait_too() {
    let echo = echo();
    let proxy = Proxy::start(bytes_to(&echo, "") + "timeouts = { queue = \"1s\" }\n");
    let connect = || TcpStream::connect(proxy.address("db")).unwrap();
    let mut first = connect();
    speak(&mut first).unwrap();
    let mut second = connect();
    wait_for_queue(&proxy, 1);
    let leaver = connect();
    wait_for_queue(&proxy, 2);
    // Which resets it.
    rustix::net::connect_unspec(&leaver).unwrap();
    wait_for_queue(&proxy, 1);
    drop(first);
    speak(&mut second).expect("its turn has come");
    let mut third = connect();
    assert!(speak(&mut third).is_err(), "it waited too long");
    let lines = proxy.access_log(3);
    let left = lines.iter().find(|line| line["fault"] == "client-closed");
    let left = left.unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(left["termination"], "CQ");
    let late = lines.iter().find(|line| line["fault"] == "queue-timeout");
    let late = late.unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(late["termination"], "sQ");
}

/// A client that closes its sending side while it waits for a place may still want what the server says.
#[test]
fn a_client_in_tcp_mode_that_has_said_all_leaves_the_line_where_it_is_asked_to() {
    for abort in [false, true] {
        let echo = echo();
        let proxy = Proxy::start(bytes_to(&echo, &format!("abort-on-close = {abort}")));
        let connect = || TcpStream::connect(proxy.address("db")).unwrap();
        let mut held = connect();
        speak(&mut held).unwrap();
        let mut leaver = connect();
        leaver.write_all(b"last words").unwrap();
        leaver.shutdown(Shutdown::Write).unwrap();
        if abort {
            let line = proxy.access_log(1).remove(0);
            let told = (&line["fault"], &line["termination"]);
            assert_eq!(told, (&"client-closed".into(), &"CQ".into()), "{line}");
            wait_for_queue(&proxy, 0);
            continue;
        }
        wait_for_queue(&proxy, 1);
        drop(held);
        let mut heard = String::new();
        leaver.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "last words");
    }
}

/// Whatever the connection runs over.
#[test]
fn a_client_of_tls_in_tcp_mode_that_goes_leaves_the_line() {
    let ca = Authority::new("ca");
    let echo = echo();
    let lines = "abort-on-close = true\ntls = { certificates = ['site.pem'] }";
    let proxy = Setup::new(bytes_to(&echo, lines))
        .file("site.pem", ca.issue(&["site.test"]).bundle())
        .start();
    let connect = || tls_connect(proxy.address("db"), &ca, "site.test");
    let mut held = connect();
    speak(&mut held).unwrap();
    let mut leavers = [connect(), connect()];
    for leaver in &mut leavers {
        leaver.write_all(b"x").unwrap();
    }
    wait_for_queue(&proxy, 2);
    rustix::net::connect_unspec(&leavers[0].sock).unwrap();
    wait_for_queue(&proxy, 1);
    leavers[1].sock.shutdown(Shutdown::Write).unwrap();
    wait_for_queue(&proxy, 0);
    for line in proxy.access_log(2) {
        assert_eq!(line["termination"], "CQ", "{line}");
    }
}

#[test]
fn httplog_tells_who_was_ahead() {
    let gate = Gate::new("a");
    let proxy = Proxy::start(
        "[log]\naccess = \"stdout\"\nformat = \"httplog\"\n".to_owned()
            + &site(2, "", &[(&gate.origin, ", max-connections = 1")]),
    );
    let asked: Vec<_> = (0..3)
        .map(|number| {
            let asked = ask(&proxy, &format!("/{number}"));
            gate.wait_for(1);
            wait_for_queue(&proxy, number);
            asked
        })
        .collect();
    gate.open(3);
    for asked in asked {
        assert_eq!(asked.join().unwrap().status(), 200);
    }
    wait_until("all are logged", || proxy.stdout().len() == 3);
    let lines = proxy.stdout();
    let line = |path: &str| lines.iter().find(|line| line.contains(path)).unwrap();
    assert!(
        line("GET /0 ").contains(" 0/0 \"GET"),
        "{}",
        line("GET /0 ")
    );
    assert!(
        line("GET /1 ").contains(" 0/0 \"GET"),
        "{}",
        line("GET /1 ")
    );
    assert!(
        line("GET /2 ").contains(" 0/1 \"GET"),
        "{}",
        line("GET /2 ")
    );
}

fn echo() -> Raw {
    Raw::serving(|mut stream| {
        let mut byte = [0];
        while stream.read(&mut byte)? > 0 {
            stream.write_all(&byte)?;
        }
        Ok(())
    })
}

/// In tcp mode, with one place.
fn bytes_to(server: &Raw, lines: &str) -> String {
    format!(
        "[log]\naccess = \"stdout\"\nformat = \"json\"\n{}\n[[pool]]\nname = \"app\"\n\
         servers = [{{ name = \"a\", address = \"{}\", max-connections = 1 }}]\n",
        listener("db", &format!("mode = \"tcp\"\npool = \"app\"\n{lines}")),
        server.address()
    )
}

fn speak(stream: &mut (impl Read + Write)) -> io::Result<()> {
    let mut heard = [0];
    stream.write_all(b"x")?;
    stream.read_exact(&mut heard)
}

/// An origin that answers as many requests as it is told to.
struct Gate {
    origin: Origin,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    may: usize,
    targets: Vec<String>,
    active: usize,
    most: usize,
}

impl Gate {
    fn new(name: &str) -> Gate {
        let shared = Arc::<Shared>::default();
        let (its, own) = (shared.clone(), name.to_owned());
        let origin = Origin::answering(name, move |request, stream| {
            its.pass(request.target());
            reply(stream, 200, &[("x-origin", &own)], &own)
        });
        Gate { origin, shared }
    }

    /// That many may be answered.
    fn open(&self, more: usize) {
        self.shared.state.lock().unwrap().may += more;
        self.shared.changed.notify_all();
    }

    fn close(&self) {
        self.shared.state.lock().unwrap().may = 0;
    }

    /// Returns once so many requests have come.
    #[track_caller]
    fn wait_for(&self, requests: usize) {
        wait_until(&format!("{requests} requests"), || {
            self.targets().len() >= requests
        });
    }

    fn targets(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().targets.clone()
    }

    /// At a time.
    fn most(&self) -> usize {
        self.shared.state.lock().unwrap().most
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open(1 << 20);
    }
}

impl Shared {
    fn pass(&self, target: &str) {
        let mut state = self.state.lock().unwrap();
        state.targets.push(target.to_owned());
        state.active += 1;
        state.most = state.most.max(state.active);
        let mut state = self
            .changed
            .wait_while(state, |state| state.may == 0)
            .unwrap();
        state.may -= 1;
        state.active -= 1;
    }
}

fn site(workers: usize, lines: &str, servers: &[(&Origin, &str)]) -> String {
    let servers: Vec<_> = servers
        .iter()
        .map(|(origin, more)| server(origin, more))
        .collect();
    format!(
        "\n[proxy]\nworkers = {workers}\n{}\n[[pool]]\nname = \"app\"\n{lines}\nservers = [{}]\n",
        listener("web", "pool = \"app\""),
        servers.join(", ")
    )
}

/// A request of a client of its own, whose answer is waited for elsewhere.
fn ask(proxy: &Proxy, path: &str) -> JoinHandle<Message> {
    with_header(proxy, path, "")
}

fn with_header(proxy: &Proxy, path: &str, header: &str) -> JoinHandle<Message> {
    let address: SocketAddr = proxy.address("web");
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{header}\r\n");
    thread::spawn(move || Client::connect(address).ask(&request))
}

#[track_caller]
fn wait_for_queue(proxy: &Proxy, length: usize) {
    wait_until(&format!("{length} wait"), || {
        let labels = [("pool", "app")];
        let seen = proxy
            .metrics()
            .sum("tidegate_pool_queued_requests", &labels);
        seen == length as f64
    });
}
