//! Listening sockets: one an address, kept across generations, whichever listener uses it. A candidate's new sockets are
//! bound before anything changes; sockets that a new generation has no use for are closed after it runs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config::checked::{Bind, Listener};
use crate::config::problem::Span;
use crate::config::{Config, Problem};
use crate::net::listen::UnixSocket;
use crate::net::{self, Listening};
use crate::pipeline::{self, Bounds, Gates, WorkerHandle};

/// Who may open the admin socket may change everything: nobody but the proxy's own user, and root.
const ADMIN_SOCKET_MODE: u32 = 0o600;

/// An address of the config, and whose it is: port 0 gives each listener, and the admin port, a socket of its own. A Unix
/// socket is known by its path: other permissions are no other socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    at: At,
    user: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    Ip(SocketAddr),
    Unix(PathBuf),
}

/// An address that a candidate needs.
struct Wanted {
    key: Key,
    address: Bind,
    user: User,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum User {
    Listener(String),
    AdminPort,
    AdminSocket,
}

pub struct Listeners {
    bound: HashMap<Key, Bound>,
    gates: Gates,
}

struct Bound {
    socket: Listening,
    local: Bind,
    /// Absent: the admin's, who accepts from it.
    accepting: Option<Accepting>,
}

struct Accepting {
    listener: String,
    task: JoinHandle<()>,
}

/// The sockets of a candidate: those it needs and has not yet.
pub struct Sockets {
    wanted: Vec<Wanted>,
    fresh: HashMap<Key, (Listening, Bind)>,
}

impl Listeners {
    pub fn new(gates: Gates) -> Listeners {
        Listeners {
            bound: HashMap::new(),
            gates,
        }
    }

    /// Binds what `config` names and nothing has bound yet; or all that can't be bound.
    pub fn bind(&self, config: &Config) -> Result<Sockets, Vec<Problem>> {
        let mut sockets = Sockets {
            wanted: Vec::new(),
            fresh: HashMap::new(),
        };
        let mut problems = Vec::new();
        for (address, user, span) in addresses(config) {
            let key = Key::of(&address, &user);
            if !self.bound.contains_key(&key) && !sockets.fresh.contains_key(&key) {
                match listen(&address) {
                    Ok(socket) => {
                        let local = socket.local().map_or(address.clone(), Bind::Ip);
                        sockets.fresh.insert(key.clone(), (socket, local));
                    }
                    Err(error) => problems.push(refused(&address, user.name(), span, &error)),
                }
            }
            sockets.wanted.push(Wanted { key, address, user });
        }
        if problems.is_empty() {
            Ok(sockets)
        } else {
            Err(problems)
        }
    }

    /// Puts the bounds of `config` in force, starts to accept on new sockets, and closes those that are wanted no more.
    pub fn adopt(&mut self, sockets: Sockets, config: &Config, workers: &[WorkerHandle]) {
        self.gates.set(bounds(config, self.gates.most()));
        let Sockets { wanted, mut fresh } = sockets;
        let mut before = std::mem::take(&mut self.bound);
        for Wanted { key, address, user } in wanted {
            let known = before.remove(&key).or_else(|| {
                let (socket, local) = fresh.remove(&key)?;
                tracing::info!(listener = user.name(), address = %local, "listening");
                Some(Bound {
                    socket,
                    local,
                    accepting: None,
                })
            });
            if let Some(mut bound) = known {
                bound.permit(address);
                let bound = bound.accept_for(user, &self.gates, workers);
                self.bound.insert(key, bound);
            }
        }
        for bound in before.into_values() {
            bound.stop();
        }
    }

    /// Closes every socket but the admin's.
    pub fn close(&mut self) {
        for (_, bound) in self.bound.extract_if(|_, bound| bound.accepting.is_some()) {
            bound.stop();
        }
    }

    pub fn admin_port(&self) -> Option<Arc<TcpListener>> {
        self.admin().find_map(|socket| match socket {
            Listening::Tcp(socket) => Some(socket.clone()),
            Listening::Unix(_) => None,
        })
    }

    pub fn admin_socket(&self) -> Option<Arc<UnixSocket>> {
        self.admin().find_map(|socket| match socket {
            Listening::Unix(socket) => Some(socket.clone()),
            Listening::Tcp(_) => None,
        })
    }

    fn admin(&self) -> impl Iterator<Item = &Listening> {
        let bound = self.bound.values();
        let admin = bound.filter(|bound| bound.accepting.is_none());
        admin.map(|bound| &bound.socket)
    }

