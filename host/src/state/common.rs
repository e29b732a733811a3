//! Keys and values that a plugin shares with other proxies. Each call is answered from the proxy's own memory at once; what
//! it did is settled with Redis behind it.
//!
//! - Token buckets and sums are cells: what was taken or added here is noted (`owed`), told at the next tick, and the answer, which
//!   has what all proxies took, is what the cell holds from then on, less what was taken meanwhile. While Redis doesn't
//!   answer the cells go on alone. What is owed for that time is no more than what the cell lacks when Redis is back: what has
//!   filled again since is forgiven, or an outage of an hour would close a limit for an hour.
//! - Values are here, or looked for in Redis (`find`), and written behind.
//!
//! Without sharing it is a store as any.

use std::future::Future;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::figures::Settled;
use super::local::{Level, LocalStore, MOST_ENTRIES, MOST_KEY, MOST_VALUE};
use super::sharing::{Kind, Sharing, Write};

pub struct CommonStore {
    pub(super) plugin: String,
    sharing: Arc<Sharing>,
    local: LocalStore,
    owed: DashMap<Vec<u8>, Owed>,
}

/// What Redis is to be told of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Owed {
    Tokens {
        used: f64,
        per_second: f64,
        burst: u32,
        /// Redis did not answer meanwhile.
        late: bool,
    },
    Sum {
        delta: i64,
        /// 0: for ever.
        ttl_ms: u32,
    },
}

impl CommonStore {
    pub(super) fn new(plugin: &str, sharing: &Arc<Sharing>) -> Arc<CommonStore> {
        Arc::new(CommonStore {
            plugin: plugin.to_owned(),
            sharing: sharing.clone(),
            local: LocalStore::default(),
            owed: DashMap::new(),
        })
    }

    /// As [`LocalStore::take_some`].
    pub fn take_some(&self, key: &[u8], per_second: f64, burst: u32, tokens: u32) -> Option<Level> {
        let level = self.local.take_some(key, per_second, burst, tokens)?;
        if level.taken && tokens > 0 && self.sharing.is_on() {
            let rate = per_second.max(0.0);
            self.owe(
                key,
                Owed::Tokens {
                    used: tokens.into(),
                    per_second: if rate.is_finite() { rate } else { 0.0 },
                    burst,
                    late: self.sharing.is_alone(),
                },
            );
        }
        Some(level)
    }

    /// As [`LocalStore::add`].
    pub fn add(&self, key: &[u8], delta: i64, ttl_ms: Option<u32>) -> i64 {
        let sum = self.local.add(key, delta, ttl_ms);
        if self.sharing.is_on() && key.len() <= MOST_KEY {
            let ttl_ms = ttl_ms.map_or(0, |ttl| ttl.max(1));
            self.owe(key, Owed::Sum { delta, ttl_ms });
        }
        sum
    }

    /// What is here; what isn't may be looked for (`find`).
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.local.get(key)
    }

    /// What is here, or in Redis.
    pub async fn find(self: Arc<Self>, key: Vec<u8>) -> Option<Vec<u8>> {
        match self.get(&key) {
            Some(value) => Some(value),
            None => self.ask(key)?.await,
        }
    }

    /// Asks Redis. None: it is not there to be asked.
    fn ask(
        self: &Arc<Self>,
        key: Vec<u8>,
    ) -> Option<impl Future<Output = Option<Vec<u8>>> + use<>> {
        let link = self.sharing.link()?;
        let asked = link
            .clone()
            .look_up(link.key(Kind::Value, &self.plugin, &key))?;
        let store = self.clone();
        Some(async move {
            let found = asked.await?;
            store.local.put(&key, &found.value, found.ttl_ms);
            Some(found.value)
        })
    }

    /// False: too large. When full, what expires the soonest makes room.
    pub fn set(&self, key: &[u8], value: &[u8], ttl_ms: u32) -> bool {
        if key.len() > MOST_KEY || value.len() > MOST_VALUE {
            return false;
        }
        let ttl_ms = ttl_ms.max(1);
        self.local.put(key, value, ttl_ms);
        if let Some(link) = self.sharing.link() {
            link.write(Write::Set {
                key: link.key(Kind::Value, &self.plugin, key),
                value: value.to_vec(),
                ttl_ms,
            });
        }
        true
    }

    pub fn delete(&self, key: &[u8]) {
        self.local.delete(key);
        if let Some(link) = self.sharing.link()
            && key.len() <= MOST_KEY
        {
            let key = link.key(Kind::Value, &self.plugin, key);
            link.write(Write::Delete { key });
        }
    }

    /// All that is owed, which is then no longer.
    pub(super) fn drain(&self) -> Vec<(Vec<u8>, Owed)> {
        let mut all = Vec::new();
        // Most plugins share nothing: no lock is taken for them.
        if self.owed.is_empty() {
            return all;
        }
        self.owed.retain(|key, owed| {
            all.push((key.clone(), *owed));
            false
        });
        for (key, owed) in &mut all {
            self.forgive(key, owed);
        }
        all
    }

    /// Of the time without Redis just what is missing here is owed.
    fn forgive(&self, key: &[u8], owed: &mut Owed) {
        let Owed::Tokens {
            used,
            burst,
            per_second,
            late: true,
        } = owed
        else {
            return;
        };
        let there = self.local.tokens(key, *per_second, *burst);
        *used = used.min((f64::from(*burst) - there).max(0.0));
    }

    /// Redis was not told.
    pub(super) fn put_back(&self, key: &[u8], owed: Owed) {
        let owed = match owed {
            Owed::Tokens {
                used,
                per_second,
                burst,
                ..
            } => Owed::Tokens {
                used,
                per_second,
                burst,
                late: true,
            },
            sum => sum,
        };
        self.owe(key, owed);
    }

    /// The tokens that are there, as Redis says.
    pub(super) fn tokens_are(&self, key: &[u8], tokens: f64, per_second: f64, burst: u32) {
        let since = match self.owed.get(key).as_deref() {
            Some(Owed::Tokens { used, .. }) => *used,
            _ => 0.0,
        };
        if tokens.is_finite() {
            self.local.fill(key, tokens - since, per_second, burst);
        }
    }

    /// The sum, as Redis says.
    pub(super) fn sum_is(&self, key: &[u8], sum: i64, ttl_ms: Option<u32>) {
        let since = match self.owed.get(key).as_deref() {
            Some(Owed::Sum { delta, .. }) => *delta,
            _ => 0,
        };
        self.local.set_sum(key, sum.saturating_add(since), ttl_ms);
    }

    fn owe(&self, key: &[u8], more: Owed) {
        if let Some(mut owed) = self.owed.get_mut(key) {
            return owed.add(more);
        }
        if self.owed.len() >= MOST_ENTRIES {
            return self.sharing.figures.settled(Settled::Dropped, 1);
        }
        match self.owed.entry(key.to_vec()) {
            Entry::Occupied(mut owed) => owed.get_mut().add(more),
            Entry::Vacant(place) => drop(place.insert(more)),
        }
    }
}

