//! What operators change of a running proxy: servers and weights, by the admin API, by `tidegate ctl`, and in HAProxy's words over the
//! admin socket.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};

use tidegate_tests::{
    Client, Load, Origin, Proxy, Setup, TOKEN, listener, pool, server, site, tidegate, wait_until,
};

/// A proxy with an admin socket, `admin.sock`.
fn with_socket(config: &str) -> Proxy {
    Proxy::start(config.to_owned() + SOCKET)
}

const SOCKET: &str =
    "\n[admin]\nbind = \"@admin\"\ntoken = \"open-sesame\"\nsocket = \"admin.sock\"\n";

/// What the socket answers, asked as HAProxy's documentation does.
#[track_caller]
fn say(proxy: &Proxy, commands: &str) -> String {
    let socket = proxy.path().join("admin.sock");
    let line = format!(
        "echo \"{commands}\" | socat stdio unix-connect:{}",
        socket.display()
    );
    let output = Command::new("sh").args(["-c", &line]).output();
    let output = output.expect("a shell runs");
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn ctl(proxy: &Proxy, arguments: &[&str]) -> (bool, String) {
    let output: Output = Command::new(tidegate())
        .arg("ctl")
        .args(arguments)
        .env(
            "TIDEGATE_ADMIN",
            format!("http://{}", proxy.address("admin")),
        )
        .env("TIDEGATE_TOKEN", TOKEN)
        .output()
        .expect("the binary runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("text");
    (output.status.success(), text)
}

fn state(proxy: &Proxy, server: usize) -> String {
    let state = &proxy.status()["pools"][0]["servers"][server]["state"];
    state.as_str().expect("a state").to_owned()
}

/// The line of a table of `show stat`, by column name.
fn row(stat: &str, pool: &str, server: &str) -> HashMap<String, String> {
    let mut lines = stat.lines();
    let header = lines.next().and_then(|line| line.strip_prefix("# "));
    let columns: Vec<&str> = header.expect("a header").split(',').collect();
    let row = lines.find(|line| line.starts_with(&format!("{pool},{server},")));
    let row = row.unwrap_or_else(|| panic!("no {pool}/{server} in\n{stat}"));
    let cells = row.split(',').map(str::to_owned);
    let names = columns.iter().map(|name| (*name).to_owned());
    names.zip(cells).collect()
}

#[test]
fn a_state_holds_everywhere_once_it_is_answered() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let proxy = Proxy::start(site("round-robin", &[&a, &b]));
    let path = "/api/v1/pools/app/servers/a";
    // On both workers.
    let mut clients: Vec<_> = (0..4)
        .map(|_| Client::connect(proxy.address("web")))
        .collect();
    for round in 0..10 {
        let drained = proxy.admin("PATCH", path, b"{\"state\": \"maint\"}");
        assert_eq!(drained.status(), 200, "{}", drained.text());
        for client in &mut clients {
            assert_eq!(client.get("/").text(), "b", "round {round}");
        }
        proxy.admin("PATCH", path, b"{\"state\": \"ready\"}");
        let seen: Vec<_> = clients.iter_mut().map(|c| c.get("/").text()).collect();
        assert!(seen.contains(&"a".to_owned()), "round {round}: {seen:?}");
    }
}

#[test]
fn servers_come_and_go_at_run_time() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let mut proxy = Proxy::start(site("round-robin", &[&a]));
    let load = Load::start(proxy.address("web"), &["/"]);
    let address = b.address().to_string();
    let added = ctl(&proxy, &["add", "app/b", &address, "--label", "zone=x"]);
    assert!(added.0 && added.1.contains("generation 2"), "{}", added.1);
    assert!(proxy.origins("/", 4).contains(&"b".to_owned()));
    proxy.wait_for_log(&["change applied", "add app/b", "admin port, 127.0.0.1:"]);
    let entry = &proxy.admin("GET", "/api/v1/history", b"").json()[0];
    assert_eq!(entry["what"], "add app/b");

    // It outlives a reload that says nothing of it, and the last of the file's own may go.
    proxy.reconfigure(site("random", &[&a]));
    assert_eq!(proxy.status()["pools"][0]["servers"][1]["name"], "b");
    assert!(ctl(&proxy, &["remove", "app/a"]).0);
    assert_eq!(proxy.origins("/", 4), ["b"; 4]);
    let last = ctl(&proxy, &["remove", "app/b"]);
    assert!(!last.0 && last.1.contains("last server"), "{}", last.1);
    assert_eq!(proxy.reload().status(), 200);
    assert_eq!(proxy.origins("/", 4), ["b"; 4], "it stays out");
    // What was in flight ended as it began.
    load.wait_for_more(20);
    load.finish().expect_only(200);

    // The file has the last word on what it changes.
    let again = server(&a, ", weight = 2") + ", " + &server(&a, "").replace("\"a\"", "\"b\"");
    let file = listener("web", "pool = \"app\"")
        + &format!("[[pool]]\nname = \"app\"\nbalancer = \"random\"\nservers = [{again}]\n");
    proxy.reconfigure(file);
    assert_eq!(proxy.origins("/", 4), ["a"; 4]);
    proxy.wait_for_log(&[
        "what was changed of a server at run time has ended",
        "app/b",
    ]);

    for (words, says) in [
        (&["add", "app/c", "nowhere"][..], "has no port"),
        (&["add", "app/c", &address, "--weight", "300"], "256"),
        (&["add", "app/a", &address], "is taken"),
        (&["add", "none/c", &address], "there is no pool \"none\""),
        (&["add", "app/c", &address, "--state", "away"], "no state"),
        (&["remove", "app/x"], "there are: app/a, app/b"),
        (&["weight", "app/a", "much"], "is no weight"),
        (&["weight", "app/a", "257"], "out of range"),
    ] {
        let (fine, text) = ctl(&proxy, words);
        assert!(!fine && text.contains(says), "{words:?}: {text}");
    }
    assert_eq!(
        proxy.status()["pools"][0]["servers"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[test]
fn a_weight_holds_where_no_balancer_is_named_and_one_can_go_back() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let config = listener("web", "pool = \"app\"") + &pool("app", "", &[&a, &b]);
    let mut proxy = Proxy::start(&config);
    let share = |proxy: &Proxy| {
        let seen = proxy.origins("/", 8);
        seen.iter().filter(|origin| *origin == "a").count()
    };
    assert_eq!(share(&proxy), 4);
    assert!(ctl(&proxy, &["weight", "app/a", "3"]).0);
    assert_eq!(share(&proxy), 6);
    let both = b"{\"weight\": \"100%\", \"state\": \"drain\"}";
    let path = "/api/v1/pools/app/servers/a";
    assert_eq!(proxy.admin("PATCH", path, both).status(), 200);
    assert_eq!(share(&proxy), 0);
    assert_eq!(
        proxy
            .admin("PATCH", path, b"{\"state\": \"ready\"}")
            .status(),
        200
    );
    assert_eq!(share(&proxy), 4);
    assert!(ctl(&proxy, &["weight", "app/a", "0"]).0);
    assert_eq!(proxy.reload().status(), 200);
    assert_eq!(share(&proxy), 0, "a reload leaves it");
    // Generation 2 had the weight of 3.
    assert_eq!(proxy.admin("POST", "/api/v1/rollback/2", b"").status(), 200);
    assert_eq!(share(&proxy), 6);
    let written = server(&a, ", weight = 1, backup = true") + ", " + &server(&b, "");
    proxy.reconfigure(
        listener("web", "pool = \"app\"")
            + &format!("[[pool]]\nname = \"app\"\nservers = [{written}]\n"),
    );
    assert_eq!(share(&proxy), 0, "the file says otherwise of it");
    for body in [
        "{}",
        "{\"weight\": -1}",
        "{\"weight\": [1]}",
        "{\"wieght\": 1}",
    ] {
        let answer = proxy.admin("PATCH", path, body.as_bytes());
        assert_eq!(answer.status(), 400, "{body}: {}", answer.text());
    }
}

#[test]
fn a_change_of_one_thing_reads_no_other_file() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let plugin = "[[plugin]]\nname = \"mine\"\npath = \"mine.wasm\"\n";
    let config = plugin.to_owned() + &site("mine", &[&a, &b]);
    let proxy = Setup::new(config)
        .file("mine.wasm", tidegate_tests::shipped("weighted-round-robin"))
        .start();
    proxy.write_file("mine.wasm", tidegate_tests::shipped("first"));
    assert!(ctl(&proxy, &["weight", "app/a", "0"]).0);
    assert_eq!(proxy.origins("/", 3), ["b"; 3]);
    assert!(ctl(&proxy, &["weight", "app/a", "1"]).0);
    assert!(
        proxy.origins("/", 4).contains(&"b".to_owned()),
        "it runs on"
    );
    fs::remove_file(proxy.path().join("mine.wasm")).unwrap();
    assert!(ctl(&proxy, &["weight", "app/a", "2"]).0, "nor is it missed");
    assert_eq!(proxy.reload().status(), 422, "a reload misses it");
}

#[test]
fn haproxys_words_work_as_documented() {
    let (a, b) = (Origin::named("web1"), Origin::named("web2"));
    let proxy = with_socket(&site("weighted-round-robin", &[&a, &b]));
    assert_eq!(say(&proxy, "set server app/web1 state maint"), "\n");
    assert_eq!(state(&proxy, 0), "maint");
    assert_eq!(proxy.origins("/", 4), ["web2"; 4]);
    assert_eq!(say(&proxy, "enable server app/web1"), "\n");
    assert_eq!(state(&proxy, 0), "ready");
    assert_eq!(say(&proxy, "set server app/web1 state drain"), "\n");
    assert_eq!(state(&proxy, 0), "drain");
    assert_eq!(say(&proxy, "set server app/web1 state ready"), "\n");
    assert_eq!(say(&proxy, "disable server app/web2"), "\n");
    assert_eq!(state(&proxy, 1), "maint");
    assert_eq!(
        say(
            &proxy,
            "set server app/web2 state ready; get weight app/web2"
        ),
        "\n1 (initial 1)\n\n"
    );
    assert_eq!(
        say(
            &proxy,
            "set server app/web1 weight 50; set server app/web2 weight 300%; get weight app/web1; get weight app/web2"
        ),
        "\n\n50 (initial 1)\n\n3 (initial 1)\n\n"
    );
    proxy.wait_for_log(&["weight app/web1 50", "admin socket, user "]);

    assert_eq!(
        say(&proxy, "set server app/web9 state maint"),
        "No such server.\n\n"
    );
    assert_eq!(
        say(&proxy, "set server none/web1 state maint"),
        "No such backend.\n\n"
    );
    assert_eq!(
        say(&proxy, "set server web1 state maint"),
        "Require 'backend/server'.\n\n"
    );
    assert_eq!(
        say(&proxy, "set server app/web1 state away"),
        "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n\n"
    );
    assert!(say(&proxy, "set server app/web1 weight 257").contains("0 to 256"));
    for unknown in ["frobnicate", "", "SHOW INFO"] {
        let help = say(&proxy, unknown);
        assert!(
            help.contains("show stat") && help.ends_with("\n\n"),
            "{unknown}: {help}"
        );
    }
    assert!(say(&proxy, "help").contains("add server <pool>/<server>"));
}

#[test]
fn servers_are_added_and_deleted_in_haproxys_words() {
    let (a, b) = (Origin::named("web1"), Origin::named("web2"));
    let proxy = with_socket(&site("round-robin", &[&a]));
    let add = format!("add server app/web2 {} weight 5 check", b.address());
    assert_eq!(say(&proxy, &add), "New server registered.\n\n");
    assert_eq!(state(&proxy, 1), "maint", "until it is enabled, as there");
    assert_eq!(proxy.origins("/", 4), ["web1"; 4]);
    assert_eq!(
        say(&proxy, "enable server app/web2; disable server app/web1"),
        "\n\n"
    );
    assert_eq!(proxy.origins("/", 4), ["web2"; 4]);
    let states = say(&proxy, "show servers state app");
    let mut lines = states.lines();
    assert_eq!(lines.next(), Some("1"));
    assert!(lines.next().is_some_and(|line| {
        line.starts_with("# be_id be_name srv_id srv_name srv_addr srv_op_state")
    }));
    let port = b.address().port();
    let web2 = lines.nth(1).expect("two servers");
    assert!(
        web2.contains(" app 2 web2 127.0.0.1 2 0 5 5 ") && web2.contains(&format!(" - {port} ")),
        "{web2}"
    );
    assert!(
        states.contains(" app 1 web1 127.0.0.1 0 1 1 1 "),
        "{states}"
    );
    assert_eq!(say(&proxy, "del server app/web1"), "Server deleted.\n\n");
    assert!(say(&proxy, "del server app/web2").contains("last server"));
    assert_eq!(say(&proxy, "del server app/web1"), "No such server.\n\n");
    assert!(say(&proxy, "add server app/x nowhere").contains("has no port"));
    assert!(say(&proxy, "add server app/x h:1 ssl").contains("does not know 'ssl'"));
}

#[test]
fn its_tables_are_haproxys() {
    let a = Origin::named("web1");
    let folder = tempfile::tempdir().unwrap();
    let down = format!(
        "{{ name = \"web2\", address = \"unix:{}/nobody.sock\" }}",
        folder.path().display()
    );
    let pool = format!(
        "[[pool]]\nname = \"app\"\nbalancer = \"first\"\nhealth = {{ interval = \"50ms\" }}\nservers = [{}, {down}]\n",
        server(&a, ", weight = 7, max-connections = 9")
    );
    let proxy = with_socket(&(listener("web", "pool = \"app\"") + &pool));
    wait_until("its probes know", || state(&proxy, 1) == "down");
    (0..3).for_each(|_| assert_eq!(proxy.get("/").status(), 200));
    let stat = say(&proxy, "show stat");
    assert!(stat.ends_with(",\n\n"), "{stat}");

    // Its columns are those of the HAProxy that is installed, in its order; a later one may have more.
    let header = |stat: &str| {
        stat.lines()
            .next()
            .unwrap_or_default()
            .trim_end_matches(',')
            .to_owned()
    };
    assert!(haproxys_header().starts_with(&header(&stat)), "{stat}");

    let front = row(&stat, "web", "FRONTEND");
    assert_eq!(
        (&*front["status"], &*front["hrsp_2xx"], &*front["type"]),
        ("OPEN", "3", "0")
    );
    let up = row(&stat, "app", "web1");
    let seen = [
        "status", "stot", "weight", "uweight", "act", "type", "hrsp_2xx", "qcur", "slim", "addr",
    ]
    .map(|name| &*up[name]);
    let address = a.address().to_string();
    assert_eq!(
        seen,
        ["UP", "3", "7", "7", "1", "2", "3", "0", "9", &address]
    );
    let gone = row(&stat, "app", "web2");
    assert_eq!((&*gone["status"], &*gone["stot"]), ("DOWN", "0"));
    assert_ne!(gone["chkfail"], "0");
    let back = row(&stat, "app", "BACKEND");
    assert_eq!(
        (
            &*back["status"],
            &*back["act"],
            &*back["stot"],
            &*back["algo"]
        ),
        ("UP", "1", "3", "first")
    );
    let servers = say(&proxy, "show stat -1 4 -1");
    assert!(
        servers.contains("app,web1,") && !servers.contains("BACKEND"),
        "{servers}"
    );

    let info = say(&proxy, "show info");
    for line in [
        "Name: Tidegate\n",
        "Nbthread: 2\n",
        "CumReq: 3\n",
        "Stopping: 0\n",
    ] {
        assert!(info.contains(line), "{line} is not in {info}");
    }
    assert_eq!(
        proxy.status()["version"].as_str(),
        say(&proxy, "show version").lines().next()
    );
}

/// The header of the real one's `show stat`.
fn haproxys_header() -> String {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("haproxy.sock");
    let config = folder.path().join("haproxy.cfg");
    let text = format!(
        "global\n stats socket {}\ndefaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 5s\nbackend app\n server a 127.0.0.1:1\n",
        socket.display()
    );
    fs::write(&config, text).unwrap();
    let mut haproxy = Command::new("haproxy")
        .arg("-f")
        .arg(&config)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("haproxy runs");
    wait_until("haproxy listens", || socket.exists());
    let line = format!(
        "echo 'show stat' | socat stdio unix-connect:{}",
        socket.display()
    );
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    haproxy.kill().unwrap();
    haproxy.wait().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn the_socket_is_for_its_owner_alone_and_takes_http_too() {
    let origin = Origin::named("a");
    let mut proxy = with_socket(&site("round-robin", &[&origin]));
    let socket = proxy.path().join("admin.sock");
    let file = fs::metadata(&socket).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let over = |arguments: &[&str]| {
        let output = Command::new(tidegate())
            .args(["ctl", "--admin", &format!("unix:{}", socket.display())])
            .args(arguments)
            .env_remove("TIDEGATE_TOKEN")
            .output()
            .expect("the binary runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(over(&["status"]).contains("generation 1"));
    assert_eq!(
        over(&["drain", "app/a"]),
        "app/a: drain\n",
        "it needs no token"
    );
    assert!(over(&["reload"]).contains("generation 2"));
    assert!(over(&["history"]).contains("admin socket, user"));
    // It is kept across reloads, and goes with the section's key.
    assert!(socket.exists());
    proxy.reconfigure(site("round-robin", &[&origin]));
    assert!(!socket.exists());
    proxy.reconfigure(site("round-robin", &[&origin]) + SOCKET);
    assert!(say(&proxy, "show info").contains("Tidegate"));
    proxy.signal(tidegate_tests::Signal::TERM);
    assert!(proxy.exit().success());
    assert!(!socket.exists(), "nor is it left behind at the end");
}

#[test]
fn a_live_socket_is_never_taken_over() {
    let origin = Origin::named("a");
    let setup = Setup::new(site("round-robin", &[&origin]) + SOCKET);
    let socket = setup.path().join("admin.sock");
    let other = UnixListener::bind(&socket).unwrap();
    let (code, _, words) = setup.run("run");
    assert_eq!(code, 1, "{words}");
    assert!(
        words.contains("admin socket") && words.contains("another process listens there"),
        "{words}"
    );
    assert!(socket.exists());
    drop(other);
    assert!(
        socket.exists(),
        "its file stays when a process ends without a word"
    );
    let proxy = setup.start();
    assert!(say(&proxy, "show info").contains("Tidegate"));
}
