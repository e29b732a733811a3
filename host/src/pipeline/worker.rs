//! A worker: one thread with a current-thread runtime, which owns its connections, its connections to servers, its plugin
//! instances and its counters. Nothing on a request's path crosses threads; what comes from outside comes as a letter.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};

use super::site::Site;
use crate::base::event::{Observer, WorkerObserver};
use crate::base::ids::WorkerId;

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

enum Letter {
    Connection(TcpStream, Arc<str>),
    Task(Box<dyn FnOnce(&Rc<Worker>) + Send>),
    Stop,
}

/// What a worker's tasks share.
pub(super) struct Worker {
    pub(super) observer: Box<dyn WorkerObserver>,
    site: RefCell<Rc<Site>>,
    draining: Cell<bool>,
    open: Arc<AtomicUsize>,
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
    pub async fn drain(&self, _deadline: Duration) {
        self.on_worker(|worker| worker.draining.set(true)).await;
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
        let worker = Rc::new(Worker {
            observer: observer.worker(id),
            site: RefCell::new(Rc::new(Site::empty())),
            draining: Cell::new(false),
            open,
        });
        while let Some(letter) = letters.recv().await {
            match letter {
                Letter::Connection(socket, listener) => worker.connection(socket, &listener),
                Letter::Task(task) => task(&worker),
                Letter::Stop => break,
            }
        }
    });
}

impl Worker {
    pub(super) fn site(&self) -> Rc<Site> {
        self.site.borrow().clone()
    }

    fn install(&self, make: MakeSite) {
        let before = self.site();
        let first = before.generation.0 == 0;
        let site = make((!first).then_some(&before));
        self.site.replace(site);
    }

    fn connection(self: &Rc<Self>, _socket: TcpStream, _listener: &str) {
        self.open.fetch_sub(1, Relaxed);
    }
}
