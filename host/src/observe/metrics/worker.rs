//! One worker's way into its cells.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::base::event::{RequestEnded, Silence};
use crate::base::ids::WorkerId;

use super::cells::{self, Cells, Count, Exchange, Fault, Listener, Pool, Requests, Served, Spell};
use super::family::{End, Family, Series};
use super::{Metrics, OneWorker, Room};

/// Owned by its worker: what it counts with.
pub struct Worker {
    metrics: Arc<Metrics>,
    overflowed: Arc<Count>,
    /// By where its names lie in memory.
    recent: RefCell<Recent<Way>>,
    recent_listener: RefCell<Option<Arc<Series<1, Listener>>>>,
    requests: RefCell<Shelf<Rc<Way>>>,
    listeners: RefCell<Known<1, Listener>>,
    others: RefCell<Others>,
}

/// The ways last taken. A request's names are mostly the very same strings as the last one's; then their places tell which
/// way it is, and they are compared, but not hashed.
type Recent<T> = [Option<Rc<T>>; RECENT];

const RECENT: usize = 1 << RECENT_BITS;
const RECENT_BITS: u32 = 8;

/// All that a request of certain names touches, found at once.
struct Way {
    requests: Arc<Series<4, Requests>>,
    exchange: Arc<Series<2, Exchange>>,
    /// None: it came to no pool.
    pool: Option<InPool>,
    listener: Arc<Series<1, Listener>>,
}

/// What a request touches that came to a pool.
struct InPool {
    pool: Arc<Series<1, Pool>>,
    served: Arc<Series<2, Served>>,
}

/// What is looked up for the first request of a way, and after a fault.
struct Others {
    requests: End<4, Requests>,
    exchanges: Known<2, Exchange>,
    pools: Known<1, Pool>,
    served: Known<2, Served>,
    faults: Known<4, Fault>,
}

/// A family's series that this worker has met, and the end at which it adds.
struct Known<const N: usize, C> {
    shelf: Shelf<Arc<Series<N, C>>>,
    end: End<N, C>,
}

/// By hash of the names; those that share one stand together.
type Shelf<T> = HashMap<u64, Vec<T>, BuildHasherDefault<AsIs>>;

impl Worker {
    pub(super) fn new(metrics: Arc<Metrics>, id: WorkerId) -> Worker {
        let listeners = Known::new(&metrics.listeners);
        let overflowed = Arc::<Count>::default();
        metrics.welcome(OneWorker {
            id,
            listeners: listeners.end.grain().clone(),
            overflowed: overflowed.clone(),
        });
        let others = Others {
            requests: metrics.requests.grain(),
            exchanges: Known::new(&metrics.exchanges),
            pools: Known::new(&metrics.pools),
            served: Known::new(&metrics.served),
            faults: Known::new(&metrics.faults),
        };
        Worker {
            overflowed,
            recent: RefCell::new([const { None }; RECENT]),
            recent_listener: RefCell::default(),
            requests: RefCell::default(),
            listeners: RefCell::new(listeners),
            others: RefCell::new(others),
            metrics,
        }
    }

    pub fn connection_opened(&self, listener: &str) {
        let listener = self.listener(listener);
        listener.cells.connections.add(1);
        listener.cells.open.add(1);
    }

    pub fn connection_closed(&self, listener: &str) {
        self.listener(listener).cells.open.subtract(1);
    }

    pub fn connection_was_silent(&self, listener: &str, silence: Silence) {
        self.listener(listener).cells.silent[silence as usize].add(1);
    }

    pub fn request_started(&self, listener: &str) {
        let mut recent = self.recent_listener.borrow_mut();
        let series = match &mut *recent {
            Some(series) if series.is_of([listener]) => series,
            _ => recent.insert(self.listener(listener)),
        };
        series.cells.in_flight.add(1);
        series.cells.requests.add(1);
    }

    /// Answers how many connections are open at its listener on this worker.
    pub fn request_ended(&self, request: &RequestEnded<'_>) -> u64 {
        if let Some(fault) = request.fault {
            self.fault(request, fault);
        }
        let names = names(request);
        let recent = &mut self.recent.borrow_mut()[place(names)];
        if let Some(way) = recent.as_ref().filter(|way| way.requests.is_of(names)) {
            return way.count(request);
        }
        match self.way(names, request) {
            Ok(way) => recent.insert(way).count(request),
            Err(overflow) => {
                self.overflowed.add(1);
                overflow.count(request)
            }
        }
    }

    /// `Err`: the way by which a request is counted whose names found no room.
    fn way(&self, names: [&str; 4], request: &RequestEnded<'_>) -> Result<Rc<Way>, Way> {
        let hash = hash(names);
        let mut shelf = self.requests.borrow_mut();
        let known = shelf.get(&hash);
        if let Some(way) = known.and_then(|ways| ways.iter().find(|w| w.requests.is_of(names))) {
            return Ok(way.clone());
        }
        let way = Rc::new(self.new_way(names, request)?);
        shelf.entry(hash).or_default().push(way.clone());
        Ok(way)
    }

