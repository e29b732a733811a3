//! What the data path reports. Steps emit typed events to an injected observer; nothing there names who listens.
//!
//! One rich [`RequestEnded`] instead of twenty small events: whoever listens sees a request whole. An observer has a part of
//! its own on each worker, so that nothing on a request's path is shared between threads unless the observer chooses so.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::ids::{Generation, WorkerId};
use super::trail::{Closely, Followed};

/// Who listens, for the whole process.
pub trait Observer: Send + Sync {
    /// Called once on each worker's own thread, as it starts.
    fn worker(&self, worker: WorkerId) -> Box<dyn WorkerObserver>;
}

/// Who listens on one worker. Called on the request's path: must neither block nor wait.
pub trait WorkerObserver {
    fn connection_opened(&self, listener: &str);
    fn connection_closed(&self, listener: &str);
    /// Before `connection_closed`: it was closed because nothing came on it.
    fn connection_was_silent(&self, listener: &str, silence: Silence);
    /// Followed by exactly one `request_ended`. A request that never became one (408, 400) has none before it.
    fn request_started(&self, listener: &str);
    fn request_ended(&self, request: &RequestEnded<'_>);
    /// Whether somebody follows requests: those that begin while it says so have a trail. Asked for once.
    fn followed(&self) -> Arc<Followed> {
        Arc::default()
    }
}

/// What did not come on a connection in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Any byte at all.
    FirstRequest,
    /// A request after the one before.
    NextRequest,
    /// The first byte of a TLS handshake.
    Handshake,
}

/// A request from its first byte to the last byte of its answer, or to where it broke off.
#[derive(Debug)]
pub struct RequestEnded<'a> {
    /// Whether `request_started` told of it: false for what never became a request.
    pub started: bool,
    /// It is a connection in tcp mode, passed on whole, and no request: bytes are all that passed.
    pub tcp: bool,
    pub generation: Generation,
    pub listener: &'a str,
    pub route: Option<&'a str>,
    pub pool: Option<&'a str>,
    /// The server that answered, or the last one tried.
    pub server: Option<&'a str>,
    /// Empty when no request could be read.
    pub method: &'a str,
    /// Path and query as the client sent them; empty when no request could be read.
    pub target: &'a [u8],
    /// Lower case, without a port.
    pub host: Option<&'a [u8]>,
    /// `HTTP/1.1`; empty when no request could be read.
    pub version: &'a str,
    /// The client as plugins see it: behind trusted proxies the one that these name.
    pub client_address: &'a str,
    /// Empty where a trusted proxy did not tell.
    pub client_port: &'a str,
    /// Who is connected.
    pub peer: SocketAddr,
    pub request_id: &'a str,
    pub user_agent: Option<&'a [u8]>,
    pub referer: Option<&'a [u8]>,
    /// Those that the log wants, as the client sent them, in the configuration's order. Empty: none is wanted.
    pub request_headers: &'a [Captured<'a>],
    /// The same as the server sent them; of an answer of the proxy's own, without values.
    pub response_headers: &'a [Captured<'a>],
    /// None: requests are not traced.
    pub trace: Option<Trace<'a>>,
    /// What was answered; None: the connection ended before an answer.
    pub status: Option<u16>,
    /// Of the request's body.
    pub bytes_in: u64,
    /// Of the response, head and framing included, as far as they were given to the kernel.
    pub bytes_out: u64,
    /// Of the response's body, without framing.
    pub body_bytes_out: u64,
    pub times: Times,
    /// Servers tried, the last one included.
    pub attempts: u32,
    /// Connections open on this worker, this one included.
    pub connections: u32,
    /// Who waited for a place as this one came.
    pub queued: Queued,
    /// Requests in flight at the server as this one ended, itself excluded.
    pub server_in_flight: u32,
    /// Why plugins decided as they did: plugin, its words.
    pub reasons: &'a [(Rc<str>, String)],
    /// What plugins noted: name, value.
    pub notes: &'a [(String, String)],
    /// HAProxy's termination state, the first two letters (its documentation, "Session state at disconnection").
    pub termination: [u8; 2],
    /// What went wrong, in a word.
    pub fault: Option<&'static str>,
    /// Whether the route wants it in the access log.
    pub logged: bool,
    /// None: nobody followed requests as it began.
    pub closely: Option<Closely<'a>>,
}

/// A header that the log wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// Lower case.
    pub name: &'a str,
    /// Of its last occurrence, as far as it is kept. None: it was not there.
    pub value: Option<&'a [u8]>,
}

/// A request's place in a trace (W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace<'a> {
    pub id: u128,
    /// The span of whoever asks. None: the trace begins here.
    pub parent: Option<u64>,
    /// Of the request here.
    pub span: u64,
    /// Of its call to a server, who knows it as the parent.
    pub call: u64,
    /// Its spans are wanted.
    pub sampled: bool,
    /// `http` or `https`, as the client speaks it.
    pub scheme: &'a str,
    /// Where the server is that answered, or that was tried last.
    pub server_address: Option<&'a str>,
}

/// Absent: not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// From the first byte of the request to the end of its head. HAProxy's `TR`.
    pub head: Duration,
    /// From there until a server was chosen: filters, router, balancer, waits for a place. HAProxy's `Tw`.
    pub queue: Option<Duration>,
    /// Until there was a connection to the server, all attempts together; zero on a kept one. HAProxy's `Tc`.
    pub connect: Option<Duration>,
    /// From the request sent to the response's head. HAProxy's `Tr`.
    pub first_byte: Option<Duration>,
    /// From the first byte of the request to the last byte of the answer. HAProxy's `Ta`.
    pub total: Duration,
}

/// Requests that waited for a place before this one, in the line that it joined. HAProxy's `srv_queue` and `backend_queue`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    pub at_server: u32,
    pub at_pool: u32,
}

/// Nobody listens: for tests, and where nothing is configured.
pub struct Nobody;

impl Observer for Nobody {
    fn worker(&self, _: WorkerId) -> Box<dyn WorkerObserver> {
        Box::new(Nobody)
    }
}

impl WorkerObserver for Nobody {
    fn connection_opened(&self, _: &str) {}
    fn connection_closed(&self, _: &str) {}
    fn connection_was_silent(&self, _: &str, _: Silence) {}
    fn request_started(&self, _: &str) {}
    fn request_ended(&self, _: &RequestEnded<'_>) {}
}

/// Several listen, in order.
pub struct All(pub Vec<Box<dyn Observer>>);

impl Observer for All {
    fn worker(&self, worker: WorkerId) -> Box<dyn WorkerObserver> {
        let parts = self.0.iter().map(|observer| observer.worker(worker));
        Box::new(AllOnWorker(parts.collect()))
    }
}

struct AllOnWorker(Vec<Box<dyn WorkerObserver>>);

impl WorkerObserver for AllOnWorker {
    fn connection_opened(&self, listener: &str) {
        self.0.iter().for_each(|o| o.connection_opened(listener));
    }
    fn connection_closed(&self, listener: &str) {
        self.0.iter().for_each(|o| o.connection_closed(listener));
    }
    fn connection_was_silent(&self, listener: &str, silence: Silence) {
        self.0
            .iter()
            .for_each(|o| o.connection_was_silent(listener, silence));
    }
    fn request_started(&self, listener: &str) {
        self.0.iter().for_each(|o| o.request_started(listener));
    }
    fn request_ended(&self, request: &RequestEnded<'_>) {
        self.0.iter().for_each(|o| o.request_ended(request));
    }
}
