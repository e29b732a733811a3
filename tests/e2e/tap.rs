//! Requests followed live: over the admin port with curl, over the socket, and with `tidegate ctl tap`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::{
    Client, Load, Origin, Port, Process, Proxy, Signal, TOKEN, curl, get, listener, pool, reply,
    send, server, site, tidegate, wait_for, wait_until,
};

const SOCKET: &str =
    "\n[admin]\nbind = \"@admin\"\ntoken = \"open-sesame\"\nsocket = \"admin.sock\"\n";

/// Somebody who follows.
struct Tap(Process);

impl Tap {
    /// Over the port; returns once the proxy has begun to answer.
    #[track_caller]
    fn open(proxy: &Proxy, query: &str) -> Tap {
        let url = format!("http://{}/api/v1/tap?{query}", proxy.address("admin"));
        Tap::curl(&["-H", &format!("authorization: Bearer {TOKEN}"), &url])
    }

    #[track_caller]
    fn curl(arguments: &[&str]) -> Tap {
        let mut command = Command::new("curl");
        let process = Process::start(command.args(["-sS", "-N"]).args(arguments));
        wait_until("an empty line says that it is heard", || {
            process.stdout().first().is_some_and(String::is_empty)
        });
        Tap(process)
    }

    /// That many lines, once they are there.
    #[track_caller]
    fn lines(&self, count: usize) -> Vec<Value> {
        wait_for("lines of the tap", || {
            let lines = self.0.stdout();
            let lines = lines.iter().filter(|line| !line.is_empty());
            let lines: Vec<Value> = lines
                .map(|line| serde_json::from_str(line).expect("a line is JSON"))
                .collect();
            (lines.len() >= count).then_some(lines)
        })
    }
}

/// `role plugin decision`, or `attempt server decision`.
fn steps(line: &Value) -> Vec<String> {
    let word = |step: &Value, key: &str| step[key].as_str().unwrap_or("-").to_owned();
    let steps = line["steps"].as_array().expect("there are steps");
    let shown = steps.iter().map(|step| {
        let role = word(step, "role");
        let by = if role == "attempt" {
            "server"
        } else {
            "plugin"
        };
        format!("{role} {} {}", word(step, by), word(step, "decision"))
    });
    shown.collect()
}

fn step<'a>(line: &'a Value, role: &str) -> &'a Value {
    let mut steps = line["steps"].as_array().expect("there are steps").iter();
    let step = steps.find(|step| step["role"] == role);
    step.unwrap_or_else(|| panic!("no {role} in {line}"))
}

/// A listener's filter, a router with a route and its filter, stickiness, a balancer.
fn rich(origins: &[&Origin]) -> String {
    let plugins = r#"
[[plugin]]
name = "tidy"
shipped = "headers"

[plugin.config.request]
remove = ["x-debug"]
set = { x-client = "{client-address}" }

[plugin.config.response]
set = { x-served-by = "{server}" }

[[plugin]]
name = "strip-api"
shipped = "rewrite"
config = { strip-prefix = "/api" }

[[route]]
name = "api"
path = "/api"
pool = "app"
filters = ["strip-api"]
"#;
    plugins.to_owned()
        + &listener(
            "web",
            "filters = [\"tidy\"]\nrouter = \"router\"\npool = \"app\"",
        )
        + &pool(
            "app",
            "balancer = \"first\"\nsticky = { plugin = \"sticky-cookie\", cookie = \"SERVERID\" }",
            origins,
        )
}

