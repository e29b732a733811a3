//! Databases that fail over, by the configurations of the examples: PostgreSQL, a primary and a replica that are real, with role checks
//! that answer as Patroni's REST API does; and the check of a Galera cluster. The nodes listen on one port each of 127.0.0.2 and further.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use tidegate_tests::{Client, Origin, Port, Process, Proxy, reply, root, wait_until};

use super::databases::{as_postgres, psql, text};

#[test]
fn writes_follow_the_primary_and_reads_its_replicas() {
    let folder = tempfile::tempdir().unwrap();
    let (data, rest) = (Port::free(), Port::free());
    let nodes = [2, 3].map(|last| (node(last), data.number()).into());
    let _first = primary(folder.path(), nodes[0]);
    wait_until("the primary to serve", || {
        psql(nodes[0], "select 1").status.success()
    });
    let _second = replica(folder.path(), nodes);
    wait_until("the replica to serve", || {
        psql(nodes[1], "select 1").status.success()
    });
    let roles = [2, 3].map(|last| Role::at((node(last), rest.number()).into()));
    roles[0].becomes("/primary");
    roles[1].becomes("/replica");
    let proxy = Proxy::start(example(
        "11-patroni",
        &[
            ("10.0.0.11", "127.0.0.2"),
            ("10.0.0.12", "127.0.0.3"),
            ("10.0.0.13", "127.0.0.4"),
            ("5432", &data.number().to_string()),
            ("8008", &rest.number().to_string()),
            ("127.0.0.1:5000", "@writes"),
            ("127.0.0.1:5001", "@reads"),
        ],
    ));
    let ask =
        |listener: &str, sql: &str| text(&psql(proxy.address(listener), sql)).trim().to_owned();
    let recovers = "select pg_is_in_recovery()";
    wait_until("probes to tell who is who", || {
        usable(&proxy, 0) == ["pg1"] && usable(&proxy, 1) == ["pg2"]
    });
    assert_eq!(
        [ask("writes", recovers), ask("reads", recovers)],
        ["f", "t"]
    );
    ask("writes", "create table t (n int); insert into t values (1)");
    wait_until("the row to be read", || {
        ask("reads", "select n from t") == "1"
    });

    // The old primary hangs on, but is one no longer.
    let writes = proxy.address("writes");
    let session = std::thread::spawn(move || psql(writes, "select pg_sleep(60)"));
    let sleeping = "select count(*) from pg_stat_activity where query like '%pg_sleep(60)'";
    wait_until("the session to begin", || {
        text(&psql(nodes[0], sleeping)).trim() == "1"
    });
    roles[0].becomes("/none");
    assert!(psql(nodes[1], "select pg_promote()").status.success());
    roles[1].becomes("/primary");
    let ended = session.join().unwrap();
    assert!(
        !ended.status.success(),
        "its session ends: {}",
        text(&ended)
    );
    wait_until("the new primary to be known", || {
        usable(&proxy, 0) == ["pg2"]
    });
    assert_eq!(ask("writes", recovers), "f");
    ask("writes", "insert into t values (2)");
    assert_eq!(ask("writes", "select count(*) from t"), "2");
    let there = text(&psql(nodes[1], "select count(*) from t"));
    assert_eq!(there.trim(), "2", "what was written went to the new one");
    let lines = proxy.stdout().join("\n");
    assert!(lines.contains("server-down"), "{lines}");
}

