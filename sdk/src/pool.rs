//! A pool and its servers as a balancer sees them: kept by the SDK from the host's updates.

use std::cell::{Ref, RefCell};

use crate::bindings::base::tidegate::plugin::types;
use crate::draw::below;
use crate::{PoolIndex, Slot};

pub use types::ServerState;

/// A pool during one call.
///
/// [`usable`](Pool::usable) is what most balancers need: who may be answered now. [`eligible`](Pool::eligible) is the same
/// as a slice, without regard to what was tried, for those that pick by an index.
#[derive(Clone, Copy)]
pub struct Pool<'a> {
    members: &'a Members,
    tried: &'a [Slot],
}

/// A server of a pool. The fields are as of the last update, the methods tell what is so now.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// What a pick answers.
    pub slot: Slot,
    /// Its name in the config: the same in every proxy.
    pub name: String,
    /// `host:port` as configured.
    pub address: String,
    /// 0 to 256. 0: no new users.
    pub weight: u32,
    /// Only what is ready may be picked.
    pub state: ServerState,
    /// To be used only when no other server is usable.
    pub backup: bool,
    /// As configured.
    pub labels: Vec<(String, String)>,
}

impl<'a> Pool<'a> {
    /// Which pool it is.
    pub fn index(&self) -> PoolIndex {
        self.members.index
    }

    /// Its name in the config.
    pub fn name(&self) -> &'a str {
        &self.members.name
    }

    /// All servers, in the config's order, whether usable or not.
    pub fn servers(&self) -> &'a [Server] {
        &self.members.servers
    }

    /// The servers that may be picked, in order: ready, with a weight, not tried before. Backups only when there is no other.
    pub fn usable(&self) -> impl Iterator<Item = &'a Server> + Clone + use<'a> {
        let (members, tried) = (self.members, self.tried);
        let untried = move |index: &u32| !tried.contains(&members.servers[*index as usize].slot);
        let backups_turn = members.primaries.is_empty()
            || !tried.is_empty() && !members.primaries.iter().any(untried);
        let indices = if backups_turn {
            &members.backups
        } else {
            &members.primaries
        };
        indices
            .iter()
            .filter(move |index| tried.is_empty() || untried(index))
            .map(move |index| &members.servers[*index as usize])
    }

    /// Those of [`usable`](Pool::usable) that carry this label.
    pub fn labelled(
        &self,
        key: &'a str,
        value: &'a str,
    ) -> impl Iterator<Item = &'a Server> + Clone + use<'a> {
        self.usable()
            .filter(move |server| server.label(key) == Some(value))
    }

    /// The servers that are ready and have a weight, whether tried or not; the backups when there is none.
    pub fn eligible(&self) -> Eligible<'a> {
        let indices = if self.members.primaries.is_empty() {
            &self.members.backups
        } else {
            &self.members.primaries
        };
        Eligible {
            servers: &self.members.servers,
            indices,
        }
    }

    /// Any of [`usable`](Pool::usable), with even odds: what is left when a first choice can't be had.
    pub fn any(&self, random: u64) -> Option<&'a Server> {
        let count = self.usable().count() as u64;
        self.usable().nth(below(random, count) as usize)
    }

    /// Whether this server was tried before, and must not be answered.
    #[inline]
    pub fn was_tried(&self, server: &Server) -> bool {
        self.tried.contains(&server.slot)
    }

    /// The server of that slot.
    pub fn server(&self, slot: Slot) -> Option<&'a Server> {
        self.members
            .servers
            .iter()
            .find(|server| server.slot == slot)
    }
}

/// Servers by a number from 0 to `len() - 1`.
#[derive(Clone, Copy)]
pub struct Eligible<'a> {
    servers: &'a [Server],
    indices: &'a [u32],
}

impl<'a> Eligible<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// The server with that number.
    pub fn at(&self, number: usize) -> Option<&'a Server> {
        Some(&self.servers[*self.indices.get(number)? as usize])
    }

    /// Their places in [`Pool::servers`].
    pub fn numbers(&self) -> impl ExactSizeIterator<Item = usize> + Clone + use<'a> {
        self.indices.iter().map(|index| *index as usize)
    }

    /// All of them, in the config's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a Server> + Clone + use<'a> {
        let servers = self.servers;
        self.indices
            .iter()
            .map(move |index| &servers[*index as usize])
    }
}

