//! Plugins that probe in protocols of their own: real Redis and PostgreSQL, peers that are made up, and probers that do what none may.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tidegate_tests::{
    Authority, Front, Origin, Port, Process, Proxy, Setup, Signal, get, guest, listener, pool,
    wait_until,
};

use crate::databases::{postgresql, psql};

#[test]
fn a_pool_follows_rediss_primary() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (Port::free(), Port::free());
    let of_a = a.number().to_string();
    let _a = redis(folder.path(), &a, &[]);
    let _b = redis(folder.path(), &b, &["--replicaof", "127.0.0.1", &of_a]);
    let servers = [("a", a.address()), ("b", b.address())];
    let settings = |role: &str| {
        format!("{{ plugin = \"redis-ping\", password = \"secret\", role = \"{role}\" }}")
    };
    let mut proxy = Proxy::start(probed(&servers, &settings("primary")));
    wait_for(&proxy, "a", "ready", "primary");
    wait_for(&proxy, "b", "down", "it is a replica");
    assert_eq!(ask(&b, &["replicaof", "no", "one"]), "OK");
    assert_eq!(
        ask(&a, &["replicaof", "127.0.0.1", &b.number().to_string()]),
        "OK"
    );
    wait_for(&proxy, "a", "down", "it is a replica");
    wait_for(&proxy, "b", "ready", "primary");
    proxy.reconfigure(probed(&servers, &settings("replica")));
    wait_for(&proxy, "a", "ready", "replica");
    wait_for(&proxy, "b", "down", "it is a primary");
    let wrong = "{ plugin = \"redis-ping\", password = \"wrong\" }";
    proxy.reconfigure(probed(&servers, wrong));
    wait_for(&proxy, "a", "down", "WRONGPASS");
    proxy.reconfigure(probed(&servers, "'redis-ping'"));
    wait_for(&proxy, "a", "down", "NOAUTH");
}

#[test]
fn a_prober_speaks_over_the_pools_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (port, ca) = (Port::free(), Authority::new("ca"));
    let _redis = redis(folder.path(), &port, &[]);
    let issued = ca.issue(&["127.0.0.1"]);
    let front = Front::of(port.address(), &issued);
    let prober = "{ plugin = \"redis-ping\", password = \"secret\" }";
    let config = |tls: &str| probed(&[("a", front.address())], prober) + tls;
    let proxy = Setup::new(config("\ntls = { ca = 'ca.pem' }\n"))
        .file("ca.pem", ca.pem())
        .start();
    wait_for(&proxy, "a", "ready", "PONG");
    assert!(!front.met().is_empty());
}

#[test]
fn postgresql_is_ready_until_it_shuts_down() {
    let folder = tempfile::tempdir().unwrap();
    let port = Port::free();
    let server = postgresql(folder.path(), &port);
    let proxy = Proxy::start(probed(&[("one", port.address())], "'postgres-ready'"));
    // Nobody is let in by that name, but all are by password or trust: it serves.
    wait_for(&proxy, "one", "ready", "it");
    // It waits for who is there, and takes nobody else.
    let address = port.address();
    let session = thread::spawn(move || psql(address, "select pg_sleep(60)"));
    wait_until("the session is there", || {
        let busy = "select count(*) from pg_stat_activity where query like '%pg_sleep(60)' and pid <> pg_backend_pid()";
        psql(address, busy).stdout.starts_with(b"1")
    });
    server.signal(Signal::TERM);
    wait_for(&proxy, "one", "down", "shutting down (57P03)");
    server.signal(Signal::INT);
    wait_for(&proxy, "one", "down", "connection refused");
    session.join().expect("psql ends");
}

#[test]
fn mysqls_greeting_is_up_and_its_error_down() {
    let packet = |body: &[u8]| {
        let mut bytes = (body.len() as u32).to_le_bytes();
        bytes[3] = 0;
        [&bytes, body].concat()
    };
    let greeting = b"\x0a8.0.36\0\x08\0\0\0abcdefgh\0\xff\xff\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let peer = Peer::saying(&packet(greeting));
    let proxy = Proxy::start(probed(&[("one", peer.address)], "'mysql-ready'"));
    wait_for(&proxy, "one", "ready", "it takes clients: 8.0.36");
    peer.say(&packet(b"\xff\x10\x04Too many connections"));
    wait_for(&proxy, "one", "down", "Too many connections (1040)");
}

