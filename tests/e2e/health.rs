//! Servers that die, hang, answer nonsense and come back: what probes and failed requests do about it, seen from outside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tidegate_tests::{
    Authority, Front, Load, Origin, Proxy, Server, listener, pool, reply, send, wait_until,
};

const QUICK: &str =
    "health = { path = \"/health\", interval = \"30ms\", timeout = \"300ms\", fall = 2 }";

#[test]
fn no_request_fails_while_a_server_says_goodbye_leaves_and_comes_back() {
    let all = ["a", "b", "c"].map(Patient::new);
    let proxy = Proxy::start(site(QUICK, &all));
    wait_for_state(&proxy, "b", "ready");
    let load = Load::start(proxy.address("web"), &["/"]);
    load.wait_for_more(50);
    // It still answers users, but asks for no more of them.
    all[1].health(503);
    wait_for_state(&proxy, "b", "down");
    proxy.wait_for_log(&[
        "WARN",
        "server is down",
        "server=\"b\"",
        "status 503",
        "usable=2",
    ]);
    let quiet = all[1].users();
    load.wait_for_more(100);
    assert!(all[1].users() <= quiet + 4, "but for those on their way");
    let address = all[1].origin.address();
    all[1].origin.stop();
    load.wait_for_more(100);
    let back = Patient::at(address, "b");
    wait_for_state(&proxy, "b", "ready");
    proxy.wait_for_log(&[
        "INFO",
        "server is up",
        "server=\"b\"",
        "status 200",
        "usable=3",
    ]);
    wait_until("it has users again", || back.users() > 20);
    load.finish().expect_only(200);
    let b = [("pool", "app"), ("server", "b")];
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("tidegate_server_up", &b), 1.0);
    let to = |to| [b[0], b[1], ("to", to)];
    for way in ["up", "down"] {
        assert_eq!(
            metrics.sum("tidegate_server_transitions_total", &to(way)),
            1.0
        );
    }
    for result in ["passed", "failed"] {
        let labels = [b[0], b[1], ("result", result)];
        assert!(metrics.sum("tidegate_server_probes_total", &labels) >= 2.0);
    }
    assert!(metrics.sum("tidegate_server_probe_duration_seconds", &b) > 0.0);
}

#[test]
fn balancers_are_told_so_that_the_rest_stays_even() {
    let all = ["a", "b", "c"].map(Patient::new);
    let proxy = Proxy::start(site(&format!("{QUICK}\nbalancer = \"round-robin\""), &all));
    let in_turn = |names: &[&str]| {
        let seen = proxy.origins("/", 60);
        let begin = names.iter().position(|name| *name == seen[0]);
        let turns = names.iter().cycle().skip(begin.unwrap_or(0));
        seen.iter().zip(turns).all(|(seen, name)| seen == name)
    };
    assert!(in_turn(&["a", "b", "c"]));
    all[1].health(500);
    wait_for_state(&proxy, "b", "down");
    // A balancer that does not know has its picks of b replaced by chance.
    wait_until("two take turns", || in_turn(&["a", "c"]));
    all[1].health(200);
    wait_until("three take turns", || in_turn(&["a", "b", "c"]));
}

#[test]
fn each_way_to_be_ill_is_found_and_named() {
    for (illness, words) in [
        (500, "status 500"),
        (HANGS, "no answer within 300ms"),
        (CLOSES, "closed without an answer"),
        (NONSENSE, "the answer is no HTTP response"),
    ] {
        let all = ["a", "b"].map(Patient::new);
        let proxy = Proxy::start(site(QUICK, &all));
        all[1].health(illness);
        wait_for_state(&proxy, "b", "down");
        let b = proxy.server("b");
        assert_eq!(
            (&b["health"], &b["last_probe"]),
            (&"down".into(), &words.into())
        );
        assert!(proxy.origins("/", 10).iter().all(|name| name == "a"));
        all[1].health(200);
        wait_for_state(&proxy, "b", "ready");
    }
    let all = ["a", "b"].map(Patient::new);
    let proxy = Proxy::start(site(QUICK, &all));
    all[1].origin.stop();
    // A probe that is under way while it stops is closed.
    wait_until("b refuses", || {
        let b = proxy.server("b");
        b["state"] == "down" && b["last_probe"] == "connection refused"
    });
}