impl Owed {
    /// A key that changed its kind begins anew.
    fn add(&mut self, more: Owed) {
        match (&mut *self, more) {
            (
                Owed::Tokens {
                    used,
                    per_second,
                    burst,
                    late,
                },
                Owed::Tokens {
                    used: more,
                    per_second: rate,
                    burst: most,
                    late: also,
                },
            ) => {
                *used += more;
                (*per_second, *burst) = (rate, most);
                *late |= also;
            }
            (
                Owed::Sum { delta, ttl_ms },
                Owed::Sum {
                    delta: more,
                    ttl_ms: ttl,
                },
            ) => {
                *delta = delta.saturating_add(more);
                *ttl_ms = ttl;
            }
            (owed, more) => *owed = more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Arc<CommonStore> {
        CommonStore::new("p", &Arc::default())
    }

    fn tokens(used: f64, late: bool) -> Owed {
        Owed::Tokens {
            used,
            per_second: 1.0,
            burst: 10,
            late,
        }
    }

    #[test]
    fn alone_it_owes_nothing() {
        let store = store();
        assert!(store.take_some(b"k", 1.0, 10, 4).unwrap().taken);
        assert_eq!(store.add(b"n", 3, None), 3);
        assert!(store.set(b"v", b"x", 1_000));
        assert_eq!(store.get(b"v").as_deref(), Some(&b"x"[..]));
        assert!(store.drain().is_empty());
    }

    #[test]
    fn what_others_took_is_missing_here_and_what_was_too_much_is_waited_for() {
        let store = store();
        store.take_some(b"k", 1.0, 10, 2).unwrap();
        store.owe(b"k", tokens(2.0, false));
        assert_eq!(store.drain(), [(b"k".to_vec(), tokens(2.0, false))]);
        store.owe(b"k", tokens(1.0, false));
        store.tokens_are(b"k", 4.0, 1.0, 10);
        assert_eq!(
            store.take_some(b"k", 1.0, 10, 0).unwrap().left,
            3,
            "4 less 1"
        );
        store.drain();
        store.tokens_are(b"k", -5.0, 1.0, 10);
        let level = store.take_some(b"k", 1.0, 10, 1).unwrap();
        assert!(!level.taken && level.left == 0);
        assert!((5_900..=6_000).contains(&level.wait_ms), "{level:?}");
    }

    #[test]
    fn of_an_outage_just_what_is_missing_is_owed() {
        let store = store();
        store.take_some(b"k", 1.0, 10, 3).unwrap();
        store.put_back(b"k", tokens(500.0, false));
        store.owe(b"k", tokens(1.0, false));
        let Owed::Tokens { used, .. } = store.drain()[0].1 else {
            panic!("a bucket");
        };
        assert!((2.9..=3.0).contains(&used), "{used}");
    }

    #[test]
    fn sums_of_others_are_added() {
        let store = store();
        assert_eq!(store.add(b"n", 2, None), 2);
        store.owe(
            b"n",
            Owed::Sum {
                delta: 2,
                ttl_ms: 0,
            },
        );
        store.sum_is(b"n", 40, None);
        assert_eq!(store.add(b"n", 1, None), 43);
    }

    #[test]
    fn what_is_owed_is_bounded() {
        let store = store();
        for n in 0..MOST_ENTRIES as u32 + 5 {
            store.owe(&n.to_be_bytes(), tokens(1.0, false));
        }
        assert_eq!(store.drain().len(), MOST_ENTRIES);
    }
}
