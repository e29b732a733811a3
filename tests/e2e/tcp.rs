//! TCP mode: bytes to a server and back, and what decides about a connection.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tidegate_tests::{
    Authority, Client, Origin, Proxy, Raw, Setup, Signal, guest, openssl, pool, tidegate,
    wait_until,
};

#[test]
fn a_connection_is_passed_on_and_told_of() {
    let server = echo("a");
    let mut proxy = Proxy::start(config("", &[&server], ""));
    let mut client = connect(proxy.address("db"));
    assert_eq!(heard(&mut client, 1), "a", "the server speaks first");
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "last words");
    let line = &proxy.access_log(1)[0];
    assert_eq!(line["listener"], "db");
    assert_eq!(
        (&line["pool"], &line["server"]),
        (&"app".into(), &"s0".into())
    );
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&10.into(), &11.into())
    );
    assert_eq!(
        (&line["termination"], &line["fault"]),
        (&"--".into(), &().into())
    );
    assert!(line["method"].is_null() && line["status"].is_null());
    let metrics = proxy.metrics();
    let labels = [("listener", "db"), ("pool", "app"), ("server", "s0")];
    assert_eq!(metrics.sum("tidegate_tcp_connections_total", &labels), 1.0);
    assert_eq!(metrics.sum("tidegate_connections_total", &labels[..1]), 1.0);
    assert_eq!(
        metrics.sum("tidegate_response_bytes_total", &labels[..2]),
        11.0
    );
    assert!(!metrics.has("tidegate_requests_total"), "it was no request");
    proxy.signal(Signal::TERM);
    assert!(proxy.exit().success());
}

#[test]
fn its_line_can_be_that_of_haproxys_tcplog() {
    let server = echo("a");
    let log = "[log]\naccess = \"stdout\"\nformat = \"httplog\"\n";
    let proxy = Proxy::start(config("", &[&server], log));
    drop(heard(&mut connect(proxy.address("db")), 1));
    wait_until("a line of access log", || !proxy.stdout().is_empty());
    let line = proxy.stdout().remove(0);
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words.len(), 9, "{line}");
    assert!(
        words[0].starts_with("127.0.0.1:") && words[1].starts_with('['),
        "{line}"
    );
    assert_eq!((words[2], words[3]), ("db", "app/s0"), "{line}");
    assert_eq!(words[4].split('/').count(), 3, "Tw/Tc/Tt: {line}");
    assert_eq!((words[5], words[6]), ("1", "--"), "{line}");
    assert_eq!(words[7].split('/').count(), 5, "{line}");
    assert_eq!(words[8], "0/0", "{line}");
}

#[test]
fn least_connections_counts_them() {
    let servers = [echo("a"), echo("b")];
    let proxy = Proxy::start(config(
        "balancer = \"least-connections\"",
        &[&servers[0], &servers[1]],
        "",
    ));
    let address = proxy.address("db");
    let mut first = connect(address);
    let busy = heard(&mut first, 1);
    for _ in 0..4 {
        let mut next = connect(address);
        assert_ne!(heard(&mut next, 1), busy, "the other has none");
        next.shutdown(Shutdown::Both).unwrap();
        drop(next);
        let ended = [("listener", "db")];
        wait_until("its end", || {
            proxy.metrics().sum("tidegate_connections_open", &ended) == 1.0
        });
    }
}

