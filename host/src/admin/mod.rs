//! The admin surface over HTTP: health, metrics and status for everyone who may reach the port, and the changes for who
//! holds the token. It runs on a thread and runtime of its own, so that neither a slow reader of `/metrics` nor a large
//! upload takes time from a worker; it knows the proxy only through [`Proxy`], which `control` implements.
//!
//! | file | what it does |
//! |---|---|
//! | `guard` | who may ask: Host, Origin, token |
//! | `routes` | what is answered |
//! | `answer` | how an answer and an error look |
//! | `explain` | a URL becomes a question |
//! | `tap` | requests followed live |
//! | `exposition` | in which format metrics are told |
//! | `page` | the page on `/` |
//! | `socket` | bounds on connections |
//! | `entry` | the Unix socket: HTTP there too, or HAProxy's runtime commands |
//! | `words` | those commands |
//! | `samples` | what the metrics say, for those tables |
//! | `stat` | what runs, in the tables that HAProxy's tools read |

mod answer;
mod entry;
mod explain;
mod exposition;
mod guard;
mod page;
mod routes;
mod samples;
mod socket;
mod stat;
mod tap;
#[cfg(test)]
mod tests;
mod words;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};

use crate::control::{Applied, Change, HistoryEntry, Rejected, Status};
use crate::net::accept::Outage;
use crate::observe::tap::{Reader, Terms};
use crate::pipeline::{Explained, Question};
use socket::{Door, Permits};

/// What the admin surface needs of the running proxy.
pub trait Proxy: Send + Sync + 'static {
    fn status(&self) -> Arc<Status>;
    /// OpenMetrics 1.0.
    fn metrics_text(&self) -> String;
    /// Whether traffic would be served; with a pool, whether a server of it is usable too. Err: why not.
    fn health(&self, pool: Option<&str>) -> Result<(), String>;
    /// Answers once every worker runs the change, or nothing has changed. `by`: who asks for it.
    fn change(&self, change: Change, by: String) -> ChangeFuture<'_>;
    /// The configuration that runs, without its secrets.
    fn config(&self) -> serde_json::Value;
    /// The last generations, the newest first.
    fn history(&self) -> Arc<Vec<HistoryEntry>>;
    /// What would become of a request now. Err: it can't be one, and why.
    fn explain(&self, question: Question) -> ExplainFuture<'_>;
    /// Follows requests. None: too many do already.
    fn tap(&self, terms: Terms) -> Option<Reader>;
}

pub type ExplainFuture<'a> = Pin<Box<dyn Future<Output = Result<Explained, String>> + Send + 'a>>;
pub type ChangeFuture<'a> = Pin<Box<dyn Future<Output = Result<Applied, Rejected>> + Send + 'a>>;

/// The running admin port.
pub struct Server {
    address: SocketAddr,
    token: Arc<ArcSwapOption<String>>,
    _thread: Thread,
}

/// The running admin socket. Dropping it stops it, as it does the port.
pub struct SocketServer(#[allow(dead_code, reason = "it is held to be dropped")] Thread);

/// Dropping it stops what it serves: what is being answered gets a moment to end.
struct Thread {
    stop: Option<oneshot::Sender<()>>,
    handle: Option<thread::JoinHandle<()>>,
}

/// Binds the admin port. The error names the address and the remedy.
pub fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the admin address {address} is in use; end the process that listens there, or choose another with \
             `bind` in [admin] (for `tidegate demo`: --admin)"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "no permission to listen on the admin address {address}; ports below 1024 need CAP_NET_BIND_SERVICE"
        ),
        _ => format!("cannot listen on the admin address {address}: {error}"),
    })
}

/// Serves on a socket that is bound already.
pub fn start(
    listener: TcpListener,
    token: Option<String>,
    proxy: Arc<dyn Proxy>,
) -> io::Result<Server> {
    let address = listener.local_addr()?;
    if token.is_none() && !address.ip().to_canonical().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "the admin address {address} can be reached from other machines, so it needs a token: set `token` in \
                 [admin], or bind to 127.0.0.1"
            ),
        ));
    }
    let token = Arc::new(ArcSwapOption::new(token.map(Arc::new)));
    let router = routes::guarded(proxy, guard::Guard::new(address, token.clone()));
    listener.set_nonblocking(true)?;
    let thread = Thread::start("admin", |stopped| async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let door = Door::Port(listener, Permits::new(), Outage::default());
        socket::serve(door, router, stopped).await;
        Ok(())
    })?;
    Ok(Server {
        address,
        token,
        _thread: thread,
    })
}

/// Serves on a Unix socket that is bound already, whose file lets nobody in who may not do everything.
pub fn start_socket(socket: UnixListener, proxy: Arc<dyn Proxy>) -> io::Result<SocketServer> {
    let router = routes::open(proxy.clone());
    socket.set_nonblocking(true)?;
    let thread = Thread::start("admin-socket", |stopped| async move {
        let socket = tokio::net::UnixListener::from_std(socket)?;
        let (http, connections) = mpsc::channel(1);
        let accepting = tokio::spawn(entry::accept(socket, proxy, http));
        socket::serve(Door::Socket(connections), router, stopped).await;
        accepting.abort();
        Ok(())
    })?;
    Ok(SocketServer(thread))
}

impl Thread {
    /// On a runtime of its own.
    fn start<F>(
        name: &'static str,
        serve: impl FnOnce(oneshot::Receiver<()>) -> F + Send + 'static,
    ) -> io::Result<Thread>
    where
        F: Future<Output = io::Result<()>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let handle = thread::Builder::new().name(name.into()).spawn(move || {
            if let Err(error) = runtime.block_on(serve(stopped)) {
                tracing::error!(%error, thread = name, "the admin surface can't be served");
            }
        })?;
        Ok(Thread {
            stop: Some(stop),
            handle: Some(handle),
        })
    }
}

impl Server {
    /// Where it really listens: a port 0 is resolved here.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes another token from now on. None is refused where a token is needed; the old one then stays.
    pub fn set_token(&self, token: Option<String>) {
        if token.is_some() || self.address.ip().to_canonical().is_loopback() {
            self.token.store(token.map(Arc::new));
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.handle.take() {
            let _ = thread.join();
        }
    }
}
