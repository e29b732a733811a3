//! One generation of the configuration as one worker needs it: every name looked up, every plugin instance at hand.

use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::{Generation, PoolIndex, RouteIndex, Slot};
use crate::config::checked::{
    self, Captures, Compression, ErrorPage, ListenerTimeouts, Network, OnFailure, OnMarkedDown,
    Passive, PoolTimeouts, Retry, Sampling, WhenFull,
};
use crate::hook;
use crate::http::Link;
use crate::http::h2::{self as http2, mux::Mux};
use crate::http::idle::{self, Idle};
use crate::net::{self, proxy};
use crate::tls;
use crate::upstream::{self, live::InFlight};

use super::entrance::Entrance;
use super::fetch::Breaker;

/// One generation on one worker. A request holds it until its response's head is sent.
pub struct Site {
    pub generation: Generation,
    pub listeners: Vec<ListenerSite>,
    /// By `RouteIndex`.
    pub routes: Vec<RouteSite>,
    /// By `PoolIndex`.
    pub pools: Vec<PoolSite>,
    /// Peers whose forwarding fields are believed.
    pub trusted_proxies: Vec<Network>,
    /// Which requests are traced; None: none is.
    pub sampling: Option<Sampling>,
    /// Headers that the access log wants; None: none.
    pub captures: Option<Rc<Captures>>,
    /// How long connections of listeners that are gone may take to end.
    pub drain_timeout: Duration,
    /// Bytes of bodies that are kept for another attempt, of all requests of the process.
    pub retry_bodies: usize,
    /// Whatever its builder wants to live as long.
    pub hold: Box<dyn Any>,
}

/// A plugin in a chain of filters, in one or both roles.
pub struct Filter {
    pub name: Rc<str>,
    pub request: Option<Rc<dyn hook::RequestFilter>>,
    pub response: Option<Rc<dyn hook::ResponseFilter>>,
    pub on_failure: OnFailure,
}

pub struct ListenerSite {
    pub name: Rc<str>,
    pub filters: Vec<Filter>,
    pub router: Option<(Rc<str>, Rc<dyn hook::Router>)>,
    /// Where requests go that no route takes. None: 404.
    pub pool: Option<PoolIndex>,
    /// Bytes of a request's head.
    pub max_head: usize,
    /// Bytes a second; 0: none.
    pub min_body_rate: u64,
    /// Bytes of a request's body; 0: no bound.
    pub max_body: u64,
    pub compression: Option<Compression>,
    pub error_pages: Vec<ErrorPage>,
    pub timeouts: ListenerTimeouts,
    /// None: HTTP/2 is not served.
    pub http2: Option<http2::Settings>,
    /// Whether a client that has closed its sending side is taken for gone.
    pub abort_on_close: bool,
    /// None: plain.
    pub tls: Option<Arc<tls::Server>>,
    /// What its connections pass before their first request.
    pub entrance: Entrance,
}

pub struct RouteSite {
    pub name: Rc<str>,
    pub filters: Vec<Filter>,
    /// One pool, or several with their weights. Empty: the listener's.
    pub pools: Vec<(PoolIndex, u32)>,
    pub access_log: bool,
}

pub struct ServerSite {
    pub live: Arc<upstream::Server>,
    pub name: Rc<str>,
    /// `IP:port`, or `unix:PATH`.
    pub address: Rc<str>,
    /// `host:port` as it is written, where that is a name.
    pub host: Option<Rc<str>>,
    /// 0: takes no new users.
    pub weight: u32,
    /// Only for when no other server can be used.
    pub backup: bool,
    /// None: plain.
    pub tls: Option<Arc<tls::Connector>>,
    /// It is spoken to in HTTP/2.
    pub http2: bool,
}

pub struct PoolSite {
    pub name: Rc<str>,
    pub balancer: (Rc<str>, Rc<dyn hook::Balancer>),
    /// Brings users back to their server.
    pub sticky: Option<(Rc<str>, Rc<dyn hook::Sticky>)>,
    pub timeouts: PoolTimeouts,
    /// Attempts after the first.
    pub retries: u32,
    /// After what there is another.
    pub(super) retry: Arc<Retry>,
    /// Of these, what every request is asked about.
    pub(super) keeps_bodies: bool,
    pub(super) retries_answers: bool,
    /// What makes a server a suspect.
    pub passive: Option<Arc<Passive>>,
    pub on_marked_down: OnMarkedDown,
    /// Some server may have no place for a request. None: they take all that come.
    pub limits: Option<Box<Limits>>,
    members: Vec<Member>,
    /// Slots in order, each with its server's place in `members`.
    slots: Vec<(Slot, u32)>,
    /// Places in `members` by name, where there is `sticky`.
    names: HashMap<Rc<str>, u32>,
    /// Where native round robin goes on.
    turn: Cell<usize>,
    /// Another site has come, whose servers its balancer knows.
    pub(super) retired: Cell<bool>,
    pub(super) breaker: Breaker,
}

