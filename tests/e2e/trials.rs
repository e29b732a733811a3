//! The breaker's half-open state: an ejected server whose time is over is tried by one request at a time. Which request's end says
//! something of the server, and when the next one may come.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use tidegate_tests::{
    Client, Message, Origin, Port, Proxy, Server, listener, pool, reply, wait_for, wait_until,
};

/// An answer to what was sent before an ejection says nothing of how the server is after it.
#[test]
fn what_was_sent_before_an_ejection_passes_no_trial() {
    let stage = Stage::new("a");
    let proxy = Proxy::start(on(&[&stage], "http", 1));
    let late = ask(&proxy, "/held", "");
    stage.wait_for_held();
    put_on_trial(&proxy, 1);
    stage.let_go(200);
    assert_eq!(late.join().unwrap().status(), 200);
    // Which is the trial, and fails it.
    assert_eq!(proxy.get("/bad").status(), 500);
    wait_for_ejections(&proxy, 2);
}

#[test]
fn what_was_sent_before_an_ejection_fails_no_trial() {
    let stage = Stage::new("a");
    let proxy = Proxy::start(on(&[&stage], "http", 1));
    let late = ask(&proxy, "/held", "");
    stage.wait_for_held();
    put_on_trial(&proxy, 1);
    stage.let_go(500);
    assert_eq!(late.join().unwrap().status(), 500);
    wait_until("it has passed its trial", || proxy.get("/").status() == 200);
    wait_until("it is back", || proxy.server("a")["health"] == "unchecked");
    wait_for_ejections(&proxy, 1);
}

/// A download, a WebSocket, and whatever else lasts for hours.
#[test]
fn a_trial_is_over_with_the_head_of_its_answer() {
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    for (path, header) in [("/long", ""), ("/ws", upgrade)] {
        let stage = Stage::new("a");
        let proxy = Proxy::start(on(&[&stage], "http", 2));
        put_on_trial(&proxy, 1);
        let mut first = TcpStream::connect(proxy.address("web")).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{header}\r\n");
        first.write_all(request.as_bytes()).unwrap();
        first.read_exact(&mut [0; 12]).unwrap();
        assert_eq!(proxy.get("/").status(), 200, "{path}");
        wait_until("it is back", || proxy.server("a")["health"] == "unchecked");
        assert_eq!(proxy.server("a")["in_flight"], 1, "{path}");
    }
}

#[test]
fn a_trial_of_http2_is_over_with_the_head_of_its_answer() {
    let server = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             def ended(self, stream, request):\n        \
                 path = request[':path']\n        \
                 status = '500' if path == '/bad' else '200'\n        \
                 self.h2.send_headers(stream, [(':status', status)], end_stream=path != '/long')\n\
         serve(C)",
    );
    let proxy = Proxy::start(format!(
        "{ONE_WORKER}{}\n[[pool]]\nname = \"app\"\nhttp = \"h2\"\n{}\nservers = [{{ name = \"a\", address = \"{}\" }}]\n",
        listener("web", "pool = \"app\""),
        breaker(2),
        server.address()
    ));
    put_on_trial(&proxy, 1);
    let mut first = TcpStream::connect(proxy.address("web")).unwrap();
    first
        .write_all(b"GET /long HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    first.read_exact(&mut [0; 12]).unwrap();
    assert_eq!(proxy.get("/").status(), 200);
    wait_until("it is back", || proxy.server("a")["health"] == "unchecked");
}

#[test]
fn a_trial_in_tcp_mode_is_over_with_its_connection() {
    let port = Port::free();
    let stage = Stage::at(port.address(), "a");
    let proxy = Proxy::start(on(&[&stage], "tcp", 2));
    stage.origin.stop();
    let ask = |path: &str| {
        let mut client = Client::try_connect(proxy.address("web"))?;
        let answer = client.try_ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))?;
        io::Result::Ok((client, answer.status()))
    };
    wait_until("it is ejected", || {
        let _ = ask("/");
        ejections(&proxy) >= 1
    });
    let _stage = Stage::at(port.address(), "a");
    wait_until("its trial has begun", || {
        // It may have been tried while it was away.
        proxy.server("a")["health"] == "on trial"
    });
    // Before it may be picked it is not tried.
    let (_first, status) = wait_for("the first to be tried", || ask("/").ok());
    assert_eq!(status, 200);
    let (_second, status) = ask("/").expect("and the second, while the first is there");
    assert_eq!(status, 200);
    wait_until("it is back", || proxy.server("a")["health"] == "unchecked");
}