#[test]
fn a_request_is_told_of_with_every_decision_in_order() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let proxy = Proxy::start(rich(&[&a, &b]));
    let tap = Tap::open(&proxy, "status=2xx&path=/api&header=x-debug");
    // What isn't asked for: another path, no such header.
    assert_eq!(proxy.get("/other").status(), 200);
    assert_eq!(proxy.get("/api/none").status(), 200);
    let asked = "GET /api/one?q=1 HTTP/1.1\nhost: shop.example\nx-debug: yes";
    assert_eq!(proxy.send(asked).status(), 200);
    let url = proxy.url("/api/two");
    let cookie = "cookie: SERVERID=b";
    let answer = curl(&[
        "-s",
        "--http2-prior-knowledge",
        "-H",
        "x-debug: 2",
        "-H",
        cookie,
        &url,
    ]);
    assert_eq!(answer, "b\n");
    let lines = tap.lines(2);
    assert_eq!(lines.len(), 2, "{lines:?}");

    let first = &lines[0];
    assert_eq!(
        (&first["target"], &first["version"], &first["status"]),
        (&"/api/one?q=1".into(), &"HTTP/1.1".into(), &200.into())
    );
    assert_eq!(
        first["request_id"],
        proxy.logged("/api/one?q=1")["request_id"]
    );
    assert_eq!(
        steps(first),
        [
            "listener-filter tidy continue",
            "router router pool",
            "route-filter strip-api continue",
            "sticky sticky-cookie@app none",
            "balancer first server",
            "attempt a answered",
            "sticky sticky-cookie@app continue",
            "response-filter tidy continue",
        ]
    );
    let filter = step(first, "listener-filter");
    assert_eq!(
        filter["edits"],
        serde_json::json!(["remove x-debug", "set x-client"]),
        "names, and no values"
    );
    assert!(!filter.to_string().contains("127.0.0.1"), "{filter}");
    let router = step(first, "router");
    assert_eq!(
        (&router["route"], &router["pool"]),
        (&"api".into(), &"app".into())
    );
    assert_eq!(step(first, "route-filter")["path"], "/one");
    assert_eq!(step(first, "balancer")["server"], "a");
    assert_eq!(step(first, "attempt")["status"], 200);
    assert_eq!(
        step(first, "response-filter")["edits"],
        serde_json::json!(["set x-served-by"])
    );

    let second = &lines[1];
    assert_eq!(second["version"], "HTTP/2");
    assert_eq!(second["server"], "b");
    let sticky = step(second, "sticky");
    assert_eq!(
        (&sticky["decision"], &sticky["server"]),
        (&"server".into(), &"b".into())
    );
    let shown = steps(second);
    assert!(
        !shown.iter().any(|step| step.starts_with("balancer")),
        "it was not asked: {shown:?}"
    );
}

