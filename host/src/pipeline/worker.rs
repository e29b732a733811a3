//! A worker: one thread with a current-thread runtime, which owns its connections, its connections to servers, its plugin
//! instances and its counters. Nothing on a request's path crosses threads.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::arrive::arrive;
use super::gate::Pass;
use super::site::Site;
use crate::base::event::WorkerObserver;
use crate::base::ids::Slot;
use crate::base::trail::Followed;
use crate::http::h2 as http2;
use crate::http::link::{Blame, Closing};
use crate::http::{Link, idle};
use crate::net::Accepted;

/// Makes a site on its worker; given the one before, if there is one.
pub type MakeSite = Box<dyn FnOnce(Option<&Rc<Site>>) -> Rc<Site> + Send>;

/// What a worker's tasks share.
pub struct Worker {
    pub observer: Box<dyn WorkerObserver>,
    /// Whether what begins is to have a trail.
    pub followed: Arc<Followed>,
    /// Filters' fetches under way.
    pub fetches: Cell<usize>,
    site: RefCell<Rc<Site>>,
    connections: RefCell<HashMap<u64, Open>>,
    next: Cell<u64>,
    /// How connections are let go of, those included that are yet to come.
    draining: Cell<Closing>,
    /// Told when a connection is gone.
    gone: Notify,
    /// Those that end with their server, by server.
    sessions: RefCell<HashMap<Slot, HashMap<u64, Rc<Link>>>>,
    random: Cell<u64>,
    open: Arc<AtomicUsize>,
}

/// A connection, for those who want to end it.
struct Open {
    listener: Rc<str>,
    link: Rc<Link>,
}

/// What is to be done about once a second.
pub(super) async fn tidy() {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        idle::sweep();
        http2::mux::sweep();
    }
}

async fn cut(links: Vec<Weak<Link>>, after: Duration) {
    tokio::time::sleep(after).await;
    for link in links.iter().filter_map(Weak::upgrade) {
        link.close(Closing::Cut);
    }
}

impl Worker {
    pub(super) fn new(observer: Box<dyn WorkerObserver>, open: Arc<AtomicUsize>) -> Worker {
        Worker {
            followed: observer.followed(),
            observer,
            fetches: Cell::new(0),
            site: RefCell::new(Rc::new(Site::empty())),
            connections: RefCell::default(),
            next: Cell::new(0),
            draining: Cell::default(),
            gone: Notify::new(),
            sessions: RefCell::default(),
            random: Cell::new(RandomState::new().build_hasher().finish()),
            open,
        }
    }

    pub fn site(&self) -> Rc<Site> {
        self.site.borrow().clone()
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get() > Closing::No
    }

    pub fn open_connections(&self) -> u32 {
        self.connections.borrow().len() as u32
    }

    /// Fast, and not for secrets (SplitMix64).
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn install(&self, make: MakeSite) {
        let before = self.site();
        let first = before.generation.0 == 0;
        let site = make((!first).then_some(&before));
        self.retire(&site);
        self.site.replace(site);
    }

    /// A listener that is gone lets its connections finish what they are at, until the drain timeout.
    fn retire(&self, site: &Site) {
        let connections = self.connections.borrow();
        let of_the_gone = connections.values().filter(|open| {
            open.link.closing() == Closing::No && site.listener(&open.listener).is_none()
        });
        let gone: Vec<_> = of_the_gone
            .map(|open| {
                open.link.close(Closing::WhenIdle);
                Rc::downgrade(&open.link)
            })
            .collect();
        if !gone.is_empty() {
            tokio::task::spawn_local(cut(gone, site.drain_timeout));
        }
    }

    pub(super) async fn drain(&self, deadline: Duration) {
        if tokio::time::timeout(deadline, self.empty()).await.is_err() {
            self.close_all(Closing::Cut);
            self.empty().await;
        }
    }

    pub(super) fn close_all(&self, how: Closing) {
        self.draining.set(self.draining.get().max(how));
        for open in self.connections.borrow().values() {
            open.link.close(how);
        }
    }

    async fn empty(&self) {
        while self.open.load(Relaxed) > 0 {
            self.gone.notified().await;
        }
    }

    /// Resets the connections that are to end with this server.
    pub(super) fn server_is_down(&self, server: Slot) {
        let sessions = self.sessions.borrow();
        for link in sessions.get(&server).into_iter().flat_map(HashMap::values) {
            link.blame(Blame::ServerDown);
            link.close(Closing::Cut);
        }
    }

    /// A connection that has been let in.
    pub(super) fn connection(self: &Rc<Self>, socket: Accepted, listener: &str, pass: Pass) {
        let id = self.next.replace(self.next.get() + 1);
        let site = self.site();
        // The name is the site's own string, as long as the site has it.
        let known = site.listener(listener).map(|known| known.name.clone());
        let listener = known.unwrap_or_else(|| listener.into());
        let place = Place {
            worker: self.clone(),
            id,
            listener: listener.clone(),
            pass,
        };
        self.observer.connection_opened(&listener);
        if self.draining.get() == Closing::Cut {
            return;
        }
        // It was gone before it came here.
        if let Err(error) = arrive(self, site, socket, place) {
            tracing::debug!(%error, "an accepted connection was lost");
        }
    }
}

/// A connection's place on its worker, given up however it ends.
pub struct Place {
    worker: Rc<Worker>,
    id: u64,
    listener: Rc<str>,
    pass: Pass,
}

impl Place {
    pub fn listener(&self) -> &Rc<str> {
        &self.listener
    }

    /// It is this client's from here on. False: one too many of its.
    pub fn belongs_to(&mut self, client: IpAddr) -> bool {
        self.pass.rename(client)
    }

    /// From here on the connection ends when the worker wants it to.
    pub fn occupy(&self, link: &Rc<Link>) {
        let open = Open {
            listener: self.listener.clone(),
            link: link.clone(),
        };
        self.worker.connections.borrow_mut().insert(self.id, open);
    }
}

/// A connection that ends with its server, as long as this lives.
pub struct Bond {
    worker: Rc<Worker>,
    id: u64,
    server: Slot,
}

impl Place {
    pub fn bind_to(&self, server: Slot, link: &Rc<Link>) -> Bond {
        let mut sessions = self.worker.sessions.borrow_mut();
        let of_server = sessions.entry(server).or_default();
        of_server.insert(self.id, link.clone());
        Bond {
            worker: self.worker.clone(),
            id: self.id,
            server,
        }
    }
}

impl Drop for Bond {
    fn drop(&mut self) {
        let mut sessions = self.worker.sessions.borrow_mut();
        if let Some(of_server) = sessions.get_mut(&self.server) {
            of_server.remove(&self.id);
            if of_server.is_empty() {
                sessions.remove(&self.server);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(&self.id);
        self.worker.observer.connection_closed(&self.listener);
        self.worker.open.fetch_sub(1, Relaxed);
        self.worker.gone.notify_waiters();
    }
}