impl Server {
    /// Requests that it is answering now, over all workers.
    #[inline]
    pub fn inflight(&self) -> u32 {
        self.slot.inflight()
    }

    /// Peak-sensitive moving average of the time to the first byte, microseconds, fading while nothing comes (10 s). 0 before
    /// the first answer.
    #[inline]
    pub fn ewma_us(&self) -> u32 {
        self.slot.ewma_us()
    }

    /// The effective weight: 256 times the weight, less during slow start or by a health verdict; 0 takes no new users.
    #[inline]
    pub fn live_weight(&self) -> u32 {
        self.slot.live_weight()
    }

    /// Whether a newcomer may be sent there, for balancers that don't reckon with [`live_weight`](Server::live_weight):
    /// yes at full weight; during slow start, or when a health verdict lowered the weight, with the odds of the live to the
    /// full one.
    #[inline]
    pub fn admits(&self, random: u64) -> bool {
        let (live, full) = (self.live_weight(), self.weight * 256);
        live >= full || below(random, full.into()) < live.into()
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    }

    fn may_be_picked(&self) -> bool {
        self.state == ServerState::Ready && self.weight > 0
    }
}

/// Something that a balancer keeps for each pool: filled in `update`, read in `pick`.
///
/// ```
/// use tidegate_sdk::{PerPool, PoolIndex};
/// let rings = PerPool::default();
/// rings.set(PoolIndex(3), vec![1, 2]);
/// assert_eq!(rings.get(PoolIndex(3)).unwrap().len(), 2);
/// assert!(rings.get(PoolIndex(0)).is_none());
/// ```
pub struct PerPool<T>(RefCell<Vec<Option<T>>>);

impl<T> PerPool<T> {
    /// Keeps it for this pool, in place of what was kept.
    pub fn set(&self, pool: PoolIndex, value: T) {
        let mut all = self.0.borrow_mut();
        let index = pool.0 as usize;
        if all.len() <= index {
            all.resize_with(index + 1, || None);
        }
        all[index] = Some(value);
    }

    /// What is kept for this pool.
    #[inline]
    pub fn get(&self, pool: PoolIndex) -> Option<Ref<'_, T>> {
        Ref::filter_map(self.0.borrow(), |all| all.get(pool.0 as usize)?.as_ref()).ok()
    }

    /// Takes out what is kept for this pool.
    pub fn take(&self, pool: PoolIndex) -> Option<T> {
        self.0.borrow_mut().get_mut(pool.0 as usize)?.take()
    }
}

impl<T> Default for PerPool<T> {
    fn default() -> Self {
        PerPool(RefCell::default())
    }
}

/// What is kept of a pool between calls.
pub(crate) struct Members {
    index: PoolIndex,
    name: String,
    servers: Vec<Server>,
    /// Indices into `servers` of those that may be picked and are no backups, in order.
    primaries: Vec<u32>,
    /// The same of the backups.
    backups: Vec<u32>,
}

impl Members {
    pub(crate) fn new(index: PoolIndex, name: &str, servers: Vec<types::Server>) -> Members {
        let servers: Vec<Server> = servers.into_iter().map(Server::from).collect();
        let which = |backup: bool| {
            let servers = servers.iter().enumerate();
            let wanted = servers.filter(|(_, s)| s.may_be_picked() && s.backup == backup);
            wanted.map(|(index, _)| index as u32).collect()
        };
        Members {
            index,
            name: name.to_owned(),
            primaries: which(false),
            backups: which(true),
            servers,
        }
    }

    pub(crate) fn pool<'a>(&'a self, tried: &'a [Slot]) -> Pool<'a> {
        Pool {
            members: self,
            tried,
        }
    }
}

impl From<types::Server> for Server {
    fn from(server: types::Server) -> Server {
        Server {
            slot: Slot(server.slot),
            name: server.name,
            address: server.address,
            weight: server.weight,
            state: server.state,
            backup: server.backup,
            labels: server.labels,
        }
    }
}