#[test]
fn each_attempt_is_told_of() {
    let (gone, a) = (Port::free(), Origin::named("a"));
    let servers = format!(
        "\n[[pool]]\nname = \"app\"\nbalancer = \"first\"\nretries = 1\nservers = [{{ name = \"gone\", address = \"{}\" }}, {}]\n",
        gone.address(),
        server(&a, "")
    );
    let proxy = Proxy::start(listener("web", "pool = \"app\"") + &servers);
    let tap = Tap::open(&proxy, "server=app/a&min-duration=1us");
    assert_eq!(proxy.get("/").status(), 200);
    let line = &tap.lines(1)[0];
    assert_eq!(
        steps(line),
        [
            "balancer first server",
            "attempt gone failed",
            "balancer first server",
            "attempt a answered"
        ]
    );
    assert_eq!(step(line, "attempt")["fault"], "connect-failed");
    let at: Vec<u64> = line["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["at_us"].as_u64().expect("a time"))
        .collect();
    assert!(at.is_sorted() && at.last() <= line["total_us"].as_u64().as_ref());
}

#[test]
fn what_was_never_answered_is_told_of_too() {
    let silent = Origin::answering("a", |_, _| Ok(()));
    let proxy = Proxy::start(
        listener("web", "pool = \"app\"\nabort-on-close = true")
            + &pool("app", "balancer = \"first\"", &[&silent]),
    );
    let tap = Tap::open(&proxy, "status=none&fault=any");
    let mut client = Client::connect(proxy.address("web"));
    client
        .write(b"GET /left HTTP/1.1\r\nhost: a.test\r\n\r\n")
        .unwrap();
    wait_until("the server has it", || !silent.requests().is_empty());
    drop(client);
    let line = &tap.lines(1)[0];
    assert_eq!(
        (&line["target"], &line["fault"]),
        (&"/left".into(), &"client-closed".into())
    );
    assert_eq!(steps(line).last().unwrap(), "attempt a failed");
    assert_eq!(step(line, "attempt")["fault"], "client-closed");
}

#[test]
fn a_filter_that_answers_and_its_calls_are_told_of() {
    let (app, auth) = (
        Origin::named("app"),
        Origin::answering("auth", |request, stream| {
            let known = request.header("cookie").is_some();
            reply(stream, if known { 200 } else { 401 }, &[], "")
        }),
    );
    let config = "[[plugin]]\nname = \"sso\"\nshipped = \"ext-auth\"\ngrants = [\"fetch:auth\"]\nconfig = { pool = \"auth\" }\n"
        .to_owned()
        + &listener("web", "filters = [\"sso\"]\npool = \"app\"")
        + &pool("app", "", &[&app])
        + &pool("auth", "", &[&auth]);
    let proxy = Proxy::start(config);
    let tap = Tap::open(&proxy, "plugin=sso&decision=respond");
    let let_in = "GET /in HTTP/1.1\nhost: a.test\ncookie: me";
    assert_eq!(proxy.send(let_in).status(), 200);
    assert_eq!(proxy.get("/out").status(), 401);
    let lines = tap.lines(1);
    assert_eq!(lines[0]["target"], "/out", "{lines:?}");
    assert_eq!(
        steps(&lines[0]),
        ["fetch sso answered", "listener-filter sso respond"]
    );
    let fetch = step(&lines[0], "fetch");
    assert_eq!(
        (&fetch["pool"], &fetch["status"]),
        (&"auth".into(), &401.into())
    );
    let filter = step(&lines[0], "listener-filter");
    assert_eq!(filter["status"], 401);
    assert_eq!(filter["reason"], lines[0]["reasons"]["sso"]);
    assert!(filter["reason"].is_string(), "{filter}");
}

#[test]
fn connections_in_tcp_mode_are_told_of_with_who_let_them_in() {
    let origin = Origin::named("a");
    let door = "connect = [{ plugin = \"admission\", allow = [\"127.0.0.1\"] }]";
    let proxy = Proxy::start(
        listener("raw", &format!("mode = \"tcp\"\npool = \"app\"\n{door}"))
            + &pool("app", "balancer = \"first\"", &[&origin]),
    );
    let tap = Tap::open(&proxy, "listener=raw&plugin=admission");
    assert_eq!(get(proxy.address("raw"), "/").status(), 200);
    drop(Client::connect_from(
        [127, 0, 0, 9].into(),
        proxy.address("raw"),
    ));
    let mut lines = tap.lines(2);
    lines.sort_by_key(|line| line["client"].to_string());
    assert_eq!(
        steps(&lines[0]),
        [
            "connect admission@raw accept",
            "balancer first server",
            "attempt a answered"
        ]
    );
    assert!(lines[0]["method"].is_null());
    assert_eq!(steps(&lines[1]), ["connect admission@raw refuse"]);
    assert_eq!(lines[1]["fault"], "connection-refused");
}

#[test]
fn it_needs_the_token_and_refuses_what_it_does_not_know() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(rich(&[&origin]));
    let admin = proxy.address("admin");
    let bare = |path: &str| send(admin, &format!("GET {path} HTTP/1.1\nhost: {admin}"));
    assert_eq!(bare("/api/v1/status").status(), 200, "others are for all");
    assert_eq!(bare("/api/v1/tap?limit=1").status(), 401);
    for (query, says) in [
        (
            "colour=red",
            "colour: it is not known here; known are: listener, route",
        ),
        (
            "status=many",
            "status: \\\"many\\\" is no status; write 502, 5xx or none",
        ),
        (
            "listener=wed",
            "there is no listener \\\"wed\\\"; there are: web",
        ),
        ("pool=a", "there is no pool \\\"a\\\"; there are: app"),
        ("server=b/a", "there is no pool \\\"b\\\""),
        ("route=x", "there is no route \\\"x\\\"; there are: api"),
        ("plugin=x", "there is no plugin \\\"x\\\"; there are: "),
        ("client=me", "client: \\\"me\\\" is no network"),
        ("limit=-1", "limit: \\\"-1\\\" is no number of requests"),
    ] {
        let answer = proxy.admin("GET", &format!("/api/v1/tap?{query}"), b"");
        assert_eq!(answer.status(), 400, "{query}");
        assert!(answer.text().contains(says), "{query}: {}", answer.text());
    }
    assert_eq!(proxy.admin("POST", "/api/v1/tap", b"").status(), 405);
    assert_eq!(proxy.metrics().sum("tidegate_taps", &[]), 0.0);
}

