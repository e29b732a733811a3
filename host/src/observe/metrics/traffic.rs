//! How it goes now, beside what has been counted so far: rates of the last second and their highest, means of the last requests.
//! What HAProxy's `show stat` tells and Prometheus computes for itself.
//!
//! Once a second somebody calls [`Traffic::tick`], which holds the counts against those of the second before. No request knows
//! of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Metrics;
use super::cells::{SPELLS, Served};
use super::family::Names;

/// Means are of so many requests (HAProxy's `TIME_STATS_SAMPLES`).
const SAMPLES: u64 = 1024;

pub struct Traffic {
    metrics: Arc<Metrics>,
    book: Mutex<Book>,
}

struct Book {
    at: Instant,
    listeners: HashMap<Arc<Names<1>>, OfListener>,
    servers: HashMap<Arc<Names<2>>, Past>,
    pools: HashMap<Box<str>, Past>,
    all: OfListener,
}

/// Events a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    total: u64,
    pub now: u64,
    /// The highest there was.
    pub most: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct OfListener {
    pub connections: Rate,
    pub requests: Rate,
}

/// A server's requests, or a pool's; in tcp mode connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct OfServer {
    pub rate: Rate,
    pub requests: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Connections that were made, not used again.
    pub connects: u64,
    pub client_aborts: u64,
    /// Since the last one ended; None: there was none.
    pub idle: Option<Duration>,
    /// To a place, to a connection, to the first byte, to the end: the mean of the last requests, and the slowest ever.
    pub mean: [Duration; SPELLS],
    pub longest: [Duration; SPELLS],
}

/// What a tick leaves for the next.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    rate: Rate,
    requests: u64,
    nanos: [u64; SPELLS],
    mean: [f64; SPELLS],
    last: Option<Instant>,
}

/// All of it at one moment.
#[derive(Default)]
pub struct Counted {
    listeners: HashMap<Box<str>, OfListener>,
    servers: HashMap<Box<str>, HashMap<Box<str>, OfServer>>,
    pools: HashMap<Box<str>, OfServer>,
    pub all: OfListener,
}

impl Traffic {
    pub fn new(metrics: Arc<Metrics>) -> Traffic {
        Traffic {
            metrics,
            book: Mutex::new(Book {
                at: Instant::now(),
                listeners: HashMap::new(),
                servers: HashMap::new(),
                pools: HashMap::new(),
                all: OfListener::default(),
            }),
        }
    }

    /// To be called about once a second.
    pub fn tick(&self) {
        let now = Instant::now();
        let (listeners, servers) = (self.metrics.listeners.sums(), self.metrics.served.sums());
        let mut book = self.book();
        let passed = now - book.at;
        book.at = now;
        let mut sum = [0, 0];
        for (names, cells) in &listeners {
            let totals = [cells.connections.read(), cells.requests.read()];
            sum = [sum[0] + totals[0], sum[1] + totals[1]];
            let known = book.listeners.entry(names.clone()).or_default();
            known.tick(totals, passed);
        }
        book.all.tick(sum, passed);
        for (names, cells) in &servers {
            let known = book.servers.entry(names.clone()).or_default();
            known.tick(cells, now, passed);
        }
        for (pool, cells) in by_pool(servers) {
            let known = book.pools.entry(pool).or_default();
            known.tick(&cells, now, passed);
        }
    }