#[test]
fn a_probe_asks_and_expects_what_the_file_says() {
    let origin = Origin::answering("a", |request, stream| {
        let fits = request.method() == "POST" && request.header("x-key") == Some("7");
        let fits = fits && request.header("host") == Some("probe.example");
        let status = if fits { 207 } else { 404 };
        reply(stream, status, &[], "{\"role\": \"primary\", \"lag\": 12}")
    });
    let health = |expects: &str| {
        format!(
            "health = {{ path = \"/up?deep=1\", method = \"POST\", host = \"probe.example\", \
             headers = {{ X-Key = \"7\" }}, interval = \"20ms\", timeout = \"300ms\", {expects} }}"
        )
    };
    for (expects, state, words) in [
        ("expect = \"207\"", "ready", "status 207"),
        ("expect = [\"200-204\", \"207\"]", "ready", "status 207"),
        ("expect = \"200\"", "down", "status 207"),
        ("body = \"primary\"", "ready", "status 207, the body fits"),
        (
            "body = \"replica\"",
            "down",
            "the body does not hold what is expected",
        ),
        (
            "body-pattern = '\"lag\": \\d\\d\\b'",
            "ready",
            "status 207, the body fits",
        ),
        (
            "body-pattern = '\"lag\": \\d\\b'",
            "down",
            "the body does not match",
        ),
    ] {
        let config = listener("web", "pool = \"app\"") + &pool("app", &health(expects), &[&origin]);
        let proxy = Proxy::start(config);
        wait_until(expects, || proxy.server("a")["last_probe"] == words);
        wait_for_state(&proxy, "a", state);
        let seen = origin.last();
        assert_eq!(seen.target(), "/up?deep=1");
        assert_eq!(seen.header("connection"), Some("close"));
    }
}

#[test]
fn a_probe_of_another_port_decides_for_the_server() {
    let user_side = Origin::named("a");
    let role = Patient::new("role");
    let health = format!(
        "health = {{ path = \"/health\", port = {}, interval = \"20ms\" }}",
        role.origin.address().port()
    );
    let proxy =
        Proxy::start(listener("web", "pool = \"app\"") + &pool("app", &health, &[&user_side]));
    assert_eq!(proxy.get("/").status(), 200);
    role.health(503);
    wait_for_state(&proxy, "a", "down");
    assert_eq!(proxy.get("/").status(), 503);
    assert!(
        user_side.requests().iter().all(|r| r.target() == "/"),
        "it was never probed itself"
    );
}

#[test]
fn a_tcp_probe_needs_a_connection_and_nothing_more() {
    let all = [Patient::new("a")];
    all[0].health(500);
    let health = "health = { type = \"tcp\", interval = \"20ms\", timeout = \"300ms\" }";
    let proxy = Proxy::start(site(health, &all));
    wait_until("a probe", || proxy.server("a")["last_probe"] == "connected");
    assert_eq!(proxy.server("a")["state"], "ready");
    all[0].origin.stop();
    wait_for_state(&proxy, "a", "down");
}

