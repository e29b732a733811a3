//! What outlives a generation, for the whole process: the keys of session tickets, the cache of sessions without a ticket, and
//! each listener's counters.
//!
//! A session that is resumed is believed what was proved when it began, a client's certificate too. So sessions are shared
//! only by listeners that ask the same of clients' certificates: a ticket from one that asks nothing must not open another
//! that does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use sha2::{Digest, Sha256};

use super::counts::Counts;
use crate::config::checked::ClientAuth;

/// Sessions of clients without tickets, in all; the oldest makes room.
const MOST_SESSIONS: usize = 16_384;

/// Cloned, it is the same.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    domains: HashMap<[u8; 32], Weak<Domain>>,
    counts: HashMap<String, Arc<Counts>>,
}

/// Listeners that resume each other's sessions.
#[derive(Debug)]
pub struct Domain {
    /// Makes itself a new key every six hours; the one before is good for six more.
    pub tickets: Arc<dyn ProducesTickets>,
    pub cache: Arc<dyn StoresServerSessions>,
}

impl Sessions {
    /// Of all that ask the same of clients. `judges` is what their certificates must come from, and what revokes them.
    pub fn domain(
        &self,
        auth: ClientAuth,
        judges: &[Vec<u8>],
    ) -> Result<Arc<Domain>, rustls::Error> {
        let mut hash = Sha256::new();
        hash.update([auth as u8]);
        for file in judges {
            hash.update(file.len().to_le_bytes());
            hash.update(file);
        }
        let key = hash.finalize().into();
        let mut inner = self.lock();
        if let Some(known) = inner.domains.get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let domain = Arc::new(Domain {
            tickets: rustls::crypto::aws_lc_rs::Ticketer::new()?,
            cache: ServerSessionMemoryCache::new(MOST_SESSIONS),
        });
        inner.domains.retain(|_, known| known.strong_count() > 0);
        inner.domains.insert(key, Arc::downgrade(&domain));
        Ok(domain)
    }

    /// Of the listener of that name.
    pub fn counts(&self, listener: &str) -> Arc<Counts> {
        let mut inner = self.lock();
        inner.counts.entry(listener.to_owned()).or_default().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
