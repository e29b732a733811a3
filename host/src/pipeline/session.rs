//! What is told of a connection that is no HTTP, or became none: gathered on its way, told once, whatever becomes of it.
//! Balancers and connect plugins see it as a request of which there is nothing but the connection.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::HeaderName;

use super::fault::{Fault, Stage};
use super::site::Member;
use super::trail;
use super::turn::{Asker, Waited};
use super::worker::Worker;
use crate::base::event::{Queued, RequestEnded, Times};
use crate::base::ids::Generation;
use crate::base::trail::{Closely, Trail};
use crate::config::checked::Mode;
use crate::hook::{ConnectionFacts, RequestView};
use crate::http::Link;
use crate::upstream::live::InFlight;

pub struct Session {
    pub worker: Rc<Worker>,
    pub link: Rc<Link>,
    pub facts: Rc<ConnectionFacts>,
    pub generation: Generation,
    pub mode: Mode,
    pub pool: Option<Rc<str>>,
    pub server: Option<Rc<str>>,
    /// Its hold on the server's counters.
    pub in_flight: Option<InFlight>,
    pub began: Instant,
    /// When all was known that the choice of a server needs.
    pub ready: Instant,
    pub queue: Option<Duration>,
    pub queued: Queued,
    pub connect: Option<Duration>,
    pub attempts: u32,
    pub reasons: Vec<(Rc<str>, String)>,
    pub stage: Stage,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// How it ended.
    pub end: Option<Result<(), Fault>>,
    /// There is nothing to tell: nobody said a word, or the requests to come tell for themselves.
    pub silent: bool,
    /// None: nobody follows.
    pub trail: Option<Box<Trail>>,
}

impl Session {
    pub fn new(
        worker: &Rc<Worker>,
        link: &Rc<Link>,
        facts: Rc<ConnectionFacts>,
        generation: Generation,
        mode: Mode,
    ) -> Session {
        let now = Instant::now();
        Session {
            worker: worker.clone(),
            link: link.clone(),
            facts,
            generation,
            mode,
            pool: None,
            server: None,
            in_flight: None,
            began: now,
            ready: now,
            queue: None,
            queued: Queued::default(),
            connect: None,
            attempts: 0,
            reasons: Vec::new(),
            stage: Stage::Request,
            bytes_in: 0,
            bytes_out: 0,
            end: None,
            silent: false,
            trail: worker.followed.trail(now),
        }
    }

    /// It began before there was a session.
    pub fn begun(&mut self, at: Instant) {
        self.began = at;
        if let Some(trail) = &mut self.trail {
            trail.begun(at);
        }
    }

    pub fn chose(&mut self, server: &Member, place: InFlight) {
        self.queue.get_or_insert_with(|| self.ready.elapsed());
        self.attempts += 1;
        self.stage = Stage::Connect;
        self.server = Some(server.name.clone());
        self.in_flight = Some(place);
    }

    fn tell(&mut self) {
        let server = self.in_flight.take().map(InFlight::end);
        // Dropped on its way: cut, or a panic.
        let end = self.end.unwrap_or_else(|| Err(self.link.blamed().into()));
        let fault = end.err();
        trail::broke_off(self.trail.as_deref(), self.attempts, &self.server, fault);
        self.worker.observer.request_ended(&RequestEnded {
            started: false,
            tcp: self.mode == Mode::Tcp,
            generation: self.generation,
            listener: &self.facts.listener,
            route: None,
            pool: self.pool.as_deref(),
            server: self.server.as_deref(),
            method: "",
            target: b"",
            host: None,
            version: "",
            client_address: &self.facts.client_address,
            client_port: &self.facts.client_port,
            peer: self.facts.peer(),
            request_id: "",
            user_agent: None,
            referer: None,
            request_headers: &[],
            response_headers: &[],
            trace: None,
            status: None,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            body_bytes_out: self.bytes_out,
            times: Times {
                head: self.ready - self.began,
                queue: self.queue,
                connect: self.connect,
                first_byte: None,
                total: self.began.elapsed(),
            },
            attempts: self.attempts,
            queued: self.queued,
            connections: self.worker.open_connections(),
            server_in_flight: server.map_or(0, |server| server.inflight()),
            reasons: &self.reasons,
            notes: &[],
            termination: fault.map_or(*b"--", |fault| fault.letters(self.stage)),
            fault: fault.map(Fault::word),
            logged: true,
            closely: self.trail.as_deref().map(closely),
        });
    }
}

impl Asker for Session {
    fn random(&self) -> u64 {
        self.worker.random()
    }

    fn trail(&self) -> Option<&Trail> {
        self.trail.as_deref()
    }

    fn queues(&mut self) {
        self.stage = Stage::Queue;
    }

    fn queued(&mut self, waited: &Waited) {
        let Some(time) = waited.time else { return };
        self.queued = waited.behind;
        match &mut self.queue {
            Some(known) => *known += time,
            None => self.queue = Some(self.ready.elapsed()),
        }
    }
}

/// There is no head.
fn closely(trail: &Trail) -> Closely<'_> {
    Closely { trail, sent: None }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.silent {
            self.tell();
        }
    }
}

impl RequestView for Session {
    fn method(&self) -> &str {
        ""
    }

    fn scheme(&self) -> &'static str {
        ""
    }

    fn version(&self) -> &'static str {
        ""
    }

    fn host(&self) -> Option<&[u8]> {
        None
    }

    fn path(&self) -> &[u8] {
        b""
    }

    fn query(&self) -> Option<&[u8]> {
        None
    }

    fn field(&self, _: &HeaderName) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn connection(&self) -> &ConnectionFacts {
        &self.facts
    }

    fn request_id(&self) -> &str {
        ""
    }

    fn note(&self, _: &str) -> Option<&str> {
        None
    }

    fn route(&self) -> Option<&str> {
        None
    }

    fn pool(&self) -> Option<&str> {
        self.pool.as_deref()
    }
}