#[test]
fn an_agent_says_how_its_server_is() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let agent = Peer::saying(b"up\n");
    let servers = [("a", a.address()), ("b", b.address())];
    let config = |balancer: &str| {
        probed(&servers, "'agent-check'").replace(
            "health = {",
            &format!(
                "balancer = '{balancer}'\nproxy-protocol = 'v1'\nhealth = {{ port = {}, ",
                agent.address.port()
            ),
        )
    };
    let mut proxy = Proxy::start(config("weighted-round-robin"));
    wait_for(&proxy, "b", "ready", "the agent says: up");
    let weighs = |share: f64| {
        wait_until("b has its share", || {
            (of(&proxy, "b")["effective_weight"].as_f64().unwrap() - share).abs() < 0.01
        });
    };
    agent.say(b"up 25%\n");
    weighs(0.25);
    agent.say(b"75%\n");
    weighs(0.75);
    agent.say(b"drain # a deploy\n");
    wait_for(&proxy, "b", "drain", "a deploy: to drain");
    assert_eq!(of(&proxy, "b")["health"], "up");
    // What was said holds under another balancer.
    proxy.reconfigure(config("least-connections"));
    assert_eq!(of(&proxy, "b")["state"], "drain");
    agent.say(b"maint\n");
    wait_for(&proxy, "b", "maint", "in maintenance");
    assert_eq!(of(&proxy, "b")["health"], "up", "which is no failure");
    agent.say(b"fail # disk full\n");
    wait_for(&proxy, "b", "down", "the agent says: disk full");
    assert_eq!(of(&proxy, "b")["health"], "down");
    agent.say(b"ready\n");
    wait_for(&proxy, "b", "ready", "the agent says: ready");
    assert!(agent.heard("PROXY UNKNOWN"), "the line came first");
    let calls = [("plugin", "agent-check"), ("role", "prober")];
    assert!(proxy.metrics().sum("tidegate_plugin_calls_total", &calls) > 10.0);
}

#[test]
fn what_a_prober_must_not_do_fails_the_probe_and_nothing_else() {
    let other = Origin::named("other");
    // They take all that comes, or send without end.
    let (takes, floods) = (Peer::saying(b""), Peer::flooding());
    let config = |deed: &str, address: SocketAddr| {
        let plugin = format!(
            "[[plugin]]\nname = 'guest'\npath = 'guest.wasm'\nconfig = {{ deed = '{deed}' }}\n"
        );
        let probed = probed(&[("one", address)], "'guest'");
        plugin + &probed + &listener("other", "pool = 'others'") + &pool("others", "", &[&other])
    };
    let mut proxy = Setup::new(config("", takes.address))
        .file("guest.wasm", guest("prober"))
        .start();
    wait_for(&proxy, "one", "ready", "one is well");
    for (deed, peer, why, cause) in [
        ("spins", &takes, "the prober", "cpu"),
        ("traps", &takes, "the prober", "trap"),
        // Whichever bound is met first.
        ("sends without end", &takes, "the prober", "any"),
        ("calls without end", &takes, "the prober", "any"),
        ("takes without end", &floods, "the prober", "any"),
        ("gives nothing", &takes, "the prober", "bad-answer"),
        ("waits", &takes, "no answer within 500ms", ""),
    ] {
        let failures = |proxy: &Proxy| {
            let labels = [("plugin", "guest"), ("cause", cause)];
            let labels = if cause == "any" {
                &labels[..1]
            } else {
                &labels
            };
            proxy
                .metrics()
                .sum("tidegate_plugin_failures_total", labels)
        };
        let before = failures(&proxy);
        proxy.reconfigure(config(deed, peer.address));
        wait_for(&proxy, "one", "down", why);
        assert!(cause.is_empty() || failures(&proxy) > before, "{deed}");
        let address = proxy.address("other");
        assert_eq!(get(address, "/").text(), "other", "{deed}");
        // A new instance, and no grudge.
        proxy.reconfigure(config("", peer.address));
        wait_for(&proxy, "one", "ready", "one is well");
    }
    let early = Setup::new(config("asks too early", takes.address));
    let (code, said, errors) = early.file("guest.wasm", guest("prober")).run("check");
    assert_ne!(code, 0);
    assert!((said + &errors).contains("asks for a stream"), "{errors}");
}

#[test]
fn many_servers_that_never_answer_hold_up_nobody() {
    let (silent, agent) = (Peer::holding(), Peer::saying(b"up\n"));
    let mut servers: Vec<_> = (0..40).map(|n| (format!("s{n}"), silent.address)).collect();
    servers.push(("well".to_owned(), agent.address));
    let servers: Vec<_> = servers.iter().map(|(n, at)| (n.as_str(), *at)).collect();
    let proxy = Proxy::start(probed(&servers, "'agent-check'"));
    wait_for(&proxy, "well", "ready", "the agent says: up");
    for name in ["s0", "s39"] {
        wait_for(&proxy, name, "down", "no answer within 500ms");
    }
    agent.say(b"drain\n");
    wait_for(&proxy, "well", "drain", "the agent says: drain");
}

