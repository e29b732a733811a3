//! Real databases behind TCP mode, with their own clients: PostgreSQL and Redis.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tidegate_tests::{Port, Process, Proxy, listener, wait_until};

#[test]
fn psql_talks_to_postgresql() {
    let folder = tempfile::tempdir().unwrap();
    let port = Port::free();
    let _server = postgresql(folder.path(), &port);
    let proxy = Proxy::start(in_front_of(&port));
    let address = proxy.address("db");
    wait_until("PostgreSQL to serve", || {
        psql(address, "select 1").status.success()
    });
    let sum = psql(
        address,
        "select sum(n) from generate_series(1, 100000) as s(n)",
    );
    assert_eq!(text(&sum).trim(), "5000050000");
    let rows = psql(
        address,
        "select repeat('x', 1000) from generate_series(1, 5000)",
    );
    assert_eq!(
        text(&rows).lines().filter(|row| row.len() == 1000).count(),
        5000
    );
    let ours = "create table t (n int); insert into t select generate_series(1, 1000); select count(*) from t";
    assert!(text(&psql(address, ours)).contains("1000"));
    let ends = |line: &serde_json::Value| line["termination"] == "--" && line["pool"] == "data";
    wait_until("the sessions' ends in the log", || {
        proxy.access_log(4).iter().filter(|line| ends(line)).count() >= 3
    });
}

#[test]
fn redis_cli_talks_to_redis() {
    let folder = tempfile::tempdir().unwrap();
    let port = Port::free();
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--port"])
        .arg(port.number().to_string())
        .arg("--dir")
        .arg(folder.path());
    let _server = Process::start(&mut command);
    let proxy = Proxy::start(in_front_of(&port));
    let address = proxy.address("db");
    let ask = |words: &[&str]| {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &address.port().to_string()])
            .args(words)
            .output()
            .expect("redis-cli runs");
        text(&output).trim().to_owned()
    };
    wait_until("Redis to serve", || ask(&["ping"]) == "PONG");
    let value = "v".repeat(100_000);
    assert_eq!(ask(&["set", "key", &value]), "OK");
    assert_eq!(ask(&["get", "key"]), value);
    assert_eq!(
        ask(&["-r", "50", "incr", "count"]).lines().last(),
        Some("50")
    );
}

fn in_front_of(port: &Port) -> String {
    let address = port.address();
    let data = format!(
        "[[pool]]\nname = \"data\"\nservers = [{{ name = \"one\", address = \"{address}\" }}]\n"
    );
    listener("db", "mode = \"tcp\"\npool = \"data\"") + &data
}

pub(crate) fn psql(address: SocketAddr, sql: &str) -> Output {
    Command::new("psql")
        .args([
            "-h",
            &address.ip().to_string(),
            "-p",
            &address.port().to_string(),
        ])
        .args(["-U", "postgres", "-d", "postgres", "-AtX", "-c", sql])
        .env("PGCONNECT_TIMEOUT", "20")
        .output()
        .expect("psql runs")
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A cluster in that folder. PostgreSQL serves nobody as root; it runs as its own user then.
pub(crate) fn postgresql(folder: &Path, port: &Port) -> Process {
    let data = folder.join("data");
    fs::create_dir(&data).unwrap();
    if rustix::process::geteuid().is_root() {
        let owned = Command::new("chown")
            .arg("-R")
            .arg("postgres")
            .arg(folder)
            .status();
        assert!(owned.expect("chown runs").success());
    }
    let made = as_postgres("initdb")
        .args(["--auth=trust", "--username=postgres", "--no-sync", "-D"])
        .arg(&data)
        .output()
        .expect("initdb runs");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let mut command = as_postgres("postgres");
    command
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
        .args(["-c", "unix_socket_directories=", "-p"])
        .arg(port.number().to_string())
        .arg("-D")
        .arg(&data);
    Process::start(&mut command)
}

pub fn as_postgres(program: &str) -> Command {
    let program = programs().join(program);
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "--",
        ])
        .arg(program);
    command
}

/// Debian keeps the server's programs out of the path, in a folder by version.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let newest = versions.flatten().map(|entry| entry.path()).max();
    newest.expect("a version of it").join("bin")
}