#[test]
fn a_great_deal_passes_unharmed_both_ways_at_once() {
    let server = echo("");
    let proxy = Proxy::start(config("", &[&server], ""));
    let mut client = connect(proxy.address("db"));
    let block = block();
    let (mut writer, sent) = (client.try_clone().unwrap(), block.clone());
    let writing = std::thread::spawn(move || {
        for _ in 0..16 {
            writer.write_all(&sent).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    writing.join().unwrap();
    assert_eq!(got.len(), 16 << 20);
    assert!(got.chunks(block.len()).all(|chunk| chunk == block));
}

#[test]
fn the_kernel_moves_bulk_through_a_pipe_that_others_get_next() {
    let server = bulk();
    let proxy = Proxy::start(config("", &[&server], "[proxy]\nworkers = 1\n"));
    let before = pipes(&proxy);
    let (mut client, mut got) = stalled(&proxy, &before);
    let block = block();
    for _ in 0..4 {
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), BLOCKS * BLOCK);
        assert!(got.chunks(BLOCK).all(|chunk| chunk == block));
        got.clear();
        client = connect(proxy.address("db"));
    }
    assert_eq!(pipes(&proxy).len(), before.len() + 2, "one is kept");
}

#[test]
fn a_pipe_is_closed_with_what_lies_in_it() {
    let server = bulk();
    let proxy = Proxy::start(config("", &[&server], "[proxy]\nworkers = 1\n"));
    let before = pipes(&proxy);
    let open = [("listener", "db")];
    // One that was seen full may have been emptied before the client went, and is kept then.
    wait_until("a client that leaves a full one behind", || {
        drop(stalled(&proxy, &before));
        wait_until("its end", || {
            proxy.metrics().sum("tidegate_connections_open", &open) == 0.0
        });
        pipes(&proxy).len() == before.len()
    });
}

#[test]
fn who_is_not_let_in_is_reset() {
    let server = echo("a");
    let door = "connect = [{ plugin = \"door\", refuse = [\"127.0.0.3\"] }]";
    let proxy = with_door(&format!("{}{}", listener("db", door), of(&[&server])));
    let refused = from(Ipv4Addr::new(127, 0, 0, 3), proxy.address("db"));
    assert!(is_reset(refused));
    assert_eq!(heard(&mut connect(proxy.address("db")), 1), "a");
    let line = &proxy.access_log(1)[0];
    assert_eq!(
        (&line["fault"], &line["termination"]),
        (&"connection-refused".into(), &"PR".into())
    );
    let labels = [("listener", "db"), ("fault", "connection-refused")];
    assert_eq!(proxy.metrics().sum("tidegate_faults_total", &labels), 1.0);
    assert_eq!(server.accepted(), 1);
    let role = [("role", "connect")];
    assert_eq!(
        proxy.metrics().sum("tidegate_plugin_calls_total", &role),
        2.0
    );
}

#[test]
fn an_http_listener_asks_too() {
    let origin = Origin::named("a");
    let door = "pool = \"app\"\nconnect = [{ plugin = \"door\", refuse = [\"127.0.0.3\"] }]";
    let listener = tidegate_tests::listener("web", door);
    let proxy = with_door(&(listener + &pool("app", "", &[&origin])));
    assert!(is_reset(from(
        Ipv4Addr::new(127, 0, 0, 3),
        proxy.address("web")
    )));
    let mut client = Client::connect(proxy.address("web"));
    assert_eq!(client.get("/one").status(), 200);
    assert_eq!(client.get("/two").status(), 200);
}

#[test]
fn a_plugin_that_is_no_doorkeeper_is_refused_with_its_place() {
    let server = echo("a");
    let setup = Setup::new(listener("db", "connect = [\"round-robin\"]") + &of(&[&server]));
    let (code, _, words) = setup.run("check");
    assert_eq!(code, 1);
    assert!(
        words.contains("\"round-robin\" is no connect plugin"),
        "{words}"
    );
}

#[test]
fn a_doorkeeper_is_inspected_and_tested() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("door.wasm"), guest("doorkeeper")).unwrap();
    let cases = "pools = [\"app\", \"other\"]\n[settings]\nrefuse = [\"203.0.113.\"]\nnames = { \"b.test\" = \"other\" }\n\n\
        [[case]]\nname = \"let in\"\nexpect = { accept = true }\n\n\
        [[case]]\nname = \"refused\"\nrequest = { client = \"203.0.113.9\" }\nexpect = { refuse = true }\n\n\
        [[case]]\nname = \"sent elsewhere\"\nrequest = { scheme = \"https\", server-name = \"b.test\" }\nexpect = { pool = \"other\" }\n";
    std::fs::write(folder.path().join("cases.toml"), cases).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(tidegate())
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let (_, words) = run(&["plugin", "inspect", "door.wasm"]);
    assert!(words.contains("roles     connect\n"), "{words}");
    let (code, words) = run(&["plugin", "test", "door.wasm"]);
    assert_eq!(code, Some(0), "{words}");
}

/// What is spoken is between the client and the server (PostgreSQL's clients ask for `postgresql`, and insist on it or on nothing).
#[test]
fn a_client_may_ask_for_any_protocol() {
    let (ca, server) = (Authority::new("ca"), echo("a"));
    let tls = listener("db", "tls = { certificates = ['site.pem'] }");
    let proxy = Setup::new(tls + &of(&[&server]))
        .file("site.pem", ca.issue(&["site.test"]).bundle())
        .start();
    let address = proxy.address("db").to_string();
    let client = ["s_client", "-connect", &address, "-alpn", "postgresql"];
    let said = openssl(proxy.path(), &client, "");
    assert!(said.contains("No ALPN negotiated"), "{said}");
    assert!(
        said.contains("Verification") && !said.contains("alert"),
        "{said}"
    );
}