    /// `Err`: the way by which a request is counted whose names found no room.
    fn new_way(&self, names: [&str; 4], request: &RequestEnded<'_>) -> Result<Way, Way> {
        let (metrics, room) = (&self.metrics, &self.metrics.room);
        let mut others = self.others.borrow_mut();
        let pool_name = request.pool.unwrap_or_default();
        let exchange =
            others
                .exchanges
                .find(&metrics.exchanges, room, [request.listener, pool_name]);
        let server = request.server.unwrap_or_default();
        let pool = request.pool.map(|pool| InPool {
            pool: others.pools.find(&metrics.pools, room, [pool]),
            served: others.served.find(&metrics.served, room, [pool, server]),
        });
        let listener = self.listener(request.listener);
        let requests = others.requests.add(&metrics.requests, room, names);
        let way = |requests| Way {
            requests,
            exchange,
            pool,
            listener,
        };
        match requests {
            Some(requests) => Ok(way(requests)),
            None => Err(way(others.requests.other())),
        }
    }

    fn fault(&self, request: &RequestEnded<'_>, fault: &str) {
        let server = request.server.filter(|_| is_to_blame(request.termination));
        let names = [
            request.listener,
            request.pool.unwrap_or_default(),
            server.unwrap_or_default(),
            fault,
        ];
        let mut others = self.others.borrow_mut();
        let faults = &self.metrics.faults;
        let series = others.faults.find(faults, &self.metrics.room, names);
        series.cells.count.add(1);
    }

    fn listener(&self, name: &str) -> Arc<Series<1, Listener>> {
        let mut listeners = self.listeners.borrow_mut();
        listeners.find(&self.metrics.listeners, &self.metrics.room, [name])
    }
}

impl Way {
    fn count(&self, request: &RequestEnded<'_>) -> u64 {
        let requests = &self.requests.cells;
        match request.tcp {
            true => requests.sessions.add(1),
            false => requests.codes[cells::code(request.status)].add(1),
        }
        let exchange = &self.exchange.cells;
        exchange.bytes_in.add(request.bytes_in);
        exchange.bytes_out.add(request.bytes_out);
        let listener = &self.listener.cells;
        if request.started {
            listener.in_flight.subtract(1);
            exchange.time.observe(request.times.total);
        }
        if let Some(InPool { pool, served }) = &self.pool {
            pool.cells.count(request);
            served.cells.count(request);
        }
        listener.open.gauge()
    }
}

impl Pool {
    /// A connection that was kept open took no time to have, and is not counted among those that were made.
    fn count(&self, request: &RequestEnded<'_>) {
        if let Some(connect) = request.times.connect.filter(|time| !time.is_zero()) {
            self.connect.observe(connect);
        }
        if let Some(first_byte) = request.times.first_byte {
            self.first_byte.observe(first_byte);
        }
        let retries = request.attempts.saturating_sub(1);
        if retries > 0 {
            self.retries.add(retries.into());
        }
    }
}

impl Served {
    fn count(&self, request: &RequestEnded<'_>) {
        self.requests.add(1);
        self.bytes_in.add(request.bytes_in);
        self.bytes_out.add(request.bytes_out);
        if request.fault.is_some() && matches!(request.termination[0], b'C' | b'c') {
            self.client_aborts.add(1);
        }
        let times = &request.times;
        if let Some(connect) = times.connect.filter(|time| !time.is_zero()) {
            self.connects.add(1);
            self.took(Spell::Connect, connect);
        }
        if let Some(queue) = times.queue {
            self.took(Spell::Queue, queue);
        }
        if let Some(first_byte) = times.first_byte {
            self.took(Spell::FirstByte, first_byte);
        }
        self.took(Spell::Total, times.total);
    }

    fn took(&self, spell: Spell, time: Duration) {
        let nanos = time.as_nanos() as u64;
        self.times[spell as usize].add(nanos);
        self.longest[spell as usize].raise(nanos);
    }
}

/// Whether it is the server that ended it, by HAProxy's termination state: `S` and `s`, but for a wait for a place; `D`, as it was
/// found down; `PH`, for an answer that was none.
fn is_to_blame(termination: [u8; 2]) -> bool {
    match termination {
        [b'S' | b's' | b'D', how_far] => how_far != b'Q',
        other => other == *b"PH",
    }
}

impl<const N: usize, C: Cells> Known<N, C> {
    fn new(family: &Family<N, C>) -> Known<N, C> {
        Known {
            shelf: Shelf::default(),
            end: family.grain(),
        }
    }

    /// The series of these names, `other` when there is no room for them.
    fn find(&mut self, family: &Family<N, C>, room: &Room, names: [&str; N]) -> Arc<Series<N, C>> {
        let hash = hash(names);
        let known = self.shelf.get(&hash);
        if let Some(series) = known.and_then(|all| all.iter().find(|series| series.is_of(names))) {
            return series.clone();
        }
        let Some(series) = self.end.add(family, room, names) else {
            return self.end.other();
        };
        self.shelf.entry(hash).or_default().push(series.clone());
        series
    }
}

fn names<'a>(request: &RequestEnded<'a>) -> [&'a str; 4] {
    let or_none = Option::unwrap_or_default;
    [
        request.listener,
        or_none(request.route),
        or_none(request.pool),
        or_none(request.server),
    ]
}

/// Where the way of these names may be found again.
fn place(names: [&str; 4]) -> usize {
    let mix = |mixed: u64, name: &str| {
        (mixed ^ name.as_ptr().addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    // The product's high bits depend on all of its factors'.
    (names.into_iter().fold(0, mix) >> (u64::BITS - RECENT_BITS)) as usize
}

/// Names are the operator's: nobody sends colliding ones, and they would only be slower.
fn hash<const N: usize>(names: [&str; N]) -> u64 {
    names
        .iter()
        .fold(0, |seed, name| xxh3_64_with_seed(name.as_bytes(), seed))
}

/// The key is a hash already.
#[derive(Default)]
pub struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