#[test]
fn with_every_server_down_backups_serve_and_then_nobody() {
    let all = ["a", "b", "spare"].map(Patient::new);
    let [a, b, spare] = &all;
    let text = site(QUICK, &all).replace(
        &format!("\"{}\" }}]", spare.origin.address()),
        &format!("\"{}\", backup = true }}]", spare.origin.address()),
    );
    assert!(text.contains("backup"));
    let proxy = Proxy::start(text);
    assert!(proxy.origins("/", 10).iter().all(|name| name != "spare"));
    a.health(500);
    b.health(500);
    wait_for_state(&proxy, "a", "down");
    wait_for_state(&proxy, "b", "down");
    assert!(proxy.origins("/", 10).iter().all(|name| name == "spare"));
    assert_eq!(healthz(&proxy), 200);
    spare.health(500);
    wait_for_state(&proxy, "spare", "down");
    assert_eq!(healthz(&proxy), 503);
    let users = [a.users(), b.users(), spare.users()];
    let answer = proxy.get("/nobody");
    assert_eq!(answer.status(), 503);
    assert_eq!(
        [a.users(), b.users(), spare.users()],
        users,
        "at once, without a try"
    );
    let line = proxy.logged("/nobody");
    assert_eq!(
        (&line["fault"], &line["attempts"]),
        (&"no-server".into(), &0.into())
    );
}

#[test]
fn below_the_panic_threshold_all_are_used() {
    let all = ["a", "b", "c"].map(Patient::new);
    let proxy = Proxy::start(site(&format!("{QUICK}\npanic-threshold = \"50%\""), &all));
    all[1].health(500);
    wait_for_state(&proxy, "b", "down");
    assert!(
        !proxy.origins("/", 9).contains(&"b".to_owned()),
        "two of three are enough"
    );
    all[2].health(500);
    proxy.wait_for_log(&["ERROR", "panic", "pool=\"app\""]);
    wait_until("all are used", || {
        let mut seen = proxy.origins("/", 9);
        seen.sort();
        seen.dedup();
        seen == ["a", "b", "c"]
    });
    assert_eq!(
        proxy.server("b")["health"],
        "down",
        "which is told all the same"
    );
    all[2].health(200);
    proxy.wait_for_log(&["INFO", "panic is over"]);
    wait_for_state(&proxy, "b", "down");
}

#[test]
fn a_server_that_fails_requests_is_ejected_and_comes_back() {
    let all = ["a", "b", "c"].map(Patient::new);
    let passive = "passive = { max-fails = 3, eject = \"2s\", on = [\"connect\", \"5xx\"] }";
    let proxy = Proxy::start(site(passive, &all));
    assert_eq!(proxy.server("b")["health"], "unchecked");
    all[1].users_get(502);
    wait_until("it is ejected", || {
        proxy.get("/");
        let b = proxy.server("b");
        b["health"] == "ejected" && b["state"] == "down"
    });
    proxy.wait_for_log(&["WARN", "is ejected", "server=\"b\"", "usable=2"]);
    all[1].users_get(200);
    wait_until("it is back", || {
        proxy.get("/").header("x-origin") == Some("b")
    });
    proxy.wait_for_log(&["INFO", "no longer ejected", "server=\"b\""]);
    let b = [("pool", "app"), ("server", "b")];
    assert_eq!(
        proxy.metrics().sum("tidegate_server_ejections_total", &b),
        1.0
    );
}

#[test]
fn no_request_fails_though_a_server_dies_at_once_and_it_is_ejected() {
    let all = ["a", "b", "c"].map(Patient::new);
    let passive = "passive = { max-fails = 3, eject = \"1h\", max-eject = \"1h\" }";
    let proxy = Proxy::start(site(passive, &all));
    all[1].origin.stop();
    let load = Load::start(proxy.address("web"), &["/"]);
    wait_until("it is ejected", || proxy.server("b")["health"] == "ejected");
    load.wait_for_more(100);
    // Each was tried again elsewhere.
    load.finish().expect_only(200);
}

#[test]
fn no_more_are_ejected_than_their_share() {
    let all = ["a", "b", "c"].map(Patient::new);
    let passive =
        "passive = { max-fails = 1, eject = \"1h\", max-ejected = \"34%\", on = [\"5xx\"] }";
    let proxy = Proxy::start(site(passive, &all));
    all.iter().for_each(|patient| patient.users_get(500));
    let ejected = || {
        let names = ["a", "b", "c"];
        let ejected = names
            .iter()
            .filter(|name| proxy.server(name)["health"] == "ejected");
        ejected.count()
    };
    wait_until("one is ejected", || {
        proxy.get("/");
        ejected() == 1
    });
    for _ in 0..20 {
        assert_eq!(proxy.get("/").status(), 500, "the others still serve");
    }
    proxy.wait_for_log(&["WARN", "as many are ejected as"]);
    assert_eq!(ejected(), 1);
}