#[test]
fn sessions_go_to_one_node_of_a_cluster_and_to_the_next_that_is_in_sync() {
    let (sql, check) = (Port::free(), Port::free());
    let nodes = [2, 3, 4].map(|last| {
        let name = format!("db{}", last - 1);
        let own = name.clone();
        Origin::on(
            (node(last), sql.number()).into(),
            &name,
            move |_, stream| reply(stream, 200, &[], &own),
        )
    });
    let roles = [2, 3, 4].map(|last| Role::at((node(last), check.number()).into()));
    roles.iter().for_each(|role| role.becomes("/"));
    let proxy = Proxy::start(example(
        "12-galera",
        &[
            ("127.0.0.1:3306", "@sql"),
            ("10.0.0.21", "127.0.0.2"),
            ("10.0.0.22", "127.0.0.3"),
            ("10.0.0.23", "127.0.0.4"),
            ("3306", &sql.number().to_string()),
            ("9200", &check.number().to_string()),
        ],
    ));
    wait_until("all to be in sync", || usable(&proxy, 0).len() == 3);
    let mut session = Client::connect(proxy.address("sql"));
    assert_eq!(session.get("/").text(), "db1");
    assert_eq!(session.get("/").text(), "db1", "a session stays");
    roles[0].becomes("/none");
    assert!(session.closed(), "until its node falls out of sync");
    wait_until("new ones go to a backup", || {
        let mut session = Client::connect(proxy.address("sql"));
        session
            .try_ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .is_ok_and(|answer| answer.text() != "db1")
    });
    roles[0].becomes("/");
    wait_until("and back", || {
        let mut session = Client::connect(proxy.address("sql"));
        session.get("/").text() == "db1"
    });
    drop(nodes);
}

/// Says 200 to one path and 503 to others.
struct Role {
    path: Arc<Mutex<String>>,
    _stub: Origin,
}

impl Role {
    fn at(address: SocketAddr) -> Role {
        let path = Arc::new(Mutex::new(String::new()));
        let now = path.clone();
        let stub = Origin::on(address, "role", move |request, stream| {
            let asked = request.target().split('?').next().unwrap_or("");
            let status = if asked == *now.lock().unwrap() {
                200
            } else {
                503
            };
            reply(stream, status, &[], "{}")
        });
        Role { path, _stub: stub }
    }

    fn becomes(&self, path: &str) {
        path.clone_into(&mut self.path.lock().unwrap());
    }
}

fn node(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// An example's configuration with other words in it, and probes in quicker succession.
fn example(name: &str, words: &[(&str, &str)]) -> String {
    let file = root().join("examples").join(name).join("tidegate.toml");
    let mut text = fs::read_to_string(file).expect("the example has a configuration");
    for (word, instead) in words
        .iter()
        .chain(&[("interval = \"1s\"", "interval = \"50ms\"")])
    {
        assert!(text.contains(word), "{word} in {name}");
        text = text.replace(word, instead);
    }
    text
}

/// Servers of a pool that a session may go to now.
fn usable(proxy: &Proxy, pool: usize) -> Vec<String> {
    let status = proxy.status();
    let servers = status["pools"][pool]["servers"].as_array().unwrap();
    let up = servers.iter().filter(|server| server["health"] == "up");
    up.map(|server| server["name"].as_str().unwrap().to_owned())
        .collect()
}

fn primary(folder: &Path, address: SocketAddr) -> Process {
    let data = folder.join("first");
    run(own(folder, &data)
        .args(["--auth=trust", "--username=postgres", "--no-sync", "-D"])
        .arg(&data));
    serve(&data, address)
}

/// Streams from the first of the nodes, as the second.
fn replica(folder: &Path, [from, address]: [SocketAddr; 2]) -> Process {
    let data = folder.join("second");
    let (host, port) = (from.ip().to_string(), from.port().to_string());
    run(as_postgres("pg_basebackup")
        .args(["-h", &host, "-p", &port, "-U", "postgres"])
        .args(["--checkpoint=fast", "--no-sync", "-R", "-X", "stream", "-D"])
        .arg(&data));
    serve(&data, address)
}

fn own(folder: &Path, data: &Path) -> Command {
    fs::create_dir(data).unwrap();
    if rustix::process::geteuid().is_root() {
        run(Command::new("chown").arg("-R").arg("postgres").arg(folder));
    }
    as_postgres("initdb")
}

fn serve(data: &Path, address: SocketAddr) -> Process {
    let mut command = as_postgres("postgres");
    command
        .arg("-c")
        .arg(format!("listen_addresses={}", address.ip()))
        .args(["-c", "fsync=off", "-c", "unix_socket_directories=", "-p"])
        .arg(address.port().to_string())
        .arg("-D")
        .arg(data);
    Process::start(&mut command)
}

fn run(command: &mut Command) {
    let output = command.output().expect("a program of PostgreSQL runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}
