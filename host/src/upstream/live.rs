//! Live counters of every server: requests in flight, time to first byte, effective weight. Totals over the workers, in one
//! table that never moves, so that a plugin reads them straight from memory (`plugin/live.wat` knows this layout).
//!
//! A server keeps its slot for as long as anything refers to it, in whichever generation; then the slot is free again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use super::breaker::Entry;
use super::budget::Budget;
use super::kept::{Kept, Refused};
use super::queue::Queue;
use super::uptime::Uptime;
use super::vitals::{Vitals, WHOLE};
use crate::base::ids::Slot;
use crate::config::checked::Passive;

/// Most servers at one time, those of generations that still drain included.
pub const MOST_SERVERS: usize = 1 << 17;

/// After this long without an answer the average counts half; 7 s of half-life is a time constant of 10 s.
pub const EWMA_HALF_LIFE_MS: u32 = 7_000;

/// One server's counters: a cache line of its own, at `slot * 64` in the table.
#[repr(C, align(64))]
pub struct Cell {
    /// Offset 0: requests sent and not yet answered in full.
    inflight: AtomicU32,
    /// Offset 4: the average as of `touched_ms`, microseconds.
    ewma_us: AtomicU32,
    /// Offset 8: when the average was last told of an answer, milliseconds since the table was made, wrapping.
    touched_ms: AtomicU32,
    /// Offset 12: effective weight, 256 times the configured one at most.
    weight: AtomicU32,
    /// Offset 16: the most that were in flight at a time.
    most_inflight: AtomicU32,
}

pub struct LiveTable {
    cells: Box<[Cell]>,
    start: Instant,
    names: Mutex<Names>,
    suspects: Mutex<Vec<Arc<Server>>>,
    /// Told when there is a suspect.
    suspected: Notify,
}

#[derive(Default)]
struct Names {
    known: HashMap<Identity, Weak<Server>>,
    crews: HashMap<String, Weak<Crew>>,
    free: Vec<u32>,
    next: u32,
    kept: Arc<Kept>,
}

/// What the servers of one pool have in common, by the pool's name.
#[derive(Default)]
pub struct Crew {
    pub queue: Queue,
    pub(super) budget: Budget,
    /// Of all pools.
    pub(super) kept: Arc<Kept>,
    pub(super) bodies_refused: Refused,
    /// Down: none of its servers may be used.
    pub uptime: Uptime,
    /// The most that were in flight at all of its servers together, as far as was looked.
    pub most_inflight: AtomicU32,
}

/// What makes a server the same one after a reload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pub pool: String,
    pub name: String,
    pub address: String,
}

/// A server's hold on its slot.
pub struct Server {
    identity: Identity,
    slot: Slot,
    table: Arc<LiveTable>,
    pub vitals: Vitals,
    /// The weight without slow start, in 256ths.
    full_weight: AtomicU32,
    /// Requests in flight at most; 0: any number.
    limit: AtomicU32,
    /// The most that waited for it at a time.
    pub(super) most_queued: AtomicU32,
    crew: Arc<Crew>,
}

impl LiveTable {
    pub fn new() -> Arc<LiveTable> {
        LiveTable::with_capacity(MOST_SERVERS)
    }

    pub fn with_capacity(servers: usize) -> Arc<LiveTable> {
        // SAFETY: all-zero bytes are a valid `Cell` (five AtomicU32). Asking the allocator for zeroed memory is what keeps
        // the pages of unused slots untouched: 8 MiB of addresses, not of memory.
        let cells = unsafe { Box::<[Cell]>::new_zeroed_slice(servers).assume_init() };
        Arc::new(LiveTable {
            cells,
            start: Instant::now(),
            names: Mutex::default(),
            suspects: Mutex::default(),
            suspected: Notify::new(),
        })
    }