#[test]
fn a_rate_of_failures_ejects_where_no_row_is_long() {
    let all = ["a", "b"].map(Patient::new);
    let passive = "passive = { max-fails = 0, max-rate = \"40%\", min-requests = 10, eject = \"1h\", on = [\"5xx\"] }";
    let proxy = Proxy::start(site(passive, &all));
    let every_other = AtomicU16::new(0);
    wait_until("b is ejected", || {
        let turn = every_other.fetch_add(1, Ordering::Relaxed) / 2 % 2;
        all[1].users_get(if turn == 0 { 500 } else { 200 });
        proxy.get("/");
        proxy.server("b")["health"] == "ejected"
    });
    assert!(all[1].users() >= 10);
}

#[test]
fn who_comes_back_starts_slowly() {
    let all = ["a", "b"].map(Patient::new);
    let proxy = Proxy::start(site(&format!("{QUICK}\nslow-start = \"1h\""), &all));
    wait_until("b was probed", || proxy.server("b")["health"] == "up");
    assert_eq!(
        proxy.server("b")["effective_weight"],
        1.0,
        "at the start all are there in full"
    );
    all[1].health(500);
    wait_for_state(&proxy, "b", "down");
    all[1].health(200);
    wait_for_state(&proxy, "b", "ready");
    let weight = proxy.server("b")["effective_weight"].as_f64().unwrap();
    assert!((0.04..0.06).contains(&weight), "{weight}");
    let names = proxy.origins("/", 400);
    let b = names.iter().filter(|name| *name == "b").count();
    assert!((1..60).contains(&b), "about a twentieth of 400, not {b}");
}

#[test]
fn slow_start_ends_with_the_whole_weight() {
    let all = ["a", "b"].map(Patient::new);
    let proxy = Proxy::start(site(&format!("{QUICK}\nslow-start = \"400ms\""), &all));
    all[1].health(500);
    wait_for_state(&proxy, "b", "down");
    all[1].health(200);
    wait_for_state(&proxy, "b", "ready");
    wait_until("it grows to its whole weight", || {
        proxy.server("b")["effective_weight"] == 1.0
    });
}

#[test]
fn what_is_known_of_servers_outlives_a_reload() {
    let all = ["a", "b", "c"].map(Patient::new);
    let health = QUICK.replace("30ms", "100ms");
    let mut proxy = Proxy::start(site(&health, &all));
    all[1].health(500);
    wait_for_state(&proxy, "b", "down");
    // New instances of another balancer, other settings of the probes: nobody is sent to it meanwhile.
    for balancer in ["least-connections", "random", "round-robin"] {
        let rarely = QUICK.replace("30ms", "1h");
        proxy.reconfigure(site(&format!("{rarely}\nbalancer = \"{balancer}\""), &all));
        assert_eq!(proxy.server("b")["state"], "down");
        assert!(
            !proxy.origins("/", 30).contains(&"b".to_owned()),
            "{balancer}"
        );
    }
    let b = [("pool", "app"), ("server", "b"), ("to", "down")];
    assert_eq!(
        proxy.metrics().sum("tidegate_server_transitions_total", &b),
        1.0
    );
    // Without probes nothing is known to be down.
    proxy.reconfigure(site("", &all));
    wait_for_state(&proxy, "b", "ready");
    wait_until("it is used", || {
        proxy.origins("/", 6).contains(&"b".to_owned())
    });
}

