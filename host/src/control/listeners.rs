//! Listening sockets: one an address, kept across generations, whichever listener uses it. A candidate's new sockets are
//! bound before anything changes; sockets that a new generation has no use for are closed after it runs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::config::checked::Listener;
use crate::config::problem::Span;
use crate::config::{Config, Problem};
use crate::net;
use crate::pipeline::{self, Bounds, Gates, WorkerHandle};

/// An address of the config, and whose it is: port 0 gives each listener, and the admin port, a socket of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    address: SocketAddr,
    user: Option<String>,
}

pub struct Listeners {
    bound: HashMap<Key, Bound>,
    gates: Gates,
}

struct Bound {
    socket: Arc<TcpListener>,
    local: SocketAddr,
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
    fresh: HashMap<Key, (Arc<TcpListener>, SocketAddr)>,
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
                address,
                user: (address.port() == 0).then(|| user.clone()),
            };
            if !self.bound.contains_key(&key) && !sockets.fresh.contains_key(&key) {
                match net::listen(address) {
                    Ok(socket) => {
                        let local = socket.local_addr().unwrap_or(address);
                        sockets.fresh.insert(key.clone(), (Arc::new(socket), local));
                    }
                    Err(error) => problems.push(refused(address, &user, span, &error)),
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
        self.bound
            .values()
            .find(|bound| bound.accepting.is_none())
            .map(|bound| bound.socket.clone())
    }

    /// The listener that each address belongs to.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let of = |bound: &Bound| Some((bound.accepting.as_ref()?.listener.clone(), bound.local));
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

fn addresses(config: &Config) -> Vec<(SocketAddr, Option<String>, Option<Span>)> {
    let listeners = config.listeners.iter().flat_map(|listener| {
        let bind = listener.bind.iter();
        bind.map(|at| (at.value, Some(listener.name.clone()), Some(at.span.clone())))
    });
    let admin = config.admin.iter().map(|admin| (admin.bind, None, None));
    listeners.chain(admin).collect()
}

fn refused(address: SocketAddr, user: &str, span: Option<Span>, error: &std::io::Error) -> Problem {
    use std::io::ErrorKind;
    let remedy = match error.kind() {
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
    };
    let message = format!("{user}: {address} can't be listened on: {error}");
    match span {
        Some(span) => Problem::at(span, message, remedy),
        None => Problem::of_file(message, remedy),
    }
}