/// What says nothing of the server gives the trial back.
#[test]
fn a_client_that_leaves_in_the_middle_of_a_trial_neither_passes_nor_fails_it() {
    let stage = Stage::new("a");
    let proxy = Proxy::start(on(&[&stage], "http", 1));
    put_on_trial(&proxy, 1);
    let mut leaver = Client::connect(proxy.address("web"));
    leaver
        .write(b"GET /held HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    stage.wait_for_held();
    assert_eq!(proxy.get("/meanwhile").status(), 503, "one at a time");
    rustix::net::connect_unspec(leaver.socket()).unwrap();
    assert_eq!(proxy.logged("/held")["fault"], "client-closed");
    assert_eq!(proxy.server("a")["health"], "on trial");
    assert_eq!(proxy.get("/bad").status(), 500);
    wait_for_ejections(&proxy, 2);
}

/// A stuck user's server is tried by another: nobody waits for a trial.
#[test]
fn a_stuck_user_goes_elsewhere_while_its_server_is_tried() {
    for more in ["", "when-full = \"wait\""] {
        let (a, b) = (Stage::new("a"), Stage::new("b"));
        let lines =
            "balancer = \"first\"\nsticky = { plugin = \"sticky-cookie\", cookie = \"S\" }\n";
        let config =
            on(&[&a, &b], "http", 1).replace("retries", &format!("{lines}{more}\nretries"));
        let proxy = Proxy::start(config);
        put_on_trial(&proxy, 1);
        let tried = ask(&proxy, "/held", "");
        a.wait_for_held();
        let stuck = ask(&proxy, "/", "cookie: S=a\r\n").join().unwrap();
        assert_eq!((stuck.status(), stuck.text().as_str()), (200, "b"));
        a.let_go(200);
        assert_eq!(tried.join().unwrap().text(), "a");
    }
}

/// A server is usable while it gets new users, be it one at a time.
#[test]
fn a_pool_is_usable_while_its_server_is_tried_but_not_while_it_is_ejected_or_drains() {
    let stage = Stage::new("a");
    let config = on(&[&stage], "http", 1).replace(
        "eject = \"100ms\", max-eject = \"100ms\"",
        "eject = \"1s\", max-eject = \"1s\"",
    );
    let proxy = Proxy::start(config);
    let usable = || proxy.admin("GET", "/healthz?pool=app", b"").status();
    assert_eq!(usable(), 200);
    fail_twice(&proxy);
    wait_until("it is ejected", || proxy.server("a")["health"] == "ejected");
    assert_eq!(usable(), 503);
    wait_for_trial(&proxy);
    assert_eq!(usable(), 200);
    let tried = ask(&proxy, "/held", "");
    stage.wait_for_held();
    assert_eq!(
        usable(),
        200,
        "it would not do to leave and come back each time"
    );
    stage.let_go(200);
    assert_eq!(tried.join().unwrap().status(), 200);
    for (body, expected) in [
        ("{\"state\": \"drain\"}", 503),
        ("{\"state\": \"ready\"}", 200),
        ("{\"weight\": 0}", 503),
        ("{\"weight\": 1}", 200),
        ("{\"state\": \"maint\"}", 503),
    ] {
        let server = "/api/v1/pools/app/servers/a";
        let answer = proxy.admin("PATCH", server, body.as_bytes());
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(usable(), expected, "{body}");
    }
}

/// An origin whose answers are told by the request's path, and by the test.
struct Stage {
    origin: Origin,
    held: Arc<(Mutex<Held>, Condvar)>,
}

/// The request for `/held`.
#[derive(Default)]
struct Held {
    came: bool,
    /// What it is answered with, once that is known.
    status: Option<u16>,
}

impl Stage {
    fn new(name: &str) -> Stage {
        Stage::at((Ipv4Addr::LOCALHOST, 0).into(), name)
    }

    fn at(address: SocketAddr, name: &str) -> Stage {
        let held = Arc::<(Mutex<Held>, Condvar)>::default();
        let (its, own) = (held.clone(), name.to_owned());
        let origin = Origin::on(address, name, move |request, stream| {
            let target = request.target();
            let status = match target {
                "/bad" => 500,
                "/long" => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun")?;
                    return hang(stream);
                }
                "/ws" => {
                    stream.write_all(
                        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
                    )?;
                    return hang(stream);
                }
                "/held" => {
                    let (held, changed) = &*its;
                    held.lock().unwrap().came = true;
                    let waits = |held: &mut Held| held.status.is_none();
                    let held = changed.wait_while(held.lock().unwrap(), waits).unwrap();
                    held.status.unwrap_or(200)
                }
                _ => 200,
            };
            reply(stream, status, &[("x-origin", &own)], &own)
        });
        Stage { origin, held }
    }

    #[track_caller]
    fn wait_for_held(&self) {
        wait_until("it is held", || self.held.0.lock().unwrap().came);
    }

    fn let_go(&self, status: u16) {
        let status = Some(status);
        self.held.0.lock().unwrap().status = status;
        self.held.1.notify_all();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.let_go(200);
    }
}