    /// The server of that identity, with its counters as they are, or a new one. None: the table is full.
    pub fn server(self: &Arc<Self>, identity: Identity) -> Option<Arc<Server>> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.known.get(&identity).and_then(Weak::upgrade) {
            return Some(known);
        }
        let slot = names.free.pop().or_else(|| {
            let fresh = names.next;
            ((fresh as usize) < self.cells.len()).then(|| {
                names.next += 1;
                fresh
            })
        })?;
        let cell = &self.cells[slot as usize];
        for counter in [
            &cell.inflight,
            &cell.ewma_us,
            &cell.touched_ms,
            &cell.weight,
            &cell.most_inflight,
        ] {
            counter.store(0, Relaxed);
        }
        let crew = names.crew(&identity.pool);
        let server = Arc::new(Server {
            limit: AtomicU32::new(0),
            most_queued: AtomicU32::new(0),
            crew,
            identity: identity.clone(),
            slot: Slot(slot),
            table: self.clone(),
            vitals: Vitals::default(),
            full_weight: AtomicU32::new(0),
        });
        names.known.insert(identity, Arc::downgrade(&server));
        Some(server)
    }

    /// The servers that have failed too often for their pool's rules, once there are any.
    pub async fn suspects(&self) -> Vec<Arc<Server>> {
        loop {
            let suspects =
                std::mem::take(&mut *self.suspects.lock().unwrap_or_else(PoisonError::into_inner));
            if !suspects.is_empty() {
                return suspects;
            }
            self.suspected.notified().await;
        }
    }

    /// Where the cells begin, and how many: for the compile-time builtins. The table must outlive the reader.
    pub fn raw(&self) -> (*const Cell, usize) {
        (self.cells.as_ptr(), self.cells.len())
    }

    /// Milliseconds since the table was made, wrapping: the clock of `touched_ms`.
    pub fn now_ms(&self) -> u32 {
        self.ms_at(Instant::now())
    }

    /// The same, of a time that is known.
    fn ms_at(&self, at: Instant) -> u32 {
        at.saturating_duration_since(self.start).as_millis() as u32
    }

    pub fn inflight(&self, slot: Slot) -> u32 {
        self.cell(slot).inflight.load(Relaxed)
    }

    pub fn weight(&self, slot: Slot) -> u32 {
        self.cell(slot).weight.load(Relaxed)
    }

    pub fn ewma_us(&self, slot: Slot) -> u32 {
        self.decayed(slot, self.now_ms())
    }

    /// The average as it stands at `now_ms`: halved for each whole half-life, in between on a straight line.
    fn decayed(&self, slot: Slot, now_ms: u32) -> u32 {
        let cell = self.cell(slot);
        let idle = now_ms.wrapping_sub(cell.touched_ms.load(Relaxed));
        let halvings = idle / EWMA_HALF_LIFE_MS;
        if halvings > 31 {
            return 0;
        }
        let base = u64::from(cell.ewma_us.load(Relaxed) >> halvings);
        let part = u64::from(idle % EWMA_HALF_LIFE_MS);
        (base - base * part / u64::from(2 * EWMA_HALF_LIFE_MS)) as u32
    }

    fn cell(&self, slot: Slot) -> &Cell {
        &self.cells[slot.0 as usize]
    }

    fn release(&self, server: &Server) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        // A server of the same identity may have taken a slot of its own since this one's last reference went.
        if names
            .known
            .get(&server.identity)
            .is_some_and(|known| known.strong_count() == 0)
        {
            names.known.remove(&server.identity);
        }
        names.free.push(server.slot.0);
        // This server's hold on it is the last.
        if Arc::strong_count(&server.crew) == 1 {
            names.crews.remove(&server.identity.pool);
        }
    }
}

impl Names {
    fn crew(&mut self, pool: &str) -> Arc<Crew> {
        if let Some(known) = self.crews.get(pool).and_then(Weak::upgrade) {
            return known;
        }
        let crew = Arc::new(Crew {
            kept: self.kept.clone(),
            ..Crew::default()
        });
        self.crews.insert(pool.to_owned(), Arc::downgrade(&crew));
        crew
    }
}