#[test]
fn every_balancer_leaves_out_who_is_down() {
    let all = ["a", "b", "c"].map(Patient::new);
    for balancer in [
        "round-robin",
        "weighted-round-robin",
        "least-connections",
        "ip-hash",
        "consistent-hash",
        "least-response-time",
        "random",
        "two-choices",
        "first",
    ] {
        all[0].health(200);
        let proxy = Proxy::start(site(&format!("{QUICK}\nbalancer = \"{balancer}\""), &all));
        wait_for_state(&proxy, "a", "ready");
        all[0].health(500);
        wait_for_state(&proxy, "a", "down");
        assert!(
            !proxy.origins("/", 30).contains(&"a".to_owned()),
            "{balancer}"
        );
    }
}

#[test]
fn a_plugin_judges_what_a_server_says_of_itself() {
    let said = Arc::new(std::sync::Mutex::new("{\"load\": 1}".to_owned()));
    let own = said.clone();
    let b = Origin::answering("b", move |_, stream| {
        reply(stream, 200, &[("x-origin", "b")], &own.lock().unwrap())
    });
    let a = Origin::answering("a", |_, stream| {
        reply(
            stream,
            200,
            &[("x-origin", "a")],
            "{\"load\": 1, \"db\": true}",
        )
    });
    let health = |balancer: &str| {
        format!(
            "balancer = \"{balancer}\"\n[pool.health]\npath = \"/status\"\ninterval = \"30ms\"\nfall = 2\n\
             plugin = {{ plugin = \"health-json\", rules = [ \
             {{ field = \"load\", at-most = 5, otherwise = \"10%\" }}, \
             {{ field = \"load\", at-most = 50, otherwise = \"drain\" }}, \
             {{ field = \"db\", equals = true }} ] }}\n"
        )
    };
    let config = |balancer: &str| {
        let servers = [&a, &b].map(|o| {
            format!(
                "[[pool.servers]]\nname = \"{}\"\naddress = \"{}\"\n",
                o.name,
                o.address()
            )
        });
        listener("web", "pool = \"app\"")
            + "[[pool]]\nname = \"app\"\n"
            + &health(balancer)
            + &servers.concat()
    };
    let say = |text: &str| *said.lock().unwrap() = text.to_owned();
    let mut proxy = Proxy::start(config("weighted-round-robin"));
    wait_for_state(&proxy, "b", "down");
    let words = proxy.server("b")["last_probe"].clone();
    assert_eq!(words, "status 200, judged down: db is not there");
    say("{\"load\": 1, \"db\": true}");
    wait_for_state(&proxy, "b", "ready");
    say("{\"load\": 9, \"db\": true}");
    wait_until("it has a tenth of its weight", || {
        proxy.server("b")["effective_weight"].as_f64().unwrap() < 0.11
    });
    let names = proxy.origins("/", 300);
    let b_share = names.iter().filter(|name| name.contains("9")).count();
    assert!(
        (1..70).contains(&b_share),
        "about a tenth of 300, not {b_share}"
    );
    say("{\"load\": 99, \"db\": true}");
    wait_for_state(&proxy, "b", "drain");
    assert!(
        proxy
            .origins("/", 20)
            .iter()
            .all(|name| !name.contains("99"))
    );
    // The same judge goes on under another balancer.
    proxy.reconfigure(config("least-connections"));
    assert_eq!(proxy.server("b")["state"], "drain");
    say("{\"load\": 1, \"db\": true}");
    wait_for_state(&proxy, "b", "ready");
    let health = [("plugin", "health-json@app"), ("role", "health")];
    assert!(proxy.metrics().sum("tidegate_plugin_calls_total", &health) > 10.0);
    say("no JSON");
    wait_for_state(&proxy, "b", "down");
}

#[test]
fn ctl_shows_who_is_down_and_why() {
    let all = ["a", "b"].map(Patient::new);
    let proxy = Proxy::start(site(QUICK, &all));
    all[1].health(500);
    wait_for_state(&proxy, "b", "down");
    let output = std::process::Command::new(tidegate_tests::tidegate())
        .args([
            "ctl",
            "--admin",
            &format!("http://{}", proxy.address("admin")),
            "status",
        ])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = shown.lines().find(|line| line.starts_with("b "));
    let row = row.unwrap_or_else(|| panic!("{shown}{}", String::from_utf8_lossy(&output.stderr)));
    assert!(
        row.contains("down") && row.contains("status 500"),
        "{shown}"
    );
}

