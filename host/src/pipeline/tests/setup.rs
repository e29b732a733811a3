//! A proxy for a test: workers, one listener, pools of origins, closures for plugins.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::events::Events;
use super::{Client, within};
use crate::base::ids::{Generation, PoolIndex, Slot};
use crate::config::checked::{ListenerTimeouts, Network, OnFailure, OnMarkedDown, PoolTimeouts};
use crate::hook::{Balancer, Failure, RequestFilter, RequestView, ResponseFilter, Router, Sticky};
use crate::pipeline::{
    Bounds, Entrance, Filter, Gates, ListenerSite, PoolSite, RouteSite, ServerSite, Site, Workers,
    accept,
};
use crate::upstream::LiveTable;
use crate::upstream::live::Identity;

/// What a site is made of, in a form that crosses threads. Plugins are functions, for those do too.
#[derive(Clone)]
pub struct Setup {
    pub pools: Vec<(&'static str, Vec<SocketAddr>)>,
    pub listener: &'static str,
    pub filters: Vec<Part>,
    pub router: Option<fn() -> Box<dyn Router>>,
    pub routes: Vec<Routed>,
    pub pool: Option<u32>,
    pub balancer: fn() -> Box<dyn Balancer>,
    pub sticky: Option<fn() -> Rc<dyn Sticky>>,
    pub retries: u32,
    pub weights: Vec<u32>,
    pub backups: Vec<bool>,
    pub timeouts: ListenerTimeouts,
    pub abort_on_close: bool,
    pub entrance: fn() -> Entrance,
    pub on_marked_down: OnMarkedDown,
    pub pool_timeouts: PoolTimeouts,
    pub trusted: Vec<Network>,
    pub hold: Arc<()>,
    pub generation: u64,
    pub live: Arc<LiveTable>,
    pub bounds: Bounds,
    pub max_head: usize,
    pub min_body_rate: u64,
}

/// A route: its name, its filters, its pools with their weights.
pub type Routed = (&'static str, Vec<Part>, Vec<(u32, u32)>);

#[derive(Clone, Copy)]
pub struct Part {
    pub name: &'static str,
    pub request: Option<fn() -> Rc<dyn RequestFilter>>,
    pub response: Option<fn() -> Rc<dyn ResponseFilter>>,
    pub on_failure: OnFailure,
}

pub struct Proxy {
    pub address: SocketAddr,
    pub events: Events,
    pub workers: Arc<Workers>,
    pub gates: Gates,
    setup: Setup,
    accepting: JoinHandle<()>,
}

const LONG: Duration = Duration::from_secs(60);

/// A balancer that always fails: the native round robin decides.
pub fn native() -> Box<dyn Balancer> {
    Box::new(|_: PoolIndex, _: &dyn RequestView, _: u64, _: &[Slot]| Err(Failure::Failed))
}

impl Setup {
    /// One pool, `app`, of these origins.
    pub fn with(origins: &[SocketAddr]) -> Setup {
        Setup {
            pools: vec![("app", origins.to_vec())],
            listener: "web",
            filters: Vec::new(),
            router: None,
            routes: Vec::new(),
            pool: Some(0),
            balancer: native,
            sticky: None,
            retries: 2,
            weights: Vec::new(),
            backups: Vec::new(),
            abort_on_close: false,
            entrance: Entrance::default,
            on_marked_down: OnMarkedDown::Keep,
            timeouts: ListenerTimeouts {
                handshake: LONG,
                request_head: LONG,
                idle: LONG,
                body: LONG,
                rate_grace: LONG,
                tunnel: LONG,
            },
            pool_timeouts: PoolTimeouts {
                connect: LONG,
                send: LONG,
                first_byte: LONG,
                between_bytes: LONG,
                queue: LONG,
                total: Duration::ZERO,
            },
            trusted: Vec::new(),
            hold: Arc::new(()),
            generation: 1,
            live: LiveTable::with_capacity(64),
            bounds: Bounds::default(),
            max_head: 32 << 10,
            min_body_rate: 0,
        }
    }

    pub async fn start(self) -> Proxy {
        let events = Events::new();
        let workers = Arc::new(Workers::spawn(2, Arc::new(events.clone())).unwrap());
        let socket = crate::net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local().unwrap();
        for worker in workers.handles() {
            let setup = self.clone();
            worker
                .install(Box::new(move |_| Rc::new(setup.site())))
                .await;
        }
        let gates = Gates::new(usize::MAX);
        gates.set(vec![(self.listener, self.bounds.clone())]);
        let gate = gates.gate(self.listener);
        let accepting = accept(socket, gate, workers.handles().to_vec());
        Proxy {
            address,
            events,
            workers,
            gates,
            setup: self,
            accepting: tokio::spawn(accepting),
        }
    }

    pub fn site(self) -> Site {
        let pools = self
            .pools
            .iter()
            .map(|(name, servers)| self.pool(name, servers))
            .collect();
        let routes = self.routes.iter().map(|(name, filters, pools)| RouteSite {
            name: (*name).into(),
            filters: filters.iter().map(Part::filter).collect(),
            pools: pools
                .iter()
                .map(|(pool, weight)| (PoolIndex(*pool), *weight))
                .collect(),
            access_log: true,
        });
        Site {
            generation: Generation(self.generation),
            listeners: vec![ListenerSite {
                http2: Some(crate::http::h2::Settings {
                    max_streams: 100,
                    window: 64 << 10,
                }),
                name: self.listener.into(),
                filters: self.filters.iter().map(Part::filter).collect(),
                router: self.router.map(|router| ("router".into(), router().into())),
                pool: self.pool.map(PoolIndex),
                max_head: self.max_head,
                min_body_rate: self.min_body_rate,
                max_body: 0,
                compression: None,
                error_pages: Vec::new(),
                timeouts: self.timeouts.clone(),
                abort_on_close: self.abort_on_close,
                tls: None,
                entrance: (self.entrance)(),
            }],
            routes: routes.collect(),
            pools,
            trusted_proxies: self.trusted.clone(),
            sampling: None,
            captures: None,
            drain_timeout: std::time::Duration::ZERO,
            retry_bodies: 0,
            hold: Box::new(self.hold.clone()),
        }
    }

    fn pool(&self, name: &str, servers: &[SocketAddr]) -> PoolSite {
        let servers = servers.iter().enumerate().map(|(at, address)| {
            let name = format!("s{at}");
            let identity = Identity {
                pool: "app".into(),
                name: name.clone(),
                address: address.to_string(),
            };
            ServerSite {
                live: self.live.server(identity).unwrap(),
                name: name.as_str().into(),
                address: address.to_string().into(),
                host: None,
                weight: self.weights.get(at).copied().unwrap_or(1),
                backup: self.backups.get(at).copied().unwrap_or(false),
                tls: None,
                http2: false,
            }
        });
        let balancer = ("balancer".into(), (self.balancer)().into());
        let mut pool = PoolSite::new(
            name.into(),
            balancer,
            servers.collect(),
            self.pool_timeouts.clone(),
            self.retries,
        );
        pool.on_marked_down = self.on_marked_down;
        match self.sticky {
            Some(sticky) => pool.with_sticky("sticky".into(), sticky()),
            None => pool,
        }
    }
}

impl Part {
    pub fn request(name: &'static str, make: fn() -> Rc<dyn RequestFilter>) -> Part {
        Part {
            name,
            request: Some(make),
            response: None,
            on_failure: OnFailure::Reject,
        }
    }

    pub fn response(name: &'static str, make: fn() -> Rc<dyn ResponseFilter>) -> Part {
        Part {
            name,
            request: None,
            response: Some(make),
            on_failure: OnFailure::Reject,
        }
    }

    fn filter(&self) -> Filter {
        Filter {
            name: self.name.into(),
            request: self.request.map(|make| make()),
            response: self.response.map(|make| make()),
            on_failure: self.on_failure,
        }
    }
}

impl Proxy {
    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// One request on a connection of its own.
    pub async fn get(&self, path: &str) -> super::client::Got {
        self.client().await.get(path).await
    }

    /// Another generation on every worker.
    pub async fn install(&self, change: impl Fn(&mut Setup)) {
        let mut setup = self.setup.clone();
        setup.generation += 1;
        setup.hold = Arc::new(());
        change(&mut setup);
        for worker in self.workers.handles() {
            let setup = setup.clone();
            within(
                "a site to be installed",
                worker.install(Box::new(move |_| Rc::new(setup.site()))),
            )
            .await;
        }
    }

    /// How often the first generation is held, this test's own hold aside.
    pub fn holds(&self) -> usize {
        Arc::strong_count(&self.setup.hold) - 1
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