#[test]
fn a_drain_leaves_it_its_time() {
    let server = echo("a");
    let mut proxy = Proxy::start(config(
        "",
        &[&server],
        "[proxy]\nworkers = 2\ndrain-timeout = \"20s\"\n",
    ));
    let mut client = connect(proxy.address("db"));
    heard(&mut client, 1);
    proxy.signal(Signal::TERM);
    wait_until("the listener to close", || {
        TcpStream::connect(proxy.address("db")).is_err()
    });
    client.write_all(b"still here").unwrap();
    assert_eq!(heard(&mut client, 10), "still here");
    drop(client);
    assert!(proxy.exit().success());
}

const BLOCK: usize = 1 << 20;
const BLOCKS: usize = 64;

fn block() -> Vec<u8> {
    (0..BLOCK).map(|at| ((at * 31) >> 3) as u8).collect()
}

/// Says far more than lies in sockets' buffers.
fn bulk() -> Raw {
    Raw::serving(|mut stream| {
        let block = block();
        (0..BLOCKS).try_for_each(|_| stream.write_all(&block))
    })
}

/// A client that does not take what it is sent, and what it has taken before.
fn stalled(proxy: &Proxy, before: &HashSet<PathBuf>) -> (TcpStream, Vec<u8>) {
    let mut client = connect(proxy.address("db"));
    let mut got = Vec::new();
    wait_until("a pipe with what the client does not take", || {
        let holds = |end: &PathBuf| {
            let end = rustix::fs::open(end, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
            end.is_ok_and(|end| rustix::io::ioctl_fionread(end).is_ok_and(|bytes| bytes > 0))
        };
        let is_there = pipes(proxy).difference(before).any(holds);
        if !is_there {
            let mut some = vec![0; 1 << 16];
            client.read_exact(&mut some).unwrap();
            got.append(&mut some);
        }
        is_there
    });
    (client, got)
}

/// Ends of pipes that the proxy has open.
fn pipes(proxy: &Proxy) -> HashSet<PathBuf> {
    let files = fs::read_dir(format!("/proc/{}/fd", proxy.process().pid())).unwrap();
    let is_pipe = |file: &PathBuf| {
        fs::read_link(file).is_ok_and(|target| target.to_string_lossy().starts_with("pipe:"))
    };
    let paths = files.filter_map(|file| Some(file.ok()?.path()));
    paths.filter(is_pipe).collect()
}

/// Says its name, then what it hears.
fn echo(name: &'static str) -> Raw {
    Raw::serving(move |mut stream| {
        stream.write_all(name.as_bytes())?;
        io::copy(&mut stream.try_clone()?, &mut stream)?;
        stream.shutdown(Shutdown::Write)
    })
}

fn listener(name: &str, lines: &str) -> String {
    let lines = format!("mode = \"tcp\"\npool = \"app\"\n{lines}");
    tidegate_tests::listener(name, &lines)
}

/// A pool `app` of these.
fn of(servers: &[&Raw]) -> String {
    let one = |(at, server): (usize, &&Raw)| {
        format!("{{ name = \"s{at}\", address = \"{}\" }}", server.address())
    };
    let servers: Vec<String> = servers.iter().enumerate().map(one).collect();
    format!(
        "[[pool]]\nname = \"app\"\nservers = [{}]\n",
        servers.join(", ")
    )
}

fn config(pool: &str, servers: &[&Raw], more: &str) -> String {
    let app = of(servers).replace("name = \"app\"\n", &format!("name = \"app\"\n{pool}\n"));
    format!("{more}{}{app}", listener("db", ""))
}

fn with_door(config: &str) -> Proxy {
    let door = "[[plugin]]\nname = \"door\"\npath = \"door.wasm\"\n";
    Setup::new(format!("{door}{config}"))
        .file("door.wasm", guest("doorkeeper"))
        .start()
}

fn connect(address: SocketAddr) -> TcpStream {
    from(Ipv4Addr::LOCALHOST, address)
}

fn from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let stream = Client::connect_from(source, address);
    let stream = stream.socket().try_clone().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

fn heard(stream: &mut TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("the server's words");
    String::from_utf8(bytes).unwrap()
}

fn is_reset(mut stream: TcpStream) -> bool {
    let read = stream.read(&mut [0; 1]);
    read.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}
