//! A worker: one thread with a current-thread runtime, which owns its connections, its connections to servers, its plugin
//! instances and its counters. Nothing on a request's path crosses threads; what comes from outside comes as a letter.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use http::HeaderValue;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::protocol::Connection;
use super::site::{ListenerSite, Site};
use crate::base::event::{Observer, WorkerObserver};
use crate::base::ids::WorkerId;
use crate::config::checked::ListenerTimeouts;
use crate::hook::ConnectionFacts;
use crate::http::link::{Closing, Timeouts};
use crate::http::{Link, idle, server};
use crate::net::address::canonical;

/// The workers' threads. Dropped, they end: connections that are still open are cut.
pub struct Workers {
    handles: Vec<WorkerHandle>,
    threads: Vec<JoinHandle<()>>,
}

/// A worker's mailbox.
#[derive(Clone)]
pub struct WorkerHandle {
    mail: mpsc::UnboundedSender<Letter>,
    open: Arc<AtomicUsize>,
}

/// Makes a site on its worker; given the one before, if there is one.
pub type MakeSite = Box<dyn FnOnce(Option<&Rc<Site>>) -> Rc<Site> + Send>;

/// Something to be done on the worker.
type Task = Box<dyn FnOnce(&Rc<Worker>) + Send>;

enum Letter {
    Connection(TcpStream, Arc<str>),
    Task(Task),
    Stop,
}

/// What a worker's tasks share.
pub struct Worker {
    pub observer: Box<dyn WorkerObserver>,
    /// Filters' fetches under way.
    pub fetches: Cell<usize>,
    site: RefCell<Rc<Site>>,
    connections: RefCell<HashMap<u64, Open>>,
    next: Cell<u64>,
    /// How connections are let go of, those included that are yet to come.
    draining: Cell<Closing>,
    /// Told when a connection is gone.
    gone: Notify,
    random: Cell<u64>,
    open: Arc<AtomicUsize>,
}

/// A connection, for those who want to end it.
struct Open {
    listener: Rc<str>,
    link: Rc<Link>,
}

impl Workers {
    /// Starts `count` threads. Errors: a thread or its runtime could not be made.
    pub fn spawn(count: usize, observer: Arc<dyn Observer>) -> io::Result<Workers> {
        let mut workers = Workers {
            handles: Vec::new(),
            threads: Vec::new(),
        };
        for id in 0..count as u32 {
            let (mail, letters) = mpsc::unbounded_channel();
            let handle = WorkerHandle {
                mail,
                open: Arc::default(),
            };
            let (open, observer) = (handle.open.clone(), observer.clone());
            let runtime = Builder::new_current_thread();
            let thread = std::thread::Builder::new()
                .name(format!("worker-{id}"))
                .spawn(move || run(runtime, WorkerId(id), letters, open, observer))?;
            workers.handles.push(handle);
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    pub fn handles(&self) -> &[WorkerHandle] {
        &self.handles
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for handle in &self.handles {
            let _ = handle.mail.send(Letter::Stop);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl WorkerHandle {
    /// Gives the worker a new site. Resolves once it runs it: requests that come from then on see the new one.
    pub async fn install(&self, make: MakeSite) {
        self.on_worker(move |worker| worker.install(make)).await;
    }

    /// Runs `f` on the worker, with its current site.
    pub async fn ask<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Rc<Site>) -> T + Send + 'static,
    ) -> T {
        self.on_worker(move |worker| f(&worker.site())).await
    }

    /// Gives the worker a new connection of the listener of that name.
    pub fn connection(&self, socket: TcpStream, listener: Arc<str>) {
        self.open.fetch_add(1, Relaxed);
        if self
            .mail
            .send(Letter::Connection(socket, listener))
            .is_err()
        {
            self.open.fetch_sub(1, Relaxed);
        }
    }

    /// Connections that it has now, those on their way to it included.
    pub fn connections(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Lets go of the connections: idle ones at once, busy ones after their response, tunnels when they end; what is left
    /// at the deadline is cut. Resolves when none is left.
    pub async fn drain(&self, deadline: Duration) {
        let (done, drained) = oneshot::channel();
        self.on_worker(move |worker| {
            worker.close_all(Closing::WhenIdle);
            let worker = worker.clone();
            tokio::task::spawn_local(async move {
                worker.drain(deadline).await;
                let _ = done.send(());
            });
        })
        .await;
        let _ = drained.await;
    }

    /// Resolves never if the worker has ended: nobody is left to answer.
    fn on_worker<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Rc<Worker>) -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        let task = Box::new(move |worker: &Rc<Worker>| drop(answer.send(f(worker))));
        let _ = self.mail.send(Letter::Task(task));
        async move {
            match answered.await {
                Ok(value) => value,
                Err(_) => std::future::pending().await,
            }
        }
    }
}

fn run(
    mut runtime: Builder,
    id: WorkerId,
    mut letters: mpsc::UnboundedReceiver<Letter>,
    open: Arc<AtomicUsize>,
    observer: Arc<dyn Observer>,
) {
    let runtime = match runtime.enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(worker = id.0, %error, "the worker cannot start");
            return;
        }
    };
    runtime.block_on(async move {
        let worker = Rc::new(Worker::new(observer.worker(id), open));
        tokio::task::spawn_local(tidy());
        while let Some(letter) = letters.recv().await {
            match letter {
                Letter::Connection(socket, listener) => worker.connection(socket, &listener),
                Letter::Task(task) => task(&worker),
                Letter::Stop => break,
            }
        }
    });
}

