//! The last step: what is told of a request, gathered on its way. It outlives the request's hold on the configuration, and
//! whatever becomes of the request, it is told once.

use std::rc::Rc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::capture::Capture;
use super::fault::{Fault, Stage};
use super::forwarded::RequestId;
use super::trace::Traced;
use super::trail;
use super::worker::Worker;
use crate::base::event::{Queued, RequestEnded, Times};
use crate::base::ids::Generation;
use crate::base::trail::{Closely, Trail};
use crate::hook::ConnectionFacts;
use crate::http::delivery::{Ending, Ledger};
use crate::http::known::Known;
use crate::http::{Link, RequestHead, Target};
use crate::upstream::live::InFlight;

/// Lower case, without a port.
pub type Host = SmallVec<[u8; 48]>;

pub struct Record {
    pub worker: Rc<Worker>,
    pub link: Rc<Link>,
    pub facts: Rc<ConnectionFacts>,
    pub generation: Generation,
    pub listener: Rc<str>,
    pub route: Option<Rc<str>>,
    pub pool: Option<Rc<str>>,
    pub server: Option<Rc<str>>,
    /// Its hold on the server's counters.
    pub in_flight: Option<InFlight>,
    /// It became a request.
    pub started: bool,
    /// As plugins have changed it; of what never became a request, empty.
    pub head: RequestHead,
    /// As the client sent it, where a plugin has changed it.
    pub target_sent: Option<Box<Target>>,
    pub host: Option<Host>,
    pub request_id: RequestId,
    pub began: Instant,
    /// When its head was complete.
    pub read: Instant,
    pub queue: Option<Duration>,
    pub queued: Queued,
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub status: Option<u16>,
    pub attempts: u32,
    pub reasons: Vec<(Rc<str>, String)>,
    pub notes: Vec<(String, String)>,
    /// None: requests are not traced.
    pub trace: Option<Box<Traced>>,
    /// None: the log wants no header.
    pub capture: Option<Box<Capture>>,
    pub stage: Stage,
    pub fault: Option<Fault>,
    /// The answer is a plugin's.
    pub local: bool,
    pub logged: bool,
    pub told: bool,
    /// None: nobody follows.
    pub trail: Option<Box<Trail>>,
}

impl Ledger for Record {
    fn ended(&mut self, ending: Ending) {
        if let Some(blame) = ending.broken {
            self.fault = Some(blame.into());
            if ending.complete {
                self.stage = Stage::Last;
            }
        }
        self.tell(&ending);
    }
}

impl Drop for Record {
    /// There was nobody left to answer: the client went away, or the connection was cut.
    fn drop(&mut self) {
        if self.told {
            return;
        }
        self.fault = Some(self.link.blamed().into());
        self.tell(&Ending {
            broken: None,
            complete: false,
            at: Instant::now(),
            bytes_out: 0,
            body_bytes_out: 0,
            bytes_in: self.link.body_read(),
        });
    }
}

impl Record {
    /// Of a request whose head came between these times.
    #[inline]
    pub fn new(
        worker: &Rc<Worker>,
        link: Rc<Link>,
        facts: &Rc<ConnectionFacts>,
        generation: Generation,
        head: RequestHead,
        (began, read): (Instant, Instant),
    ) -> Record {
        Record {
            worker: worker.clone(),
            link,
            facts: facts.clone(),
            generation,
            listener: facts.listener.clone(),
            route: None,
            pool: None,
            server: None,
            in_flight: None,
            started: false,
            head,
            target_sent: None,
            host: None,
            request_id: RequestId::fresh([worker.random(), worker.random()]),
            began,
            read,
            queue: None,
            queued: Queued::default(),
            connect: None,
            first_byte: None,
            status: None,
            attempts: 0,
            reasons: Vec::new(),
            notes: Vec::new(),
            trace: None,
            capture: None,
            stage: Stage::Request,
            fault: None,
            local: false,
            logged: true,
            told: false,
            trail: worker.followed.trail(began),
        }
    }

    fn tell(&mut self, ending: &Ending) {
        self.told = true;
        trail::broke_off(
            self.trail.as_deref(),
            self.attempts,
            &self.server,
            self.fault,
        );
        let server = self.in_flight.take().map(InFlight::end);
        let head = &self.head;
        let asked = |text| if self.started { text } else { "" };
        let target = self.target_sent.as_deref().unwrap_or(&head.target);
        let address = server.as_ref().map(|server| &*server.identity().address);
        let captured = self.capture.as_ref();
        let captured = captured.map(|capture| (capture.request(&head.fields), capture.response()));
        let (request_headers, response_headers) = captured.unwrap_or_default();
        self.worker.observer.request_ended(&RequestEnded {
            started: self.started,
            tcp: false,
            generation: self.generation,
            listener: &self.listener,
            route: self.route.as_deref(),
            pool: self.pool.as_deref(),
            server: self.server.as_deref(),
            method: asked(head.method.as_str()),
            target: if self.started { target.as_bytes() } else { &[] },
            host: self.host.as_deref(),
            version: asked(head.version_text()),
            client_address: &self.facts.client_address,
            client_port: &self.facts.client_port,
            peer: self.facts.peer(),
            request_id: self.request_id.as_str(),
            user_agent: head.fields.first_sent(Known::UserAgent),
            referer: head.fields.first_sent(Known::Referer),
            request_headers: &request_headers,
            response_headers: &response_headers,
            trace: self.trace.as_ref().map(|trace| trace.told(address)),
            status: self.status,
            bytes_in: ending.bytes_in,
            bytes_out: ending.bytes_out,
            body_bytes_out: ending.body_bytes_out,
            times: self.times(ending.at),
            attempts: self.attempts,
            queued: self.queued,
            connections: self.worker.open_connections(),
            server_in_flight: server.as_ref().map_or(0, |server| server.inflight()),
            reasons: &self.reasons,
            notes: &self.notes,
            termination: self.letters(),
            fault: self.fault.map(Fault::word),
            logged: self.logged,
            closely: self.trail.as_deref().map(|trail| Closely {
                trail,
                sent: Some(&head.fields),
            }),
        });
    }

    fn times(&self, ended: Instant) -> Times {
        Times {
            head: self.read - self.began,
            queue: self.queue,
            connect: self.connect,
            first_byte: self.first_byte,
            total: ended - self.began,
        }
    }

    fn letters(&self) -> [u8; 2] {
        match self.fault {
            Some(fault) => fault.letters(self.stage),
            None if self.local => *b"LR",
            None => *b"--",
        }
    }
}
