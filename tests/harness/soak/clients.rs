//! The load: a thread a client, each at a pace of its own, none of them fast. What fails is noted in words.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::http2;
use super::ledger::Ledger;
use super::site::{BIG, Targets};
use crate::client::Client;
use crate::message::Message;
use crate::tls::try_tls_connect;

pub struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What one client's thread has at hand.
pub struct Turn {
    pub targets: Targets,
    pub ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    every: Duration,
    due: Instant,
}

/// A client: its name, how many of it there are, its pace, and what it does until it is told to stop.
type Kind = (&'static str, usize, u64, fn(Turn));

const KINDS: &[Kind] = &[
    ("kept", 3, 50, kept),
    ("churning", 2, 60, churning),
    ("over-tls", 1, 100, over_tls),
    ("http2", 2, 100, http2::client),
    ("upgraded", 1, 1000, upgraded),
    ("tcp", 1, 1000, tcp),
    ("leaving", 1, 200, leaving),
];

/// Requests on one connection over TLS.
const TLS_REQUESTS: usize = 5;

/// What is said in a session of bare bytes, one after the other.
const WORDS: usize = 10;

const PATIENCE: Duration = Duration::from_secs(30);

impl Clients {
    pub fn start(targets: &Targets, ledger: &Arc<Ledger>) -> Clients {
        let stop = Arc::<AtomicBool>::default();
        let mut threads = Vec::new();
        for (name, count, every, run) in KINDS {
            for _ in 0..*count {
                let turn = Turn {
                    targets: targets.clone(),
                    ledger: ledger.clone(),
                    stop: stop.clone(),
                    every: Duration::from_millis(*every),
                    due: Instant::now(),
                };
                let thread = thread::Builder::new().name((*name).to_owned());
                threads.push(thread.spawn(move || run(turn)).expect("a thread"));
            }
        }
        Clients { stop, threads }
    }

    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client does not panic");
        }
    }
}

impl Turn {
    /// Waits until it is time for the next request. False: there is none.
    pub fn comes(&mut self) -> bool {
        thread::sleep(self.due.saturating_duration_since(Instant::now()));
        // Who was late does not hurry.
        self.due = Instant::now().max(self.due) + self.every;
        !self.stop.load(Ordering::Relaxed)
    }

    pub fn ask(&self, kind: &'static str, ask: impl FnOnce() -> Result<(), String>) -> bool {
        let began = Instant::now();
        let result = ask();
        let fine = result.is_ok();
        self.ledger.note(kind, began, result);
        fine
    }
}

/// What is asked for, in turn.
pub const PATHS: [&str; 6] = ["/", "/slow", "POST", "/big", "/inner", "/"];

/// A body for `POST`.
pub fn body() -> String {
    "What is posted comes back. ".repeat(300)
}

fn request(path: &str, connection: &str) -> String {
    let head = format!("host: site.example\r\nconnection: {connection}\r\n");
    match path {
        "POST" => {
            let body = body();
            let length = body.len();
            format!("POST /echo HTTP/1.1\r\n{head}content-length: {length}\r\n\r\n{body}")
        }
        path => format!("GET {path} HTTP/1.1\r\n{head}\r\n"),
    }
}

fn check(path: &str, answer: &Message) -> Result<(), String> {
    let (status, length) = (answer.status(), answer.body.len());
    let whole = match path {
        "POST" => answer.body == body().as_bytes(),
        "/big" => length == BIG,
        "/inner" => answer.text() == "inner",
        _ => length > 0,
    };
    match (status, whole) {
        (200, true) => Ok(()),
        (200, false) => Err(format!("{path}: {length} bytes")),
        _ => Err(format!("{path}: {status} {}", answer.text())),
    }
}

fn kept(mut turn: Turn) {
    let mut client = None;
    for path in PATHS.iter().cycle() {
        if !turn.comes() {
            return;
        }
        let web = turn.targets.web;
        let fine = turn.ask("kept", || {
            let connection = match client.take() {
                Some(client) => client,
                None => Client::try_connect(web).map_err(|e| format!("connect: {e}"))?,
            };
            let connection = client.insert(connection);
            let answer = connection.try_ask(&request(path, "keep-alive"));
            let answer = answer.map_err(|e| format!("{path}: {e}"))?;
            if answer.header("connection") == Some("close") {
                client = None;
            }
            check(path, &answer)
        });
        if !fine {
            client = None;
        }
    }
}

