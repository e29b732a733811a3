//! A real HTTP/1.1 server on a port of its own, which keeps what it was sent. How it answers is a function, so that a test
//! can have one that is slow, breaks off, or lies.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::message::Message;
use crate::recording::{Recording, Tee};

/// How many requests are kept; all are counted.
const KEPT: usize = 2000;

/// Ends with the test, its connections too.
pub struct Origin {
    pub name: String,
    address: SocketAddr,
    shared: Arc<Shared>,
}

type Answer = dyn Fn(&Message, &mut TcpStream) -> io::Result<()> + Send + Sync;

struct Shared {
    answer: Box<Answer>,
    stopped: AtomicBool,
    served: AtomicUsize,
    accepted: AtomicUsize,
    requests: Mutex<Vec<Message>>,
    /// None: nobody asked for every byte.
    recording: Option<Arc<Recording>>,
    /// By number.
    open: Mutex<HashMap<usize, TcpStream>>,
}

impl Origin {
    /// Answers each request with 200, its name as the body, and `x-origin: NAME`.
    pub fn named(name: &str) -> Origin {
        let body = format!("{name}\n");
        let own = name.to_owned();
        Origin::answering(name, move |_, stream| {
            reply(stream, 200, &[("x-origin", &own)], &body)
        })
    }

    /// Calls `answer` once a request; it writes whatever it likes. Err closes the connection, Ok reads on.
    pub fn answering(
        name: &str,
        answer: impl Fn(&Message, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Origin {
        Origin::on((Ipv4Addr::LOCALHOST, 0).into(), name, answer)
    }

    /// As `answering`, and every byte of every connection is kept; see [`Origin::recording`].
    pub fn recorded(
        name: &str,
        answer: impl Fn(&Message, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Origin {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        Origin::open(address, name, Some(Arc::default()), answer)
    }

    /// As `answering`, on that address.
    pub fn on(
        address: SocketAddr,
        name: &str,
        answer: impl Fn(&Message, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Origin {
        Origin::open(address, name, None, answer)
    }

    fn open(
        address: SocketAddr,
        name: &str,
        recording: Option<Arc<Recording>>,
        answer: impl Fn(&Message, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Origin {
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            stopped: AtomicBool::new(false),
            served: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            requests: Mutex::default(),
            recording,
            open: Mutex::default(),
        });
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        thread::spawn({
            let shared = shared.clone();
            move || accept(listener, &shared)
        });
        Origin {
            name: name.to_owned(),
            address,
            shared,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests came.
    pub fn served(&self) -> usize {
        self.shared.served.load(Ordering::SeqCst)
    }

    /// How many connections came.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// The requests that came, the first 2,000.
    pub fn requests(&self) -> Vec<Message> {
        self.shared
            .requests
            .lock()
            .expect("no test panics while it holds this")
            .clone()
    }

    /// What came byte by byte, whatever it was; panics unless it was made by `recorded`.
    #[track_caller]
    pub fn recording(&self) -> &Recording {
        let recording = self.shared.recording.as_deref();
        recording.expect("the origin was made by `recorded`")
    }

    /// The newest request; panics when none came.
    #[track_caller]
    pub fn last(&self) -> Message {
        self.requests()
            .pop()
            .unwrap_or_else(|| panic!("origin {} got no request", self.name))
    }

    /// Closes the listening socket and every connection: from now on connecting is refused.
    pub fn stop(&self) {
        if self.shared.stopped.swap(true, Ordering::SeqCst) {
            return;
        }
        // Wakes the accept loop, which then drops the listening socket.
        let _ = TcpStream::connect(self.address);
        crate::wait_until("an origin stops listening", || {
            TcpStream::connect(self.address).is_err()
        });
        for (_, stream) in self.shared.open.lock().expect("as above").drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.stop();
        }
    }
}

/// Writes a whole response with `Content-Length`.
pub fn reply(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<()> {
    let mut text = format!(
        "HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    stream.write_all(text.as_bytes())
}

fn accept(listener: TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        thread::spawn(move || {
            serve(stream, number, &shared);
            shared.open.lock().expect("as above").remove(&number);
        });
    }
}

/// Ends when the peer closes, breaks off, or sends what is no HTTP.
fn serve(mut stream: TcpStream, number: usize, shared: &Shared) {
    let (Ok(reading), Ok(kept)) = (stream.try_clone(), stream.try_clone()) else {
        return;
    };
    let _ = stream.set_nodelay(true);
    shared
        .open
        .lock()
        .expect("no test panics while it holds this")
        .insert(number, kept);
    match &shared.recording {
        Some(recording) => {
            let mut reading = BufReader::new(Tee::new(reading, recording.clone()));
            answer_all(&mut reading, &mut stream, shared);
            // What is no request is kept too.
            let _ = io::copy(&mut reading, &mut io::sink());
            reading.into_inner().ended();
        }
        None => answer_all(&mut BufReader::new(reading), &mut stream, shared),
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn answer_all(reading: &mut impl BufRead, stream: &mut TcpStream, shared: &Shared) {
    while let Ok(Some(request)) = Message::read_request(reading) {
        shared.served.fetch_add(1, Ordering::SeqCst);
        {
            let mut requests = shared.requests.lock().expect("as above");
            if requests.len() < KEPT {
                requests.push(request.clone());
            }
        }
        if (shared.answer)(&request, stream).is_err() {
            // Whoever answers until the end of the connection ends it here; what still comes is kept where it is recorded.
            let _ = stream.shutdown(Shutdown::Write);
            return;
        }
    }
}
