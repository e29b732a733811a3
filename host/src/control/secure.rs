//! TLS of a candidate: certificates are read and judged, configurations built. And afterwards: files that change are read
//! again, without a reload.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::draft::Basis;
use super::generation::{Kept, Secured};
use super::shared::Shared;
use crate::config::checked::{HttpVersion, Listener, Mode, Pool};
use crate::config::{Config, Problem};
use crate::tls::{self, Flaws};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// And no more often than this for each of them: a look is a system call, and there may be thousands.
const LOOK_A_FILE: Duration = Duration::from_millis(2);

/// What a listener offers by ALPN, the dearest first. HTTP/1.0 is what `curl --http1.0` asks for; nginx offers it too. In tcp mode
/// only the server knows what is spoken: nothing is offered, and a client may ask for whatever it likes.
fn offered_by(listener: &Listener) -> Vec<Vec<u8>> {
    if listener.mode == Mode::Tcp {
        return Vec::new();
    }
    let http2 = listener.http2.iter().map(|_| b"h2".to_vec());
    http2
        .chain([b"http/1.1".to_vec(), b"http/1.0".to_vec()])
        .collect()
}

/// What servers of a pool are offered by ALPN: HTTP/2 where it is spoken, else nothing, as HAProxy does.
fn offered_to(pool: &Pool) -> Vec<Vec<u8>> {
    match pool.http {
        HttpVersion::Http11 => Vec::new(),
        HttpVersion::Http2 => vec![b"h2".to_vec()],
    }
}

pub struct Found {
    pub tls: Secured,
    pub problems: Vec<Problem>,
    /// Certificates outside their time: refusing to start with them helps nobody.
    pub warnings: Vec<Problem>,
}

/// Blocks: reads files. Where there is a problem the rest is of no use.
pub fn all(kept: &Kept, config: &Config, basis: Basis) -> Found {
    let running = kept.running.as_ref().filter(|_| basis == Basis::Running);
    let running = running.map(|running| &running.tls);
    let mut found = Found {
        tls: Secured::default(),
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    for (at, listener) in config.listeners.iter().enumerate() {
        let server = match running {
            Some(running) => running.listeners[at].clone(),
            None => found.server(kept, listener),
        };
        found.tls.listeners.push(server);
    }
    for (at, pool) in config.pools.iter().enumerate() {
        let known = running.and_then(|running| running.pools[at].as_ref());
        let client = match known.filter(|known| knows_all(known, pool)) {
            Some(known) => Some(known.clone()),
            None => found.client(kept, pool),
        };
        found.tls.pools.push(client);
    }
    found
}

/// Whether it knows all of the pool's servers.
fn knows_all(client: &tls::Client, pool: &Pool) -> bool {
    let mut addresses = pool.tls_addresses();
    addresses.all(|address| client.to(&address).is_some())
}

impl Found {
    fn server(&mut self, kept: &Kept, listener: &Listener) -> Option<Arc<tls::Server>> {
        let settings = listener.tls.as_ref()?;
        let alpn = offered_by(listener);
        match tls::Server::build(&listener.name, settings, alpn, &kept.sessions) {
            Ok((server, flaws)) => {
                self.tell(flaws);
                Some(Arc::new(server))
            }
            Err(flaws) => {
                self.tell(flaws);
                None
            }
        }
    }

    /// The one that runs where nothing has changed: its sessions are worth keeping.
    fn client(&mut self, kept: &Kept, pool: &Pool) -> Option<Arc<tls::Client>> {
        let settings = pool.tls.as_ref()?;
        let alpn = offered_to(pool);
        let fresh = match tls::Client::build(&pool.name, settings, alpn, pool.tls_addresses()) {
            Ok(fresh) => fresh,
            Err(flaw) => {
                self.tell(vec![flaw]);
                return None;
            }
        };
        let running = kept.running.iter().flat_map(|running| &running.tls.pools);
        let same = running.flatten().find(|known| known.serves(&fresh));
        Some(same.cloned().unwrap_or_else(|| Arc::new(fresh)))
    }

    fn tell(&mut self, flaws: Flaws) {
        for (span, flaw) in flaws {
            let list = if flaw.usable {
                &mut self.warnings
            } else {
                &mut self.problems
            };
            list.push(flaw.at(&span));
        }
    }
}

/// Reads what has changed, until the proxy is gone.
pub async fn look_after(shared: Weak<Shared>) {
    let mut pause = LOOK;
    loop {
        tokio::time::sleep(pause).await;
        let Some(running) = shared.upgrade().map(|shared| shared.running()) else {
            return;
        };
        let Some(tls) = running.map(|running| running.tls.clone()) else {
            continue;
        };
        let looked = tokio::task::spawn_blocking(move || look(&tls)).await;
        pause = LOOK.max(LOOK_A_FILE * u32::try_from(looked.unwrap_or(0)).unwrap_or(u32::MAX));
    }
}

/// How many files there are.
fn look(tls: &Secured) -> usize {
    let servers = tls.listeners.iter().flatten();
    let clients = tls.pools.iter().flatten();
    clients.for_each(|client| client.refresh());
    servers
        .map(|server| {
            server.refresh();
            server.files()
        })
        .sum()
}