/// So that one answer tells what all workers' balancers know.
const ONE_WORKER: &str = "[proxy]\nworkers = 1\n";

/// Two failures in a row eject, for a moment.
fn breaker(trials: u32) -> String {
    format!(
        "retries = 0\npassive = {{ max-fails = 2, eject = \"100ms\", max-eject = \"100ms\", max-ejected = \"100%\", trials = {trials}, on = [\"connect\", \"5xx\"] }}"
    )
}

fn on(stages: &[&Stage], mode: &str, trials: u32) -> String {
    let origins: Vec<_> = stages.iter().map(|stage| &stage.origin).collect();
    let listener = listener("web", &format!("mode = \"{mode}\"\npool = \"app\""));
    ONE_WORKER.to_owned() + &listener + &pool("app", &breaker(trials), &origins)
}

fn ask(proxy: &Proxy, path: &str, header: &str) -> thread::JoinHandle<Message> {
    let address = proxy.address("web");
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{header}\r\n");
    thread::spawn(move || Client::connect(address).ask(&request))
}

fn ejections(proxy: &Proxy) -> u64 {
    let of_a = [("server", "a")];
    proxy
        .metrics()
        .sum("tidegate_server_ejections_total", &of_a) as u64
}

#[track_caller]
fn wait_for_ejections(proxy: &Proxy, count: u64) {
    wait_until(&format!("{count} ejections"), || ejections(proxy) == count);
}

/// Has the server `a` fail, and waits for the end of its ejection.
#[track_caller]
fn put_on_trial(proxy: &Proxy, ejections: u64) {
    fail_twice(proxy);
    wait_for_ejections(proxy, ejections);
    wait_for_trial(proxy);
}

#[track_caller]
fn fail_twice(proxy: &Proxy) {
    for _ in 0..2 {
        assert_eq!(proxy.get("/bad").status(), 500);
    }
}

/// Balancers hear of it a little later than the status.
#[track_caller]
fn wait_for_trial(proxy: &Proxy) {
    wait_until("it is on trial", || {
        proxy.server("a")["health"] == "on trial"
    });
    wait_until("it may be picked", || {
        let explained = proxy.admin("GET", "/api/v1/explain?url=http://a/", b"");
        explained.json()["server"] == "a"
    });
}

/// Says nothing until the other side gives up.
fn hang(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let _ = stream.read(&mut [0]);
    Err(ErrorKind::TimedOut.into())
}