    /// The listener that each address belongs to.
    pub fn addresses(&self) -> Vec<(String, Bind)> {
        let of = |bound: &Bound| {
            Some((
                bound.accepting.as_ref()?.listener.clone(),
                bound.local.clone(),
            ))
        };
        let mut all: Vec<_> = self.bound.values().filter_map(of).collect();
        all.sort();
        all
    }
}

impl Key {
    fn of(address: &Bind, user: &User) -> Key {
        Key {
            at: match address {
                Bind::Ip(address) => At::Ip(*address),
                Bind::Unix { path, .. } => At::Unix(path.clone()),
            },
            user: address.is_any_port().then(|| user.name().to_owned()),
        }
    }
}

impl User {
    fn name(&self) -> &str {
        match self {
            User::Listener(name) => name,
            User::AdminPort => "admin port",
            User::AdminSocket => "admin socket",
        }
    }
}

impl Bound {
    /// Its file gets the permissions that are wanted now.
    fn permit(&mut self, wanted: Bind) {
        let (Listening::Unix(socket), Bind::Unix { mode, .. }) = (&self.socket, &wanted) else {
            return;
        };
        if self.local != wanted {
            match socket.permit(*mode) {
                Ok(()) => self.local = wanted,
                Err(error) => {
                    tracing::error!(address = %wanted, %error, "the socket's file keeps its permissions");
                }
            }
        }
    }

    /// Accepts for this listener from now on. What waits in the socket's queue is not lost.
    fn accept_for(mut self, user: User, gates: &Gates, workers: &[WorkerHandle]) -> Bound {
        let listener = match user {
            User::Listener(name) => Some(name),
            User::AdminPort | User::AdminSocket => None,
        };
        if self.accepting.as_ref().map(|known| &known.listener) == listener.as_ref() {
            return self;
        }
        if let Some(old) = self.accepting.take() {
            old.task.abort();
        }
        self.accepting = listener.map(|listener| {
            let gate = gates.gate(&listener);
            let accept = pipeline::accept(self.socket.clone(), gate, workers.to_vec());
            Accepting {
                listener,
                task: tokio::spawn(accept),
            }
        });
        self
    }

    fn stop(self) {
        tracing::info!(address = %self.local, "no longer listening");
        // Who accepts lets go of the socket a moment later.
        if let Listening::Unix(socket) = &self.socket {
            socket.withdraw();
        }
        if let Some(accepting) = self.accepting {
            accepting.task.abort();
        }
    }
}

/// What each listener allows; `most` is what the process can hold.
fn bounds(config: &Config, most: usize) -> Vec<(&str, Bounds)> {
    let of = |listener: &Listener| Bounds {
        connections: listener.max_connections,
        per_client: listener.max_connections_per_client,
        exempt: config.proxy.trusted_proxies.clone(),
    };
    for listener in &config.listeners {
        if let Some(limit) = listener.max_connections.filter(|limit| *limit > most) {
            tracing::warn!(
                listener = listener.name,
                limit,
                possible = most,
                "max-connections is more than the limit of open files allows; raise it with `LimitNOFILE=` (systemd) or `ulimit -Hn`"
            );
        }
    }
    let listeners = config.listeners.iter();
    listeners.map(|l| (l.name.as_str(), of(l))).collect()
}

fn listen(address: &Bind) -> std::io::Result<Listening> {
    match address {
        Bind::Ip(address) => net::listen(*address),
        Bind::Unix { path, mode } => net::listen::listen_unix(path, *mode),
    }
}

fn addresses(config: &Config) -> Vec<(Bind, User, Option<Span>)> {
    let listeners = config.listeners.iter().flat_map(|listener| {
        let bind = listener.bind.iter();
        bind.map(|at| {
            let user = User::Listener(listener.name.clone());
            (at.value.clone(), user, Some(at.span.clone()))
        })
    });
    let admin = config.admin.iter();
    let port = admin
        .clone()
        .map(|admin| (Bind::Ip(admin.bind), User::AdminPort, None));
    let socket = admin.filter_map(|admin| admin.socket.as_ref());
    let socket = socket.map(|at| {
        let address = Bind::Unix {
            path: at.value.clone(),
            mode: ADMIN_SOCKET_MODE,
        };
        (address, User::AdminSocket, Some(at.span.clone()))
    });
    listeners.chain(port).chain(socket).collect()
}

fn refused(address: &Bind, user: &str, span: Option<Span>, error: &std::io::Error) -> Problem {
    let remedy = match address {
        Bind::Ip(address) => ip_remedy(*address, error),
        Bind::Unix { path, .. } => unix_remedy(path, error),
    };
    let message = format!("{user}: {address} can't be listened on: {error}");
    match span {
        Some(span) => Problem::at(span, message, remedy),
        None => Problem::of_file(message, remedy),
    }
}

fn unix_remedy(path: &std::path::Path, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let path = path.display();
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "another process listens there (`ss -lxp 'src = {path}'` names it), or the file is no socket: stop it, remove it, or choose another path"
        ),
        ErrorKind::PermissionDenied => {
            "let this user write in the folder, or choose one where it may".to_owned()
        }
        ErrorKind::NotFound => "make its folder first".to_owned(),
        _ => "a path of a socket has at most 107 bytes; choose another".to_owned(),
    }
}

fn ip_remedy(address: SocketAddr, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "another process listens there (`ss -ltnp 'sport = :{}'` names it): stop it, or choose another port",
            address.port()
        ),
        ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: `setcap cap_net_bind_service=+ep` the binary, or choose a higher port"
                .to_owned()
        }
        ErrorKind::AddrNotAvailable => "no interface of this machine has that address".to_owned(),
        _ => "choose another address".to_owned(),
    }
}