/// What is to be done about once a second.
async fn tidy() {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        idle::sweep();
    }
}

impl Worker {
    pub(super) fn new(observer: Box<dyn WorkerObserver>, open: Arc<AtomicUsize>) -> Worker {
        Worker {
            observer,
            fetches: Cell::new(0),
            site: RefCell::new(Rc::new(Site::empty())),
            connections: RefCell::default(),
            next: Cell::new(0),
            draining: Cell::default(),
            gone: Notify::new(),
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
        // A listener that is gone lets its connections finish what they are at.
        for open in self.connections.borrow().values() {
            if site.listener(&open.listener).is_none() {
                open.link.close(Closing::WhenIdle);
            }
        }
        self.site.replace(site);
    }

    async fn drain(&self, deadline: Duration) {
        if tokio::time::timeout(deadline, self.empty()).await.is_err() {
            self.close_all(Closing::Cut);
            self.empty().await;
        }
    }

    fn close_all(&self, how: Closing) {
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

    fn connection(self: &Rc<Self>, socket: TcpStream, listener: &str) {
        let id = self.next.replace(self.next.get() + 1);
        let listener = Rc::<str>::from(listener);
        let place = Place {
            worker: self.clone(),
            id,
            listener: listener.clone(),
        };
        self.observer.connection_opened(&listener);
        if self.draining.get() == Closing::Cut {
            return;
        }
        let (socket, connection) = match self.prepare(socket, listener) {
            Ok(prepared) => prepared,
            // It was gone before it came here.
            Err(error) => return tracing::debug!(%error, "an accepted connection was lost"),
        };
        let open = Open {
            listener: connection.listener.clone(),
            link: connection.link.clone(),
        };
        self.connections.borrow_mut().insert(id, open);
        tokio::task::spawn_local(async move {
            server::serve(socket, connection.link.clone(), Rc::new(connection)).await;
            drop(place);
        });
    }

    fn prepare(
        self: &Rc<Self>,
        socket: TcpStream,
        listener: Rc<str>,
    ) -> io::Result<(tokio::net::TcpStream, Connection)> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let (client, local) = (
            canonical(socket.peer_addr()?),
            canonical(socket.local_addr()?),
        );
        let socket = tokio::net::TcpStream::from_std(socket)?;
        let site = self.site();
        let address = client.ip().to_string();
        let connection = Connection {
            worker: self.clone(),
            link: Rc::new(Link::new(timeouts(site.listener(&listener)))),
            peer: HeaderValue::from_str(&address).expect("an address is digits and dots"),
            facts: Rc::new(ConnectionFacts {
                client,
                client_address: address.into(),
                client_port: client.port().to_string().into(),
                local,
                listener: (*listener).into(),
                tls: None,
            }),
            listener,
        };
        Ok((socket, connection))
    }
}

/// A listener that is gone has none, nor needs them: the connection is closed after one answer.
fn timeouts(listener: Option<&ListenerSite>) -> Timeouts {
    let of = |of: fn(&ListenerTimeouts) -> Duration| {
        listener.map_or(Duration::from_secs(10), |listener| of(&listener.timeouts))
    };
    Timeouts {
        head: of(|t| t.request_head),
        idle: of(|t| t.idle),
        body: of(|t| t.body),
    }
}

/// A connection's place on its worker, given up however it ends.
struct Place {
    worker: Rc<Worker>,
    id: u64,
    listener: Rc<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(&self.id);
        self.worker.observer.connection_closed(&self.listener);
        self.worker.open.fetch_sub(1, Relaxed);
        self.worker.gone.notify_waiters();
    }
}