/// How a pool's servers are held to what they may have.
pub struct Limits {
    pub when_full: WhenFull,
    /// Who may wait in one line; 0: any number.
    pub max_queue: usize,
    /// Some server has a number of places; None: there are but trials, for which nobody waits.
    pub crew: Option<Arc<upstream::Crew>>,
}

/// A server as the steps use it.
pub(super) struct Member {
    pub live: Arc<upstream::Server>,
    pub name: Rc<str>,
    pub address: Rc<str>,
    host: Option<Rc<str>>,
    pub tls: Option<Arc<tls::Connector>>,
    /// What tells its connections from those to other places, or made otherwise.
    place: Rc<str>,
    /// This worker's idle connections to it; where they carry a PROXY line, those that were made for no client.
    pub idle: Rc<Idle>,
    /// Those that requests share, where it is spoken to in HTTP/2.
    pub mux: Option<Rc<Mux>>,
    /// The PROXY line that it gets.
    pub proxy: Option<proxy::Version>,
    has_weight: bool,
    backup: bool,
}

impl Site {
    /// What a worker has before it is given anything.
    pub(super) fn empty() -> Site {
        Site {
            generation: Generation(0),
            listeners: Vec::new(),
            routes: Vec::new(),
            pools: Vec::new(),
            trusted_proxies: Vec::new(),
            sampling: None,
            captures: None,
            drain_timeout: Duration::ZERO,
            retry_bodies: 0,
            hold: Box::new(()),
        }
    }

    /// Another one is about to take its place; requests that hold it finish by it.
    pub fn retire(&self) {
        self.pools.iter().for_each(|pool| pool.retired.set(true));
    }

    pub fn listener(&self, name: &str) -> Option<&ListenerSite> {
        self.listeners
            .iter()
            .find(|listener| &*listener.name == name)
    }

    pub fn route(&self, index: RouteIndex) -> Option<&RouteSite> {
        self.routes.get(index.0 as usize)
    }

    pub fn pool(&self, index: PoolIndex) -> Option<&PoolSite> {
        self.pools.get(index.0 as usize)
    }
}

impl PoolSite {
    pub fn new(
        name: Rc<str>,
        balancer: (Rc<str>, Rc<dyn hook::Balancer>),
        servers: Vec<ServerSite>,
        timeouts: PoolTimeouts,
        retries: u32,
    ) -> PoolSite {
        let members: Vec<_> = servers.into_iter().map(Member::from).collect();
        let mut slots: Vec<_> = (0..)
            .zip(&members)
            .map(|(at, member)| (member.live.slot(), at))
            .collect();
        slots.sort_unstable();
        PoolSite {
            name,
            balancer,
            sticky: None,
            timeouts,
            retries,
            retry: Arc::default(),
            keeps_bodies: false,
            retries_answers: false,
            passive: None,
            on_marked_down: OnMarkedDown::Keep,
            limits: None,
            members,
            slots,
            names: HashMap::new(),
            turn: Cell::new(0),
            retired: Cell::new(false),
            breaker: Breaker::default(),
        }
    }

    pub fn with_sticky(mut self, name: Rc<str>, plugin: Rc<dyn hook::Sticky>) -> PoolSite {
        self.sticky = Some((name, plugin));
        let names = self.members.iter().map(|member| member.name.clone());
        self.names = names.zip(0..).collect();
        self
    }

    pub fn with_retry(mut self, retry: Arc<Retry>) -> PoolSite {
        self.keeps_bodies = retry.body > 0;
        self.retries_answers = !retry.statuses.is_empty();
        self.retry = retry;
        self
    }

    /// As the configuration has them.
    pub fn with_limits(mut self, pool: &checked::Pool) -> PoolSite {
        let counted = pool.servers.iter().any(|server| server.max_connections > 0);
        let tried = pool.passive.as_ref().is_some_and(|rules| rules.trials > 0);
        let first = self.members.first().filter(|_| counted);
        let limits = Limits {
            when_full: pool.when_full,
            max_queue: pool.max_queue,
            crew: first.map(|member| member.live.crew().clone()),
        };
        self.limits = (counted || tried).then(|| Box::new(limits));
        self
    }

    /// Leave for another attempt, where the pool has a budget for such; `Err`: there is none left.
    pub(super) fn retry(&self) -> Result<Option<upstream::Retrying>, ()> {
        let (Some(rule), Some(first)) = (&self.retry.budget, self.members.first()) else {
            return Ok(None);
        };
        let in_flight = self.members.iter().map(|m| u64::from(m.live.inflight()));
        let leave = first.live.crew().retry(rule, in_flight.sum());
        leave.map(Some).ok_or(())
    }

