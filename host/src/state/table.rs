//! Where users are, by the keys that `sticky` gives them: in the proxy's memory, and behind it in Redis where state is shared.
//!
//! A look-up here never waits. What isn't here may be asked of Redis (`ask`), and is here afterwards. What is bound is
//! written behind: when it is new or has changed, and every few seconds while it is used, so that it lives on there. A
//! write replaces just what was known to be there, so that proxies that meet a user at the same time end up at the same
//! server: who comes second learns of the first one's.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::local::LocalStore;
use super::sharing::{Bind, InsteadOf, Kind, Sharing, Write};

/// How often what is in use is told again.
const AGAIN: Duration = Duration::from_secs(5);

pub struct Table {
    plugin: String,
    sharing: Arc<Sharing>,
    local: LocalStore,
    start: Instant,
}

/// What is kept of a user.
struct Known {
    server: String,
    /// Seconds since the table's start when it was told to Redis, or came from there, 0: it may not be known there.
    told: u32,
}

impl Table {
    pub(super) fn new(plugin: &str, sharing: &Arc<Sharing>) -> Arc<Table> {
        Arc::new(Table {
            plugin: plugin.to_owned(),
            sharing: sharing.clone(),
            local: LocalStore::default(),
            start: Instant::now(),
        })
    }

    /// The server that is known here.
    pub fn recall(&self, key: &[u8]) -> Option<String> {
        self.known(key).map(|known| known.server)
    }

    /// Asks Redis. None: it is not there to be asked. The answer comes within the configured time.
    pub fn ask(
        self: &Arc<Self>,
        key: Vec<u8>,
    ) -> Option<impl Future<Output = Option<String>> + use<>> {
        let link = self.sharing.link()?;
        let name = link.key(Kind::Table, &self.plugin, &key);
        let asked = link.look_up(name)?;
        let table = self.clone();
        Some(async move {
            let found = asked.await?;
            let server = String::from_utf8(found.value).ok()?;
            table.keep(&key, &server, table.now(), found.ttl_ms);
            Some(server)
        })
    }

    /// Binds a user to a server.
    pub fn remember(self: &Arc<Self>, key: Vec<u8>, server: &str, ttl_ms: u32) {
        let Some(link) = self.sharing.link() else {
            return self.keep(&key, server, 0, ttl_ms);
        };
        let known = self.known(&key);
        if let Some(told) = known
            .as_ref()
            .and_then(|known| self.fresh(known, server, ttl_ms))
        {
            return self.keep(&key, server, told, ttl_ms);
        }
        let instead_of = match known {
            None => InsteadOf::Nothing,
            Some(Known { told: 0, .. }) => InsteadOf::Anything,
            Some(Known { server, .. }) => InsteadOf::Server(server),
        };
        // Before it is told, as the answer to the telling may come at once.
        self.keep(&key, server, self.now(), ttl_ms);
        let told = link.write(Write::Bind(Bind {
            table: self.clone(),
            key: link.key(Kind::Table, &self.plugin, &key),
            local: key.clone(),
            server: server.to_owned(),
            instead_of,
            ttl_ms,
        }));
        if !told {
            self.keep(&key, server, 0, ttl_ms);
        }
    }

    /// When it was told, if it needs not be told again.
    fn fresh(&self, known: &Known, server: &str, ttl_ms: u32) -> Option<u32> {
        let again = AGAIN.min(Duration::from_millis(u64::from(ttl_ms) / 4));
        let since = u64::from(self.now().saturating_sub(known.told));
        let fresh = known.told != 0 && known.server == server && since < again.as_secs();
        fresh.then_some(known.told)
    }

    /// A binding gave way to another proxy's.
    pub(super) fn learn(&self, key: &[u8], server: &str, ttl_ms: u32) {
        self.keep(key, server, self.now(), ttl_ms);
    }

    /// A binding did not reach Redis: it is told again when it is used next.
    pub(super) fn untold(&self, key: &[u8], server: &str, ttl_ms: u32) {
        let same = self.known(key).is_some_and(|known| known.server == server);
        if same {
            self.keep(key, server, 0, ttl_ms);
        }
    }

    fn known(&self, key: &[u8]) -> Option<Known> {
        let value = self.local.get(key)?;
        let (told, server) = value.split_first_chunk::<4>()?;
        Some(Known {
            server: String::from_utf8(server.to_vec()).ok()?,
            told: u32::from_le_bytes(*told),
        })
    }

    fn keep(&self, key: &[u8], server: &str, told: u32, ttl_ms: u32) {
        let value = [&told.to_le_bytes()[..], server.as_bytes()].concat();
        self.local.put(key, &value, ttl_ms);
    }

    /// Never 0.
    fn now(&self) -> u32 {
        self.start.elapsed().as_secs() as u32 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_it_remembers_and_asks_nobody() {
        let table = Table::new("t", &Arc::default());
        table.remember(b"ada".to_vec(), "web1", 60_000);
        assert_eq!(table.recall(b"ada").as_deref(), Some("web1"));
        table.remember(b"ada".to_vec(), "web2", 60_000);
        assert_eq!(table.recall(b"ada").as_deref(), Some("web2"));
        assert_eq!(table.recall(b"bob"), None);
        assert!(table.ask(b"bob".to_vec()).is_none());
    }

    #[test]
    fn what_did_not_arrive_is_told_again_and_what_gave_way_is_learned() {
        let table = Table::new("t", &Arc::default());
        table.learn(b"ada", "web1", 60_000);
        let known = table.known(b"ada").unwrap();
        assert!(table.fresh(&known, "web1", 60_000).is_some());
        assert!(table.fresh(&known, "web2", 60_000).is_none());
        table.untold(b"ada", "web2", 60_000);
        assert_ne!(table.known(b"ada").unwrap().told, 0, "it is another's");
        table.untold(b"ada", "web1", 60_000);
        let known = table.known(b"ada").unwrap();
        assert!(table.fresh(&known, "web1", 60_000).is_none());
    }
}