#[test]
fn what_a_prober_does_not_read_is_refused_beside_it() {
    let config = listener("web", "pool = 'app'")
        + "[[pool]]\nname = 'app'\nservers = [{ address = '127.0.0.1:1' }]\n\
           health = { prober = 'redis-ping', path = '/health' }\n";
    let (code, _, said) = Setup::new(config).run("check");
    assert_ne!(code, 0);
    assert!(said.contains("`path` says nothing to a prober"), "{said}");
    let config = listener("web", "pool = 'app'")
        + "[[pool]]\nname = 'app'\nservers = [{ address = '127.0.0.1:1' }]\n\
           health = { prober = 'health-json' }\n";
    let (code, _, said) = Setup::new(config).run("check");
    assert_ne!(code, 0);
    assert!(said.contains("prober"), "{said}");
}

/// A pool `app` of these servers, probed often.
fn probed(servers: &[(&str, SocketAddr)], prober: &str) -> String {
    let servers = servers
        .iter()
        .map(|(name, address)| format!("{{ name = '{name}', address = '{address}' }}"));
    let servers: Vec<_> = servers.collect();
    format!(
        "{}\n[[pool]]\nname = 'app'\nservers = [{}]\n\
         health = {{ prober = {prober}, interval = '30ms', timeout = '500ms', fall = 2 }}\n",
        listener("web", "pool = 'app'"),
        servers.join(", ")
    )
}

/// Waits for a server's state, and for what its last probe said.
#[track_caller]
fn wait_for(proxy: &Proxy, server: &str, state: &str, words: &str) {
    wait_until(&format!("{server} is {state}: {words}"), || {
        let server = of(proxy, server);
        let said = server["last_probe"].as_str().unwrap_or_default();
        server["state"] == state && said.contains(words)
    });
}

fn of(proxy: &Proxy, server: &str) -> Value {
    let status = proxy.status();
    let servers = status["pools"][0]["servers"].as_array().unwrap();
    let found = servers.iter().find(|known| known["name"] == server);
    found.unwrap_or(&Value::Null).clone()
}

/// With the password `secret`.
fn redis(folder: &Path, port: &Port, more: &[&str]) -> Process {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--port"])
        .arg(port.number().to_string())
        .args(["--requirepass", "secret", "--masterauth", "secret"])
        .args(["--repl-diskless-sync-delay", "0", "--dbfilename"])
        .arg(format!("{}.rdb", port.number()))
        .arg("--dir")
        .arg(folder)
        .args(more);
    Process::start(&mut command)
}

fn ask(port: &Port, words: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &port.number().to_string()])
        .args(["-a", "secret", "--no-auth-warning"])
        .args(words)
        .output()
        .expect("redis-cli runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A server that is made up: says the same to everybody, and reads what it is told.
struct Peer {
    address: SocketAddr,
    says: Arc<Mutex<Vec<u8>>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    fn saying(words: &[u8]) -> Peer {
        Peer::with(words, |stream, says| {
            let _ = stream.write_all(says);
        })
    }

    fn flooding() -> Peer {
        Peer::with(
            b"",
            |stream, _| while stream.write_all(&[b'x'; 1 << 14]).is_ok() {},
        )
    }

    /// It accepts, and that is all.
    fn holding() -> Peer {
        Peer::with(b"", |_, _| {})
    }

    fn with(words: &[u8], speak: fn(&mut TcpStream, &[u8])) -> Peer {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = Peer {
            address: socket.local_addr().unwrap(),
            says: Arc::new(Mutex::new(words.to_vec())),
            heard: Arc::default(),
        };
        let (says, heard) = (peer.says.clone(), peer.heard.clone());
        thread::spawn(move || {
            for stream in socket.incoming() {
                let (says, heard) = (says.clone(), heard.clone());
                thread::spawn(move || {
                    let mut stream = stream.expect("a connection");
                    let says = says.lock().unwrap().clone();
                    speak(&mut stream, &says);
                    // Reads to the end, so that nothing is reset.
                    for line in BufReader::new(stream).split(b'\n') {
                        let Ok(line) = line else { return };
                        let mut heard = heard.lock().unwrap();
                        heard.truncate(100);
                        heard.insert(0, String::from_utf8_lossy(&line).into_owned());
                    }
                });
            }
        });
        peer
    }

    fn say(&self, words: &[u8]) {
        *self.says.lock().unwrap() = words.to_vec();
    }

    fn heard(&self, words: &str) -> bool {
        let heard = self.heard.lock().unwrap();
        heard.iter().any(|line| line.starts_with(words))
    }
}