#[test]
fn probes_of_many_servers_do_not_come_at_once() {
    let origin = Patient::new("many");
    let servers = (0..600).map(|n| {
        format!(
            "{{ name = \"s{n}\", address = \"{}\" }}",
            origin.origin.address()
        )
    });
    let servers: Vec<_> = servers.collect();
    let config = listener("web", "pool = \"app\"")
        + &format!(
            "[[pool]]\nname = \"app\"\nhealth = {{ path = \"/health\", interval = \"1s\" }}\nservers = [{}]\n",
            servers.join(", ")
        );
    let proxy = Proxy::start(config);
    wait_until("all were probed", || {
        let status = proxy.status();
        let servers = status["pools"][0]["servers"].as_array().unwrap().clone();
        servers.iter().all(|server| server["health"] == "up")
    });
    let metrics = proxy.metrics();
    let failed = metrics.sum("tidegate_server_probes_total", &[("result", "failed")]);
    assert_eq!(failed, 0.0);
}

/// An origin whose health, and whose answers to users, a test decides.
struct Patient {
    origin: Origin,
    health: Arc<AtomicU16>,
    users: Arc<AtomicU16>,
}

/// Beside statuses.
const HANGS: u16 = 0;
const CLOSES: u16 = 1;
const NONSENSE: u16 = 2;

impl Patient {
    fn new(name: &str) -> Patient {
        Patient::at((std::net::Ipv4Addr::LOCALHOST, 0).into(), name)
    }

    fn at(address: SocketAddr, name: &str) -> Patient {
        let (health, users) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200)));
        let (of_probes, of_users) = (health.clone(), users.clone());
        let own = name.to_owned();
        let origin = Origin::on(address, name, move |request, stream| {
            let wanted = match request.target() {
                "/health" => &of_probes,
                _ => &of_users,
            };
            match wanted.load(Ordering::SeqCst) {
                HANGS => Ok(()),
                CLOSES => Err(std::io::ErrorKind::Other.into()),
                NONSENSE => {
                    use std::io::Write;
                    stream.write_all(b"220 mail.example ESMTP\r\n")
                }
                status => reply(stream, status, &[("x-origin", &own)], &format!("{own}\n")),
            }
        });
        Patient {
            origin,
            health,
            users,
        }
    }

    fn health(&self, status: u16) {
        self.health.store(status, Ordering::SeqCst);
    }

    fn users_get(&self, status: u16) {
        self.users.store(status, Ordering::SeqCst);
    }

    /// Requests that were no probes.
    fn users(&self) -> usize {
        let requests = self.origin.requests();
        requests.iter().filter(|r| r.target() != "/health").count()
    }
}

/// Speaks gRPC's health protocol: `store` is well, `till` is not, and nothing is known of others.
const GRPC: &str = r#"
import grpc, time
from concurrent import futures
def check(request, context):
    service = request[2:].decode()
    if service == "store": return b"\x08\x01"
    if service == "till": return b"\x08\x02"
    if service: context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return b"\x08\x01"
methods = {"Check": grpc.unary_unary_rpc_method_handler(check)}
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods)])
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
time.sleep(600)
"#;