fn churning(mut turn: Turn) {
    for path in PATHS.iter().cycle() {
        if !turn.comes() {
            return;
        }
        let web = turn.targets.web;
        turn.ask("churning", || {
            let client = Client::try_connect(web);
            let mut client = client.map_err(|e| format!("connect: {e}"))?;
            let answer = client.try_ask(&request(path, "close"));
            check(path, &answer.map_err(|e| format!("{path}: {e}"))?)
        });
    }
}

fn over_tls(mut turn: Turn) {
    let mut paths = PATHS.iter().filter(|path| **path != "/inner").cycle();
    loop {
        let mut connection = None;
        for _ in 0..TLS_REQUESTS {
            if !turn.comes() {
                return;
            }
            let path = paths.next().expect("a circle has no end");
            let targets = turn.targets.clone();
            let fine = turn.ask("over-tls", || {
                let stream = match connection.take() {
                    Some(stream) => stream,
                    None => try_tls_connect(targets.tls, &targets.authority, "site.example")
                        .map(BufReader::new)
                        .map_err(|e| format!("connect: {e}"))?,
                };
                let stream = connection.insert(stream);
                let text = request(path, "keep-alive");
                let answer = stream
                    .get_mut()
                    .write_all(text.as_bytes())
                    .and_then(|()| Message::read_response(stream, false));
                match answer.map_err(|e| format!("{path}: {e}"))? {
                    Some(answer) => check(path, &answer),
                    None => Err(format!("{path}: closed")),
                }
            });
            if !fine {
                break;
            }
        }
    }
}

/// As a WebSocket does: an upgraded connection, and words both ways.
fn upgraded(mut turn: Turn) {
    while turn.comes() {
        let web = turn.targets.web;
        turn.ask("upgraded", || {
            let mut client = Client::try_connect(web).map_err(|e| format!("connect: {e}"))?;
            let head = "GET /socket HTTP/1.1\r\nhost: site.example\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n";
            client
                .write(head.as_bytes())
                .map_err(|e| format!("asking: {e}"))?;
            // Nothing is said before the head of the answer has been read.
            let stream = client.socket().try_clone();
            let mut stream = stream.map_err(|e| e.to_string())?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream
                    .read_exact(&mut byte)
                    .map_err(|e| format!("the answer's head: {e}"))?;
                head.push(byte[0]);
            }
            if !head.starts_with(b"HTTP/1.1 101 ") {
                return Err(String::from_utf8_lossy(&head).into_owned());
            }
            talk(stream)
        });
    }
}

fn tcp(mut turn: Turn) {
    while turn.comes() {
        let address = turn.targets.tcp;
        turn.ask("tcp", || talk(connect(address)?));
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let connect = || {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    connect().map_err(|e: std::io::Error| format!("connect: {e}"))
}

/// Every word comes back.
fn talk(mut stream: TcpStream) -> Result<(), String> {
    for number in 0..WORDS {
        let word = [number as u8; 1000];
        let mut heard = [0; 1000];
        stream
            .write_all(&word)
            .and_then(|()| stream.read_exact(&mut heard))
            .map_err(|e| format!("word {number}: {e}"))?;
        if heard != word {
            return Err(format!("word {number} is another"));
        }
        thread::sleep(Duration::from_millis(30));
    }
    Ok(())
}

/// Clients that ask and do not wait. What becomes of that nobody is told.
fn leaving(mut turn: Turn) {
    for path in PATHS.iter().cycle() {
        if !turn.comes() {
            return;
        }
        turn.ask("leaving", || {
            let mut stream = connect(turn.targets.web)?;
            let text = request(path, "keep-alive");
            let asked = stream.write_all(text.as_bytes());
            asked.map_err(|e| format!("asking: {e}"))
        });
    }
}