impl Server {
    pub fn slot(&self) -> Slot {
        self.slot
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn inflight(&self) -> u32 {
        self.table.inflight(self.slot)
    }

    /// The most that were in flight at a time.
    pub fn most_inflight(&self) -> u32 {
        self.cell().most_inflight.load(Relaxed)
    }

    pub fn ewma_us(&self) -> u32 {
        self.table.ewma_us(self.slot)
    }

    /// Sets the weight, in 256ths; while the server starts slowly, what is in effect is less.
    pub fn set_weight(&self, weight: u32) {
        self.full_weight.store(weight, Relaxed);
        self.weigh();
    }

    /// Sets how much of its weight the server has, of [`WHOLE`].
    pub fn set_share(&self, share: u32) {
        self.vitals.set_share(share);
        self.weigh();
    }

    /// Sets per cent of its weight that the judge of its probes leaves it.
    pub fn set_fitness(&self, percent: u32) {
        self.vitals.set_fitness(percent);
        self.weigh();
    }

    pub fn weight(&self) -> u32 {
        self.table.weight(self.slot)
    }

    fn weigh(&self) {
        let full = u64::from(self.full_weight.load(Relaxed));
        let part = full * u64::from(self.vitals.share()) / u64::from(WHOLE);
        let part = part * u64::from(self.vitals.fitness()) / 100;
        // Little is not none, which would mean that nobody new may come.
        let weight = part.max(full.min(1)) as u32;
        self.cell().weight.store(weight, Relaxed);
    }

    pub fn crew(&self) -> &Arc<Crew> {
        &self.crew
    }

    /// Requests in flight at most; 0: any number.
    pub fn limit(&self) -> u32 {
        self.limit.load(SeqCst)
    }

    /// The most that waited for this very server at a time.
    pub fn most_queued(&self) -> u32 {
        self.most_queued.load(Relaxed)
    }

    /// In force for those who come from now on; who waits hears of it by the queue's `look_again`.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, SeqCst);
    }

    /// Puts it on the list of those that are to be judged.
    fn suspect(self: &Arc<Self>) {
        self.table
            .suspects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.clone());
        self.table.suspected.notify_one();
    }

    /// Counts a request as in flight until the guard is dropped, whatever the limit.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.cell().one_more();
        self.in_flight(Entry {
            number: self.vitals.trial.number(),
            tried: false,
        })
    }

    /// The same, if there is a place, and nobody waits who may have it before.
    pub fn admit(self: &Arc<Self>) -> Option<InFlight> {
        let queue = &self.crew.queue;
        let entry = self.vitals.trial.begin()?;
        let place = match (entry.tried || self.limit() > 0) && queue.is_waited() {
            false => self.take_place(),
            true => queue.overtakes_nobody(self),
        };
        if !place && self.give_back(entry) {
            // Whoever looked meanwhile found it taken.
            self.tell_queue();
        }
        place.then(|| self.in_flight(entry))
    }

    /// The same for one whose turn it is. The queue is locked.
    pub(super) fn admit_at_once(self: &Arc<Self>) -> Option<InFlight> {
        let entry = self.vitals.trial.begin()?;
        let place = self.take_place();
        if !place {
            self.give_back(entry);
        }
        place.then(|| self.in_flight(entry))
    }

    fn in_flight(self: &Arc<Self>, entry: Entry) -> InFlight {
        let server = self.clone();
        InFlight { server, entry }
    }

    /// Nothing came of it. True: somebody else may be tried.
    fn give_back(&self, entry: Entry) -> bool {
        if entry.tried {
            self.vitals.trial.settle(entry.number, None);
        }
        entry.tried
    }

    /// There may be room for somebody who waits.
    fn tell_queue(self: &Arc<Self>) {
        let queue = &self.crew.queue;
        if queue.is_waited() {
            queue.freed(self);
        }
    }

    /// As far as a glance tells.
    pub(super) fn has_place(&self) -> bool {
        let limit = self.limit();
        limit == 0 || self.inflight() < limit
    }

    /// One compare-and-swap where there is a limit.
    pub(super) fn take_place(&self) -> bool {
        let cell = self.cell();
        let limit = self.limit();
        if limit == 0 {
            cell.one_more();
            return true;
        }
        let inflight = &cell.inflight;
        let taken = inflight.fetch_update(SeqCst, SeqCst, |now| (now < limit).then_some(now + 1));
        taken.is_ok_and(|before| {
            cell.saw(before + 1);
            true
        })
    }

    /// Tells the average of a time to first byte. Peak-sensitive: a slower answer counts at once, faster ones bit by bit.
    /// Two workers may overwrite each other's news; the average forgives it.
    pub fn answered_in(&self, micros: u32, at: Instant) {
        let now = self.table.ms_at(at);
        let before = self.table.decayed(self.slot, now);
        let after = if micros >= before {
            micros
        } else {
            before - ((before - micros) / 8).max(1)
        };
        self.cell().ewma_us.store(after.max(1), Relaxed);
        self.cell().touched_ms.store(now, Relaxed);
    }

    fn cell(&self) -> &Cell {
        self.table.cell(self.slot)
    }
}

