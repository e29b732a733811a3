//! A proxy and an origin that the cases of a test share, what went wrong with them, and what the access log must say in the
//! end.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use crate::pieces;
use tidegate_tests::{Client, Message, Origin, Proxy, listener, pool};

pub struct Site {
    pub origin: Origin,
    proxy: Proxy,
    script: Shared,
    expected: BTreeMap<u16, Vec<Logged>>,
    wrong: Vec<String>,
}

/// What the origin answers to `/case`, instead of its 200.
#[derive(Default)]
struct Script {
    bytes: Vec<u8>,
    /// Byte by byte.
    in_pieces: bool,
    closes: bool,
    /// The connection that it was last said on.
    said_on: Option<TcpStream>,
}

type Shared = Arc<Mutex<Script>>;

/// What the access log says of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    pub status: u16,
    pub fault: Option<String>,
    /// Its two letters.
    pub termination: String,
}

impl Site {
    /// Runs cases; panics with everything that went wrong.
    pub fn run(cases: impl FnOnce(&mut Site)) {
        let script = Shared::default();
        let origin = {
            let script = script.clone();
            Origin::recorded("origin", move |request, stream| {
                answer(request, stream, &script)
            })
        };
        // One worker: one stock of kept connections, and a log in the order of the requests.
        // Of HTTP/1.1 alone: the preface of HTTP/2 is one more request line that is none.
        let config = listener("web", "pool = \"app\"\nhttp2 = { enabled = false }")
            + &pool("app", "balancer = \"round-robin\"", &[&origin])
            + "\n[proxy]\nworkers = 1\n";
        let mut site = Site {
            proxy: Proxy::start(config),
            origin,
            script,
            expected: BTreeMap::new(),
            wrong: Vec::new(),
        };
        cases(&mut site);
        site.check_log();
        let wrong = std::mem::take(&mut site.wrong);
        // Its log, printed by a proxy that a panic ends, would hide what is wrong.
        drop(site);
        assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    }

    pub fn address(&self) -> SocketAddr {
        self.proxy.address("web")
    }

    pub fn note(&mut self, what: &str, found: Result<(), String>) {
        if let Err(wrong) = found {
            self.wrong.push(format!("{what}: {wrong}"));
        }
    }

    /// What the origin answers to `/case` from now on, and whether it closes then.
    pub fn script(&self, bytes: &[u8], in_pieces: bool, closes: bool) {
        let mut script = self.script.lock().expect("nobody panics with it");
        *script = Script {
            bytes: bytes.to_vec(),
            in_pieces,
            closes,
            said_on: None,
        };
    }

    /// The origin says more on the connection of its last scripted answer, unasked.
    pub fn say_more(&self, bytes: &[u8]) -> io::Result<()> {
        let script = self.script.lock().expect("nobody panics with it");
        let mut stream = script.said_on.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(bytes)
    }

    /// The log will tell this of the client's connection.
    pub fn expect(&mut self, client: &Client, status: u16, fault: Option<&str>) {
        let port = client
            .socket()
            .local_addr()
            .expect("it is connected")
            .port();
        self.expected.entry(port).or_default().push(Logged {
            status,
            fault: fault.map(str::to_owned),
            termination: letters(fault).to_owned(),
        });
    }

    fn check_log(&mut self) {
        let lines = self.expected.values().map(Vec::len).sum();
        let mut found: BTreeMap<u16, Vec<Logged>> = BTreeMap::new();
        for line in self.proxy.access_log(lines) {
            let port = line["client_port"]
                .as_u64()
                .and_then(|port| port.try_into().ok());
            found.entry(port.unwrap_or(0)).or_default().push(Logged {
                status: line["status"].as_u64().unwrap_or(0) as u16,
                fault: line["fault"].as_str().map(str::to_owned),
                termination: line["termination"].as_str().unwrap_or("").to_owned(),
            });
        }
        for (port, expected) in &self.expected {
            let found = found.get(port).cloned().unwrap_or_default();
            if found != *expected {
                self.wrong.push(format!(
                    "the log of port {port}: expected {expected:?}, found {found:?}"
                ));
            }
        }
    }
}

/// As the README has them.
fn letters(fault: Option<&str>) -> &'static str {
    match fault {
        None => "--",
        Some("request-body-broken") => "CD",
        Some("bad-response") => "PH",
        Some("server-aborted") => "SD",
        Some(_) => "PR",
    }
}

/// Everything else is answered with 200 and its target.
fn answer(request: &Message, stream: &mut TcpStream, script: &Shared) -> io::Result<()> {
    if request.target() != "/case" {
        let target = request.target();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            target.len()
        );
        let body = if request.method() == "HEAD" {
            ""
        } else {
            target
        };
        return stream.write_all((head + body).as_bytes());
    }
    let mut script = script.lock().expect("nobody panics with it");
    script.said_on = Some(stream.try_clone()?);
    let length = if script.in_pieces {
        1
    } else {
        script.bytes.len().max(1)
    };
    for piece in script.bytes.chunks(length) {
        stream.write_all(piece)?;
        pieces::pause();
    }
    if script.closes {
        Err(io::ErrorKind::Other.into())
    } else {
        Ok(())
    }
}