#[test]
fn without_a_token_the_port_does_not_tell_and_the_socket_does() {
    let origin = Origin::named("a");
    let admin = "\n[admin]\nbind = \"@admin\"\nsocket = \"admin.sock\"\n";
    let proxy = Proxy::start(site("first", &[&origin]) + admin);
    let address = proxy.address("admin");
    let refused = send(
        address,
        &format!("GET /api/v1/tap HTTP/1.1\nhost: {address}"),
    );
    assert_eq!(refused.status(), 403);
    assert!(
        refused.text().contains("or over the admin socket"),
        "{}",
        refused.text()
    );
    let socket = proxy.path().join("admin.sock");
    let tap = Tap::curl(&[
        "--unix-socket",
        socket.to_str().unwrap(),
        "http://localhost/api/v1/tap",
    ]);
    assert_eq!(proxy.get("/socket").status(), 200);
    assert_eq!(tap.lines(1)[0]["target"], "/socket");
}

#[test]
fn there_are_only_so_many_and_one_that_ends_makes_room() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("first", &[&origin]));
    let mut taps: Vec<_> = (0..8).map(|_| Tap::open(&proxy, "")).collect();
    assert_eq!(proxy.metrics().sum("tidegate_taps", &[]), 8.0);
    let refused = proxy.admin("GET", "/api/v1/tap", b"");
    assert_eq!(refused.status(), 429);
    assert!(
        refused.text().contains("8 taps are open already"),
        "{}",
        refused.text()
    );
    taps.pop();
    wait_until("there is room again", || {
        // The reader's end is noticed as something is written to it.
        proxy.get("/");
        proxy.metrics().sum("tidegate_taps", &[]) == 7.0
    });
    taps.push(Tap::open(&proxy, "path=/last"));
    proxy.get("/last");
    assert_eq!(taps[7].lines(1)[0]["target"], "/last");
}

#[test]
fn it_ends_after_so_many_requests_or_so_long() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("first", &[&origin]));
    let mut two = Tap::open(&proxy, "limit=2");
    let mut short = Tap::open(&proxy, "for=50ms&path=/nobody");
    assert!(short.0.exit(Duration::from_secs(20)).success());
    for _ in 0..3 {
        proxy.get("/");
    }
    assert!(two.0.exit(Duration::from_secs(20)).success());
    assert_eq!(two.lines(2).len(), 2);
}

#[test]
fn a_slow_reader_loses_lines_is_told_and_slows_nobody() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("first", &[&origin]) + SOCKET);
    let mut slow = UnixStream::connect(proxy.path().join("admin.sock")).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    slow.write_all(b"GET /api/v1/tap HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut slow = BufReader::new(slow);
    // Its head alone is read.
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert!(slow.read_line(&mut line).unwrap() > 0, "a head");
    }
    let quick = Tap::open(&proxy, "path=/quick");
    let path = format!("/{}", "x".repeat(7000));
    let load = Load::start(proxy.address("web"), &[&path]);
    wait_until("lines are dropped", || {
        proxy.metrics().sum("tidegate_tap_dropped_total", &[]) > 0.0
    });
    load.wait_for_more(50);
    proxy.get("/quick");
    assert_eq!(quick.lines(1)[0]["target"], "/quick");
    load.finish().expect_only(200);
    // Now it reads, and finds out.
    let told = loop {
        line.clear();
        assert!(slow.read_line(&mut line).unwrap() > 0, "it goes on");
        if let Some(at) = line.find("{\"dropped\":") {
            let told: Value = serde_json::from_str(line[at..].trim()).expect("JSON");
            break told["dropped"].as_f64().unwrap();
        }
    };
    let dropped = proxy.metrics().sum("tidegate_tap_dropped_total", &[]);
    assert!(told > 0.0 && told <= dropped, "{told} of {dropped}");
}

