//! What is counted. The same types hold a worker's counts and a scrape's sums.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Upper bounds of the buckets of all histograms, in microseconds: 100 µs to 60 s, the range from a cached answer next door
/// to the default `first-byte` timeout.
pub const BOUNDS_US: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// How a status is said: its class, `none` for a request that ended without an answer, `other` for what is no class.
pub const CODES: [&str; 7] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// The timeouts of `Silence`, in its order, by their keys.
pub const SILENCES: [&str; 3] = ["request-head", "idle", "handshake"];

/// Summed up over the workers.
pub trait Cells: Default + Send + Sync + 'static {
    fn add(&self, other: &Self);
}

/// A number with one writer and any readers. As a gauge it wraps below zero, so that a sum over workers is right in the end.
#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, more: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    pub fn subtract(&self, less: u64) {
        self.add(less.wrapping_neg());
    }

    /// As what was the most so far.
    pub fn raise(&self, to: u64) {
        if to > self.read() {
            self.0.store(to, Relaxed);
        }
    }

    pub fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// As a gauge; one that was read between two changes may be below zero for a moment, and is then none.
    pub fn gauge(&self) -> u64 {
        self.read().cast_signed().max(0).cast_unsigned()
    }
}

#[derive(Default)]
pub struct Histogram {
    /// Each for itself, not cumulative; the last is what is beyond all bounds.
    buckets: [Count; BOUNDS_US.len() + 1],
    nanos: Count,
}

impl Histogram {
    pub fn observe(&self, time: Duration) {
        // A bound belongs to its bucket (`le`), so what is a fraction of a microsecond above it does not.
        let nanos = time.as_nanos() as u64;
        let bucket = BOUNDS_US.partition_point(|bound| bound * 1_000 < nanos);
        self.buckets[bucket].add(1);
        self.nanos.add(nanos);
    }

    pub fn seconds(&self) -> f64 {
        self.nanos.read() as f64 / 1e9
    }

    /// Upper bound in seconds, and how many fell between it and the bound below.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6);
        let counts = self.buckets.iter().map(Count::read);
        bounds.chain([f64::INFINITY]).zip(counts).collect()
    }
}

#[derive(Default)]
pub struct Requests {
    pub codes: [Count; CODES.len()],
    /// Connections in tcp mode, which are no requests.
    pub sessions: Count,
}

/// A request and its answer, as the client sees them.
#[derive(Default)]
pub struct Exchange {
    pub time: Histogram,
    pub bytes_in: Count,
    pub bytes_out: Count,
}

#[derive(Default)]
pub struct Pool {
    pub connect: Histogram,
    pub first_byte: Histogram,
    pub retries: Count,
}

/// What a server was given; under no server's name, what came to a pool and to none of its servers.
#[derive(Default)]
pub struct Served {
    /// Connections in tcp mode among them.
    pub requests: Count,
    pub bytes_in: Count,
    pub bytes_out: Count,
    /// Connections that were made, not used again.
    pub connects: Count,
    /// What its client gave up.
    pub client_aborts: Count,
    /// Nanoseconds, by `Spell`: of all requests together, and of the slowest.
    pub times: [Count; SPELLS],
    pub longest: [Count; SPELLS],
}

/// How many `Spell`s there are.
pub const SPELLS: usize = 4;

/// Times of a request that are kept by server.
#[derive(Clone, Copy)]
pub enum Spell {
    Queue,
    Connect,
    FirstByte,
    Total,
}

#[derive(Default)]
pub struct Listener {
    pub connections: Count,
    pub open: Count,
    pub in_flight: Count,
    /// Requests begun.
    pub requests: Count,
    /// By `Silence`.
    pub silent: [Count; SILENCES.len()],
}

#[derive(Default)]
pub struct Fault {
    pub count: Count,
}

/// The index into `CODES`.
pub fn code(status: Option<u16>) -> usize {
    match status.map(|status| status / 100) {
        None => 0,
        Some(class @ 1..=5) => usize::from(class),
        Some(_) => 6,
    }
}

impl Cells for Count {
    fn add(&self, other: &Self) {
        Count::add(self, other.read());
    }
}

impl Cells for Histogram {
    fn add(&self, other: &Self) {
        for (sum, part) in self.buckets.iter().zip(&other.buckets) {
            Cells::add(sum, part);
        }
        Cells::add(&self.nanos, &other.nanos);
    }
}

impl Cells for Requests {
    fn add(&self, other: &Self) {
        for (sum, part) in self.codes.iter().zip(&other.codes) {
            Cells::add(sum, part);
        }
        Cells::add(&self.sessions, &other.sessions);
    }
}

impl Cells for Exchange {
    fn add(&self, other: &Self) {
        Cells::add(&self.time, &other.time);
        Cells::add(&self.bytes_in, &other.bytes_in);
        Cells::add(&self.bytes_out, &other.bytes_out);
    }
}

impl Cells for Pool {
    fn add(&self, other: &Self) {
        Cells::add(&self.connect, &other.connect);
        Cells::add(&self.first_byte, &other.first_byte);
        Cells::add(&self.retries, &other.retries);
    }
}

impl Cells for Listener {
    fn add(&self, other: &Self) {
        Cells::add(&self.connections, &other.connections);
        Cells::add(&self.open, &other.open);
        Cells::add(&self.in_flight, &other.in_flight);
        Cells::add(&self.requests, &other.requests);
        for (sum, part) in self.silent.iter().zip(&other.silent) {
            Cells::add(sum, part);
        }
    }
}

impl Cells for Served {
    fn add(&self, other: &Self) {
        Cells::add(&self.requests, &other.requests);
        Cells::add(&self.bytes_in, &other.bytes_in);
        Cells::add(&self.bytes_out, &other.bytes_out);
        Cells::add(&self.connects, &other.connects);
        Cells::add(&self.client_aborts, &other.client_aborts);
        for (sum, part) in self.times.iter().zip(&other.times) {
            Cells::add(sum, part);
        }
        for (most, part) in self.longest.iter().zip(&other.longest) {
            most.raise(part.read());
        }
    }
}

impl Cells for Fault {
    fn add(&self, other: &Self) {
        Cells::add(&self.count, &other.count);
    }
}