impl Cell {
    fn one_more(&self) {
        let before = self.inflight.fetch_add(1, Relaxed);
        self.saw(before.saturating_add(1));
    }

    /// A load on a line that is ours already, but for the few times that it is a record.
    fn saw(&self, inflight: u32) {
        if inflight > self.most_inflight.load(Relaxed) {
            self.most_inflight.fetch_max(inflight, Relaxed);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.table.release(self);
    }
}

/// A request in flight at a server.
pub struct InFlight {
    server: Arc<Server>,
    entry: Entry,
}

impl InFlight {
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Its server, which it is at no more.
    pub fn end(self) -> Arc<Server> {
        self.server.clone()
    }

    /// How its attempt went, where the pool has rules for that; None: in a way that says nothing of the server. If it is the one
    /// that is tried, the next one may come, however long the rest of this one takes.
    pub fn met(&mut self, rules: &Passive, well: Option<bool>) {
        let InFlight { server, entry } = self;
        let (vitals, now) = (&server.vitals, server.table.now_ms());
        if std::mem::take(&mut entry.tried) {
            if vitals.trial.settle(entry.number, well) {
                server.suspect();
            }
            return server.tell_queue();
        }
        // What was sent before an ejection says nothing of how the server is after it.
        if entry.number != vitals.trial.number() {
            return;
        }
        match well {
            Some(true) => vitals.succeeded(rules, now),
            Some(false) if vitals.failed(rules, now) => server.suspect(),
            _ => {}
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let server = &self.server;
        let tried = server.give_back(self.entry);
        server.cell().inflight.fetch_sub(1, SeqCst);
        // At one that has as many places as anybody wants nobody waits, but for its trial.
        if tried || server.limit() > 0 {
            server.tell_queue();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> Identity {
        Identity {
            pool: "app".into(),
            name: name.into(),
            address: "127.0.0.1:1".into(),
        }
    }

    #[test]
    fn a_slot_is_kept_while_referred_to_and_then_used_again() {
        let table = LiveTable::with_capacity(2);
        let a = table.server(identity("a")).unwrap();
        let b = table.server(identity("b")).unwrap();
        assert_eq!(table.server(identity("a")).unwrap().slot(), a.slot());
        assert!(table.server(identity("c")).is_none(), "the table is full");
        let in_flight = b.enter();
        let slot = b.slot();
        drop(b);
        assert!(
            table.server(identity("c")).is_none(),
            "a request still refers to b"
        );
        drop(in_flight);
        assert_eq!(table.server(identity("c")).unwrap().slot(), slot);
    }

    #[test]
    fn a_slow_answer_counts_at_once_and_fades() {
        let table = LiveTable::with_capacity(1);
        let a = table.server(identity("a")).unwrap();
        a.answered_in(1_000, Instant::now());
        a.answered_in(80_000, Instant::now());
        assert_eq!(a.ewma_us(), 80_000);
        a.answered_in(1_000, Instant::now());
        assert!((69_000..71_000).contains(&a.ewma_us()), "{}", a.ewma_us());
        let later = table.now_ms() + EWMA_HALF_LIFE_MS;
        assert!((34_500..35_500).contains(&table.decayed(a.slot(), later)));
        assert_eq!(table.decayed(a.slot(), later + 40 * EWMA_HALF_LIFE_MS), 0);
    }
}