#[test]
fn grpcs_health_protocol_is_asked_by_service() {
    let (grpc, plain) = (Server::start(GRPC), Origin::named("h1"));
    let pool = |name: &str, service: &str, address: SocketAddr| {
        format!(
            "[[pool]]\nname = \"{name}\"\nhttp = \"h2\"\nservers = [{{ name = \"{name}\", address = \"{address}\" }}]\n\
             health = {{ type = \"grpc\", {service} interval = \"50ms\", rise = 1, fall = 1 }}\n"
        )
    };
    let pools = [
        ("whole", ""),
        ("store", "service = \"store\","),
        ("till", "service = \"till\","),
        ("attic", "service = \"attic\","),
    ];
    let mut config = listener("web", "pool = \"whole\"");
    for (name, service) in pools {
        config += &pool(name, service, grpc.address());
    }
    config += &pool("mute", "", plain.address());
    let proxy = Proxy::start(config);
    for (server, state, says) in [
        ("whole", "ready", "SERVING"),
        ("store", "ready", "SERVING"),
        ("till", "down", "NOT_SERVING"),
        (
            "attic",
            "down",
            "grpc-status 5: it does not know the service",
        ),
        ("mute", "down", "speaks no HTTP/2"),
    ] {
        wait_until(&format!("{server}: {says}"), || {
            let found = anywhere(&proxy, server);
            found["state"] == state && found["last_probe"] == says
        });
    }
}

/// In the pool's own protocol.
#[test]
fn an_http_probe_of_an_h2_pool_speaks_http_2() {
    let server = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             def ended(self, stream, request): self.answer(stream, request[':path'].encode())\n\
         serve(C)",
    );
    let proxy = Proxy::start(format!(
        "{}[[pool]]\nname = \"app\"\nhttp = \"h2\"\nservers = [{{ name = \"a\", address = \"{}\" }}]\n\
         health = {{ path = \"/well\", body = \"/well\", interval = \"50ms\" }}\n",
        listener("web", "pool = \"app\""),
        server.address()
    ));
    wait_until("it is well", || {
        proxy.server("a")["last_probe"] == "status 200, the body fits"
    });
    assert_eq!(proxy.server("a")["state"], "ready");
}

/// What is passed through is others' to believe; that TLS is spoken there can be seen.
#[test]
fn a_tls_probe_wants_tls_and_believes_anybody() {
    let (origin, ca) = (Origin::named("a"), Authority::new("ca"));
    let front = Front::of(origin.address(), &ca.issue(&["nobody.test"]));
    let pool = format!(
        "[[pool]]\nname = \"app\"\nhealth = {{ type = \"tls\", interval = \"50ms\", fall = 1 }}\nservers = [\
         {{ name = \"secure\", address = \"{}\" }}, {{ name = \"plain\", address = \"{}\" }}]\n",
        front.address(),
        origin.address()
    );
    let proxy = Proxy::start(listener("web", "mode = \"tcp\"\npool = \"app\"") + &pool);
    wait_until("TLS is met", || {
        proxy.server("secure")["last_probe"] == "speaks TLS"
    });
    // It answers something, or closes.
    wait_until("no TLS is met", || {
        let plain = proxy.server("plain");
        let said = plain["last_probe"].as_str().unwrap_or_default();
        plain["state"] == "down"
            && (said == "the server speaks no TLS there"
                || said.starts_with("the server broke off"))
    });
    assert_eq!(proxy.server("secure")["state"], "ready");
}

/// Of whichever pool.
fn anywhere(proxy: &Proxy, server: &str) -> serde_json::Value {
    let status = proxy.status();
    let pools = status["pools"].as_array().unwrap().iter();
    let mut servers = pools.flat_map(|pool| pool["servers"].as_array().unwrap());
    servers
        .find(|known| known["name"] == server)
        .unwrap()
        .clone()
}

fn site(lines: &str, all: &[Patient]) -> String {
    let origins: Vec<_> = all.iter().map(|patient| &patient.origin).collect();
    listener("web", "pool = \"app\"") + &pool("app", lines, &origins)
}

#[track_caller]
fn wait_for_state(proxy: &Proxy, server: &str, state: &str) {
    wait_until(&format!("{server} is {state}"), || {
        proxy.server(server)["state"] == state
    });
}

fn healthz(proxy: &Proxy) -> u16 {
    send(
        proxy.address("admin"),
        &format!(
            "GET /healthz?pool=app HTTP/1.1\nhost: {}",
            proxy.address("admin")
        ),
    )
    .status()
}
