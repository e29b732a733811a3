//! Listening sockets: one an address, kept across generations, whichever listener uses it. A candidate's new sockets are
//! bound before anything changes; sockets that a new generation has no use for are closed after it runs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config::checked::{Bind, Listener};
use crate::config::problem::Span;
use crate::config::{Config, Problem};
use crate::net::{self, Listening};
use crate::pipeline::{self, Bounds, Gates, WorkerHandle};

/// An address of the config, and whose it is: port 0 gives each listener, and the admin port, a socket of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    address: Bind,
    user: Option<String>,
}

pub struct Listeners {
    bound: HashMap<Key, Bound>,
    gates: Gates,
}

struct Bound {
    socket: Listening,
    local: Bind,
    /// Absent: the admin port, which `admin` accepts from.
    accepting: Option<Accepting>,
}

struct Accepting {
    listener: String,
    task: JoinHandle<()>,
}

/// The sockets of a candidate: those it needs and has not yet.
pub struct Sockets {
    wanted: Vec<(Key, Option<String>)>,
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
        for (address, listener, span) in addresses(config) {
            let user = listener.clone().unwrap_or_else(|| "admin port".to_owned());
            let key = Key {
                user: address.is_any_port().then(|| user.clone()),
                address,
            };
            if !self.bound.contains_key(&key) && !sockets.fresh.contains_key(&key) {
                match listen(&key.address) {
                    Ok(socket) => {
                        let local = socket.local().map_or(key.address.clone(), Bind::Ip);
                        sockets.fresh.insert(key.clone(), (socket, local));
                    }
                    Err(error) => problems.push(refused(&key.address, &user, span, &error)),
                }
            }
            sockets.wanted.push((key, listener));
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
        for (key, listener) in wanted {
            let known = before.remove(&key).or_else(|| {
                let (socket, local) = fresh.remove(&key)?;
                tracing::info!(
                    listener = listener.as_deref().unwrap_or("admin"),
                    address = %local,
                    "listening"
                );
                Some(Bound {
                    socket,
                    local,
                    accepting: None,
                })
            });
            if let Some(bound) = known {
                let bound = bound.accept_for(listener, &self.gates, workers);
                self.bound.insert(key, bound);
            }
        }
        for bound in before.into_values() {
            bound.stop();
        }
    }

    /// Closes every socket but the admin port's.
    pub fn close(&mut self) {
        for (_, bound) in self.bound.extract_if(|_, bound| bound.accepting.is_some()) {
            bound.stop();
        }
    }

    pub fn admin(&self) -> Option<Arc<TcpListener>> {
        let mut bound = self.bound.values();
        let admin = bound.find(|bound| bound.accepting.is_none())?;
        match &admin.socket {
            Listening::Tcp(socket) => Some(socket.clone()),
            Listening::Unix(_) => None,
        }
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

impl Bound {
    /// Accepts for this listener from now on. What waits in the socket's queue is not lost.
    fn accept_for(
        mut self,
        listener: Option<String>,
        gates: &Gates,
        workers: &[WorkerHandle],
    ) -> Bound {
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

fn addresses(config: &Config) -> Vec<(Bind, Option<String>, Option<Span>)> {
    let listeners = config.listeners.iter().flat_map(|listener| {
        let bind = listener.bind.iter();
        bind.map(|at| {
            let name = listener.name.clone();
            (at.value.clone(), Some(name), Some(at.span.clone()))
        })
    });
    let admin = config.admin.iter();
    let admin = admin.map(|admin| (Bind::Ip(admin.bind), None, None));
    listeners.chain(admin).collect()
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