fn ctl(proxy: &Proxy, arguments: &[&str]) -> Process {
    let socket = proxy.path().join("admin.sock");
    let process = Process::start(
        Command::new(tidegate())
            .args(["ctl", "tap"])
            .args(arguments)
            .env("TIDEGATE_ADMIN", format!("unix:{}", socket.display()))
            .env("TZ", "UTC"),
    );
    wait_until("it follows", || {
        proxy.metrics().sum("tidegate_taps", &[]) == 1.0
    });
    process
}

#[test]
fn ctl_shows_a_line_a_request_and_one_a_decision() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let proxy = Proxy::start(rich(&[&a, &b]) + SOCKET);
    let mut tap = ctl(
        &proxy,
        &["--route", "api", "--header", "x-debug: 1", "-n", "1"],
    );
    proxy.get("/api/other");
    proxy.send("GET /api/one HTTP/1.1\nhost: shop.example\nx-debug: 1");
    assert_eq!(tap.exit(Duration::from_secs(20)).code(), Some(0));
    let lines = tap.stdout();
    let seen = |at: usize| lines[at].split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        seen(0).contains(" 200 GET shop.example/api/one from 127.0.0.1, web > api > app/a, "),
        "{lines:?}"
    );
    assert_eq!(
        seen(1),
        "listener-filter tidy continue, remove x-debug, set x-client"
    );
    assert_eq!(seen(2), "router router pool app, route api");
    assert_eq!(
        seen(3),
        "route-filter strip-api continue, path /one, set x-forwarded-prefix",
        "{lines:?}"
    );
    assert_eq!(seen(6), "attempt a answered 200");
    assert_eq!(lines.len(), 9, "{lines:?}");

    let mut json = ctl(&proxy, &["--json", "--limit", "1"]);
    proxy.get("/api/two");
    assert_eq!(json.exit(Duration::from_secs(20)).code(), Some(0));
    let lines = json.stdout();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let told: Value = serde_json::from_str(&lines[0]).expect("JSON");
    assert_eq!(told["target"], "/api/two");
    assert!(told["steps"].is_array());
}

#[test]
fn ctl_ends_well_when_told_and_badly_when_the_proxy_goes() {
    let origin = Origin::named("a");
    let mut proxy = Proxy::start(site("first", &[&origin]) + SOCKET);
    let mut told = ctl(&proxy, &[]);
    told.signal(Signal::INT);
    assert_eq!(told.exit(Duration::from_secs(20)).code(), Some(0));
    wait_until("it is gone", || {
        proxy.metrics().sum("tidegate_taps", &[]) == 0.0
    });
    let mut left = ctl(&proxy, &["--listener", "web"]);
    proxy.signal(Signal::TERM);
    assert!(proxy.exit().success());
    assert_eq!(left.exit(Duration::from_secs(20)).code(), Some(1));
    let said = left.stderr().join("\n");
    assert!(said.contains("the proxy has gone"), "{said}");
}

#[test]
fn ctl_says_what_is_wrong() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("first", &[&origin]));
    let run = |arguments: &[&str]| {
        let output = Command::new(tidegate())
            .args(["ctl", "tap"])
            .args(arguments)
            .env(
                "TIDEGATE_ADMIN",
                format!("http://{}", proxy.address("admin")),
            )
            .env_remove("TIDEGATE_TOKEN")
            .output()
            .expect("the binary runs");
        let said = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), said)
    };
    let (code, said) = run(&[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("--token TOKEN, or TIDEGATE_TOKEN"), "{said}");
    let (code, said) = run(&["--token", TOKEN, "--status", "6xx"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("status: \"6xx\" is no status"), "{said}");
    assert_eq!(run(&["--limit", "few"]).0, Some(2));
}
