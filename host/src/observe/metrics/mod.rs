//! Metrics of the data path: cells on each worker, summed when they are read.
//!
//! A worker is the only writer of its cells, so counting is a load, an addition and a store, without a locked instruction; a
//! scrape reads them while they change. What a request touches is found by one look into a map of the worker's own, keyed by
//! the configured names that the request went by. Only the first request of a series on a worker allocates and takes a lock,
//! which no scrape ever holds.
//!
//! Series are kept by name and for the process's life: they outlive reloads, as who computes rates expects. New names beyond
//! [`MOST_SERIES`] are counted under `other`.

mod cells;
mod collect;
mod family;
mod traffic;
mod worker;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;

use crate::base::ids::WorkerId;

use self::cells::{Exchange, Fault, Listener, Pool, Requests, Served};
use self::family::{Family, Grain};

pub use self::traffic::{Counted, OfListener, OfServer, Rate, Traffic};
pub use self::worker::Worker;

/// Combinations of names in all families together. A thousand servers behind thirty routes fit; a configuration that
/// makes up new names with each reload does not fill the memory.
pub const MOST_SERIES: usize = 100_000;

/// All families, for the whole process.
pub struct Metrics {
    room: Room,
    /// By listener, route, pool, server.
    requests: Family<4, Requests>,
    /// By listener, pool.
    exchanges: Family<2, Exchange>,
    /// By pool.
    pools: Family<1, Pool>,
    /// By pool, server.
    served: Family<2, Served>,
    /// By listener.
    listeners: Family<1, Listener>,
    /// By listener, pool, server, fault.
    faults: Family<4, Fault>,
    workers: Mutex<Vec<OneWorker>>,
}

/// What a scrape needs of a worker beyond the sums.
#[derive(Clone)]
struct OneWorker {
    id: WorkerId,
    listeners: Arc<Grain<1, Listener>>,
    /// Requests counted under `other`.
    overflowed: Arc<cells::Count>,
}

/// How many series there are, and may be.
pub struct Room {
    taken: AtomicUsize,
    most: usize,
}

impl Metrics {
    pub fn new(most_series: usize) -> Metrics {
        Metrics {
            room: Room {
                taken: AtomicUsize::new(0),
                most: most_series,
            },
            requests: Family::default(),
            exchanges: Family::default(),
            pools: Family::default(),
            served: Family::default(),
            listeners: Family::default(),
            faults: Family::default(),
            workers: Mutex::default(),
        }
    }

    /// A worker's cells. To be asked for on the worker itself, once.
    pub fn worker(self: &Arc<Self>, id: WorkerId) -> Worker {
        Worker::new(self.clone(), id)
    }

    fn welcome(&self, worker: OneWorker) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(worker);
    }

    fn workers(&self) -> Vec<OneWorker> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.clone()
    }
}

pub fn register(registry: &mut Registry, metrics: Arc<Metrics>) {
    registry.register_collector(Box::new(collect::Scrape(metrics)));
}

#[cfg(test)]
mod tests;