    /// Room to keep a body of so many bytes, where all such in the process come to no more than `most`.
    pub(super) fn room_for_body(&self, bytes: usize, most: usize) -> Option<upstream::Room> {
        let crew = self.members.first()?.live.crew();
        crew.room_for_body(bytes, most)
    }

    /// The next server in turn that has a place, and the place.
    pub(super) fn in_turn_with_room(&self, tried: &[Slot]) -> Option<(&Member, InFlight)> {
        let count = self.members.len();
        let usable = |member: &Member| member.takes_users() && !tried.contains(&member.live.slot());
        let backups = !self.members.iter().any(|m| !m.backup && usable(m));
        let from = self.turn.get();
        for at in (0..count).map(|step| (from + step) % count) {
            let member = &self.members[at];
            if member.backup == backups
                && usable(member)
                && let Some(place) = member.live.admit()
            {
                self.turn.set((at + 1) % count);
                return Some((member, place));
            }
        }
        None
    }

    /// Whether a server may have a place sooner or later.
    pub(super) fn may_have_room(&self, tried: &[Slot]) -> bool {
        self.members.iter().any(|member| {
            let there = member.live.vitals.state() == hook::ServerState::Ready;
            there && member.has_weight && !tried.contains(&member.live.slot())
        })
    }

    /// It is a backup, and not its turn: a server that is none may be used, though it may be full.
    pub(super) fn is_spare(&self, member: &Member, tried: &[Slot]) -> bool {
        let usable = |other: &Member| {
            !other.backup && other.takes_users() && !tried.contains(&other.live.slot())
        };
        member.backup && self.members.iter().any(usable)
    }

    /// The server of that name. Only a pool with `sticky` knows them.
    pub(super) fn named(&self, name: &str) -> Option<&Member> {
        self.members.get(*self.names.get(name)? as usize)
    }

    /// Its servers get such a line before anything else.
    pub fn with_proxy_lines(mut self, version: Option<proxy::Version>) -> PoolSite {
        for member in &mut self.members {
            member.proxy = version;
            if version.is_some() {
                member.idle = idle::to(&format!("{} for nobody", member.place).into());
            }
        }
        self
    }

    /// The server in that slot. None: it is not of this pool.
    pub(super) fn member(&self, slot: Slot) -> Option<&Member> {
        let at = self
            .slots
            .binary_search_by_key(&slot, |(slot, _)| *slot)
            .ok()?;
        self.members.get(self.slots[at].1 as usize)
    }

    /// The next eligible server in turn; backups only when there is no other.
    pub(super) fn in_turn(&self, tried: &[Slot]) -> Option<&Member> {
        let count = self.members.len();
        let next = |backup: bool| {
            let mut places = (0..count).map(|step| (self.turn.get() + step) % count);
            places.find(|at| {
                let member = &self.members[*at];
                member.backup == backup
                    && member.takes_users()
                    && !tried.contains(&member.live.slot())
            })
        };
        let at = next(false).or_else(|| next(true))?;
        self.turn.set((at + 1) % count);
        Some(&self.members[at])
    }
}

impl Member {
    /// Whether those who were here before may come back: to one that drains they may, to one that is down they can't.
    pub fn keeps_users(&self) -> bool {
        matches!(
            self.live.vitals.state(),
            hook::ServerState::Ready | hook::ServerState::Drain
        )
    }

    /// Where connections to it wait that a request of this client may use: with a PROXY line they are the client's alone.
    pub fn idle_for(&self, link: &Link) -> Rc<Idle> {
        match self.proxy {
            None => self.idle.clone(),
            Some(_) => link.own_idle(&self.place),
        }
    }

    /// A Host for those who name none.
    pub fn host(&self) -> &str {
        match self.address.starts_with(net::dial::UNIX) {
            true => "localhost",
            false => self.host.as_deref().unwrap_or(&self.address),
        }
    }

    pub fn takes_users(&self) -> bool {
        self.has_weight && self.live.vitals.is_ready()
    }
}

impl From<ServerSite> for Member {
    fn from(server: ServerSite) -> Member {
        // Connections under other TLS settings, or plain ones, are others' though the address be the same.
        let place = match &server.tls {
            None => server.address.clone(),
            // One name may stand for many of them.
            Some(tls) => format!("{} {}", tls.identity(), server.address).into(),
        };
        Member {
            live: server.live,
            name: server.name,
            idle: idle::to(&place),
            mux: server.http2.then(|| http2::mux::to(&place)),
            place,
            tls: server.tls,
            proxy: None,
            address: server.address,
            host: server.host,
            has_weight: server.weight > 0,
            backup: server.backup,
        }
    }
}