    pub fn read(&self) -> Counted {
        let now = Instant::now();
        let servers = self.metrics.served.sums();
        let book = self.book();
        let mut counted = Counted {
            all: book.all,
            ..Counted::default()
        };
        for (names, listener) in &book.listeners {
            counted.listeners.insert(names[0].clone(), *listener);
        }
        for (names, cells) in &servers {
            let past = book.servers.get(names).copied().unwrap_or_default();
            let [pool, server] = &**names;
            let of = counted.servers.entry(pool.clone()).or_default();
            of.insert(server.clone(), past.with(cells, now));
        }
        for (pool, cells) in by_pool(servers) {
            let past = book.pools.get(&pool).copied().unwrap_or_default();
            counted.pools.insert(pool, past.with(&cells, now));
        }
        counted
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_pool(
    servers: impl IntoIterator<Item = (Arc<Names<2>>, Served)>,
) -> HashMap<Box<str>, Served> {
    let mut pools: HashMap<Box<str>, Served> = HashMap::new();
    for (names, cells) in servers {
        let pool = pools.entry(names[0].clone()).or_default();
        super::cells::Cells::add(pool, &cells);
    }
    pools
}

impl Counted {
    pub fn listener(&self, name: &str) -> OfListener {
        self.listeners.get(name).copied().unwrap_or_default()
    }

    pub fn pool(&self, name: &str) -> OfServer {
        self.pools.get(name).copied().unwrap_or_default()
    }

    pub fn server(&self, pool: &str, name: &str) -> OfServer {
        let of = self.servers.get(pool).and_then(|pool| pool.get(name));
        of.copied().unwrap_or_default()
    }
}

impl Rate {
    fn tick(&mut self, total: u64, passed: Duration) {
        let more = total.saturating_sub(self.total) as f64;
        self.total = total;
        // Two that come at once are no second apart.
        self.now = (more / passed.as_secs_f64().max(0.5)).round() as u64;
        self.most = self.most.max(self.now);
    }
}

impl OfListener {
    fn tick(&mut self, [connections, requests]: [u64; 2], passed: Duration) {
        self.connections.tick(connections, passed);
        self.requests.tick(requests, passed);
    }
}

impl Past {
    fn tick(&mut self, cells: &Served, now: Instant, passed: Duration) {
        self.mean = self.means(cells);
        let requests = cells.requests.read();
        if requests > self.requests {
            self.last = Some(now);
        }
        self.rate.tick(requests, passed);
        self.requests = requests;
        self.nanos = std::array::from_fn(|at| cells.times[at].read());
    }

    /// In nanoseconds. What has come since weighs as much as its share of the last requests.
    fn means(&self, cells: &Served) -> [f64; SPELLS] {
        let requests = cells.requests.read();
        let fresh = requests.saturating_sub(self.requests);
        if fresh == 0 {
            return self.mean;
        }
        let share = (fresh as f64 / requests.min(SAMPLES) as f64).min(1.0);
        std::array::from_fn(|at| {
            let nanos = cells.times[at].read().saturating_sub(self.nanos[at]);
            let mean = nanos as f64 / fresh as f64;
            self.mean[at] + (mean - self.mean[at]) * share
        })
    }

    fn with(self, cells: &Served, now: Instant) -> OfServer {
        let requests = cells.requests.read();
        let nanos = |nanos: f64| Duration::from_nanos(nanos.round() as u64);
        OfServer {
            rate: self.rate,
            requests,
            bytes_in: cells.bytes_in.read(),
            bytes_out: cells.bytes_out.read(),
            connects: cells.connects.read(),
            client_aborts: cells.client_aborts.read(),
            idle: match requests > self.requests {
                true => Some(Duration::ZERO),
                false => self.last.map(|last| now.saturating_duration_since(last)),
            },
            mean: self.means(cells).map(nanos),
            longest: std::array::from_fn(|at| Duration::from_nanos(cells.longest[at].read())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::{RequestEnded, Times};
    use crate::base::ids::WorkerId;
    use crate::observe::metrics::MOST_SERIES;
    use crate::observe::tests::request;

    #[test]
    fn a_second_is_held_against_the_one_before() {
        let metrics = Arc::new(Metrics::new(MOST_SERIES));
        let traffic = Traffic::new(metrics.clone());
        let workers = [0, 1].map(|id| metrics.worker(WorkerId(id)));
        let requests = |count: usize, total: u64| {
            for at in 0..count {
                let worker = &workers[at % 2];
                let times = Times {
                    connect: (at == 0).then_some(Duration::from_millis(3)),
                    total: Duration::from_millis(total),
                    ..Times::default()
                };
                worker.request_started("web");
                worker.request_ended(&RequestEnded { times, ..request() });
            }
        };
        let tick = || {
            traffic.book().at = Instant::now() - Duration::from_secs(1);
            traffic.tick();
        };
        requests(10, 4);
        let early = traffic.read().server("app", "web1");
        assert_eq!(
            (early.requests, early.rate.now),
            (10, 0),
            "no second is over"
        );
        assert_eq!(early.mean[3], Duration::from_millis(4));
        assert_eq!(early.idle, Some(Duration::ZERO));
        tick();
        requests(4, 18);
        tick();
        let counted = traffic.read();
        let (server, pool) = (counted.server("app", "web1"), counted.pool("app"));
        assert_eq!((server.rate.now, server.rate.most), (4, 10));
        assert_eq!((pool.requests, pool.rate.most), (14, 10));
        assert_eq!((server.connects, server.bytes_out), (2, 14 * 1_234));
        assert_eq!(server.mean[3], Duration::from_millis(8), "of all 14");
        assert_eq!(server.longest[3], Duration::from_millis(18));
        assert_eq!(counted.listener("web").requests.most, 10);
        assert_eq!(counted.all.requests.now, 4);
        tick();
        let quiet = traffic.read().server("app", "web1");
        assert_eq!((quiet.rate.now, quiet.rate.most), (0, 10));
        assert!(quiet.idle.is_some() && traffic.read().pool("other").idle.is_none());
    }

    #[test]
    fn a_mean_is_of_the_last_requests() {
        let mut past = Past::default();
        let cells = Served::default();
        let now = Instant::now();
        let mut add = |count: u64, nanos: u64| {
            (0..count).for_each(|_| {
                cells.requests.add(1);
                cells.times[0].add(nanos);
            });
            past.tick(&cells, now, Duration::from_secs(1));
            past.mean[0]
        };
        assert_eq!(add(2048, 100), 100.0);
        assert_eq!(add(512, 300), 200.0, "half of the last 1024");
        assert_eq!(add(5000, 50), 50.0);
    }
}
