//! The workers' threads and their mailboxes: what comes to a worker from outside comes as a letter.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, LocalOptions};
use tokio::sync::{mpsc, oneshot};

use super::explain::{Explained, Question, explain};
use super::gate::Pass;
use super::site::Site;
use super::worker::{MakeSite, Worker, tidy};
use crate::base::event::Observer;
use crate::base::ids::{Slot, WorkerId};
use crate::http::h2::mux;
use crate::http::idle;
use crate::http::link::Closing;
use crate::net::Accepted;

/// Turns of tasks before the sockets are looked at again while there are tasks that can go on. One look finds what comes to some
/// hundred connections; tokio's own 61 turns make each of them several looks, for 3 to 5 % of a request's CPU time over HTTP/2.
const TURNS_A_LOOK: u32 = 512;

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
    /// Once it has begun.
    runtime: Arc<OnceLock<Handle>>,
}

/// Something to be done on the worker.
type Task = Box<dyn FnOnce(&Rc<Worker>) + Send>;

enum Letter {
    Connection(Accepted, Arc<str>, Pass),
    Task(Task),
    Stop,
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
                runtime: Arc::default(),
            };
            let (open, observer) = (handle.open.clone(), observer.clone());
            let known = handle.runtime.clone();
            let mut runtime = Builder::new_current_thread();
            runtime.event_interval(TURNS_A_LOOK);
            let thread = std::thread::Builder::new()
                .name(format!("worker-{id}"))
                .spawn(move || {
                    let begun = |handle: &Handle| drop(known.set(handle.clone()));
                    run(runtime, WorkerId(id), letters, open, observer, begun);
                })?;
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

    /// What would become of a request now. Err: it can't be one, and why.
    pub async fn explain(&self, question: Question) -> Result<Explained, String> {
        self.on_worker(move |worker| explain(worker, &question))
            .await
    }

    /// Has the worker close its connections to servers that are idle.
    pub fn let_go_of_idle(&self) {
        let task: Task = Box::new(|_| {
            mux::let_go();
            idle::let_go();
        });
        let _ = self.mail.send(Letter::Task(task));
    }

    /// Tells the worker that a server was found down: connections that are to end with it are reset.
    pub fn server_is_down(&self, server: Slot) {
        let task: Task = Box::new(move |worker| worker.server_is_down(server));
        let _ = self.mail.send(Letter::Task(task));
    }

    /// Gives the worker a new connection of the listener of that name.
    pub fn connection(&self, socket: Accepted, listener: Arc<str>, pass: Pass) {
        self.open.fetch_add(1, Relaxed);
        let letter = Letter::Connection(socket, listener, pass);
        if self.mail.send(letter).is_err() {
            self.open.fetch_sub(1, Relaxed);
        }
    }

    /// Connections that it has now, those on their way to it included.
    pub fn connections(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Its tasks, and those of them that wait for it after somebody outside has woken them.
    pub fn tasks(&self) -> (usize, usize) {
        let metrics = self.runtime.get().map(Handle::metrics);
        metrics.map_or((0, 0), |metrics| {
            (metrics.num_alive_tasks(), metrics.global_queue_depth())
        })
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
    begun: impl FnOnce(&Handle),
) {
    let runtime = match runtime.enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(worker = id.0, %error, "the worker cannot start");
            return;
        }
    };
    begun(runtime.handle());
    runtime.block_on(async move {
        let worker = Rc::new(Worker::new(observer.worker(id), open));
        tokio::task::spawn_local(tidy());
        tokio::task::spawn_local(crate::http::timers::run());
        while let Some(letter) = letters.recv().await {
            match letter {
                Letter::Connection(socket, listener, pass) => {
                    worker.connection(socket, &listener, pass);
                }
                Letter::Task(task) => guarded(|| task(&worker)),
                Letter::Stop => break,
            }
        }
    });
}

/// A bug in what is asked of a worker must not take its connections along.
fn guarded(task: impl FnOnce()) {
    if std::panic::catch_unwind(AssertUnwindSafe(task)).is_err() {
        tracing::error!("a task on a worker has panicked; whoever asked for it waits in vain");
    }
}
