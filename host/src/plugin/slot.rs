//! A plugin's place on a worker: an instance, or the wait for the next.
//!
//! ```text
//!            a call fails                       the wait is over
//!   seated ───────────────▶ vacant ──────────────────────────────▶ seated
//!     ▲                    │      ▲                                  (made here, or by a thread when that takes long)
//!     └── at once, if it ──┘      └── 30 s, after the tenth failure in a row
//!         is the first
//! ```
//!
//! A failed instance is dropped: its store is poisoned, or it said what it may not. The first failure in a while costs
//! nobody else anything: the next instance is there before the next call. Failures that follow within ten seconds of each
//! other wait 0, 10, 20, 40 … 1280 ms, so that a crafted request cannot make the worker build instances all the time. The
//! tenth in a row puts the plugin into quarantine for 30 s on this worker; then it has all its chances again, so one request
//! a minute cannot keep it down for good.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::ids::PoolIndex;
use crate::hook::{Failure, Interest, ServerView};
use crate::state::{CommonStore, Table};

use super::checks::Known;
use super::guest::{Inputs, Running};
use super::imports::printable;
use super::interest::{Values, lent};
use super::limits::Fault;
use super::memo::{Kept, Memo, Memos};
use super::prepare::{PrepareError, QUICK_LIMIT, Ready, Recipe, SLOW_LIMIT, SNAPSHOT_LIMIT, Seed};
use super::shared::{Cause, Figures, PluginShared, Role};

const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(1_280);
const QUARANTINE: Duration = Duration::from_secs(30);
/// Failures in a row that lead to quarantine.
const CHANCES: u32 = 10;
/// Instances that are kept for as many probes at a time.
const MOST_SPARES: usize = 7;
/// After so long without a failure, a row is over.
const FORGIVEN: Duration = Duration::from_secs(10);

/// A plugin on its worker: implements every hook trait (in `adapt.rs`), whichever roles it has; one that it lacks fails.
pub struct WorkerPlugin {
    recipe: Arc<Recipe>,
    worker: usize,
    known: Known,
    place: RefCell<Place>,
    /// For probes that run beside the one that has the seat's instance.
    spares: RefCell<Vec<Ready>>,
}

struct Place {
    seat: Seat,
    record: Record,
}

enum Seat {
    Seated(Box<Ready>),
    /// A probe has it, or took it with it.
    Lent,
    Vacant {
        until: Instant,
    },
    Making(Receiver<Result<Ready, PrepareError>>),
}

/// How it has behaved lately.
#[derive(Default)]
struct Record {
    row: u32,
    last: Option<Instant>,
}

impl WorkerPlugin {
    pub(super) fn new(seed: Seed) -> WorkerPlugin {
        WorkerPlugin {
            known: seed.recipe.known(),
            recipe: seed.recipe,
            worker: seed.worker,
            place: RefCell::new(Place {
                seat: Seat::Seated(Box::new(seed.ready)),
                record: Record::default(),
            }),
            spares: RefCell::default(),
        }
    }

    /// Its state, for its next version. None: not stateful, or it failed.
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        let mut place = self.place.try_borrow_mut().ok()?;
        let Seat::Seated(ready) = &mut place.seat else {
            return None;
        };
        match ready.guest.snapshot(SNAPSHOT_LIMIT)? {
            Ok(snapshot) => Some(snapshot),
            Err(fault) => {
                self.failed(&mut place, &fault);
                None
            }
        }
    }

    pub fn shared(&self) -> &Arc<PluginShared> {
        &self.recipe.shared
    }

    pub(super) fn granted(&self, pool: PoolIndex) -> bool {
        self.recipe.fetch_grants.contains(&pool)
    }

    /// What it shares with other proxies.
    pub(super) fn common(&self) -> &Arc<CommonStore> {
        self.recipe.common()
    }

    /// Where users are, as `sticky` had it remembered.
    pub(super) fn table(&self) -> &Arc<Table> {
        self.recipe.table()
    }

    /// A pool's part of the table goes by its name: indexes change with the config.
    pub(super) fn key_of(&self, pool: PoolIndex, key: &[u8]) -> Vec<u8> {
        [self.recipe.pool_name(pool).as_bytes(), b"\n", key].concat()
    }

    /// One call: `ask` speaks to the instance, within `Duration` of CPU time.
    #[inline]
    pub(super) fn call<R>(
        &self,
        role: Role,
        ask: impl FnOnce(&mut Ready, Known, Duration) -> Result<R, Fault>,
    ) -> Result<R, Failure> {
        self.with(|ready| {
            let (known, limit) = (self.known, self.recipe.cpu_limit);
            self.counted(role, || ask(ready, known, limit))
        })
    }

    /// As `call`, unless the plugin is pure and has answered the same before.
    #[inline]
    pub(super) fn call_or_repeat<'v, R: Kept>(
        &self,
        role: Role,
        told: impl FnOnce(&Interest) -> Values<'v>,
        memo: impl FnOnce(&mut Memos) -> &mut Option<Memo<R>>,
        ask: impl FnOnce(&mut Running, Inputs<'_>, Known, Duration) -> Result<R, Fault>,
    ) -> Result<R, Failure> {
        self.with(|ready| {
            let values = told(&ready.interest);
            let (known, limit) = (self.known, self.recipe.cpu_limit);
            let guest = &mut ready.guest;
            let call = || self.counted(role, || ask(guest, &lent(&values), known, limit));
            let Some(memo) = memo(&mut ready.memos) else {
                return call();
            };
            if let Some(answer) = memo.find(&values) {
                self.figures().repeats(role);
                return Ok(answer.clone());
            }
            let answer = call()?;
            memo.keep(&answer);
            Ok(answer)
        })
    }

    /// Something with the instance; a fault costs it its place.
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Ready) -> Result<R, Fault>) -> Result<R, Failure> {
        // A guest cannot call back into a hook, so nobody else has it; were it so, it is busy.
        let Ok(mut place) = self.place.try_borrow_mut() else {
            return Err(Failure::Unavailable);
        };
        if !matches!(place.seat, Seat::Seated(_)) {
            self.take_seat(&mut place);
        }
        let Seat::Seated(ready) = &mut place.seat else {
            return Err(Failure::Unavailable);
        };
        f(ready).map_err(|fault| {
            self.failed(&mut place, &fault);
            Failure::Failed
        })
    }

    #[inline]
    fn counted<R>(&self, role: Role, call: impl FnOnce() -> R) -> R {
        let figures = self.figures();
        let start = figures.call(role).then(Instant::now);
        let answer = call();
        if let Some(start) = start {
            figures.took(role, start.elapsed());
        }
        answer
    }

    /// An instance for a probe, and its limit of CPU time: made here where there is none to be had, for several run at a time.
    pub(super) async fn lend(&self) -> Result<(Box<Ready>, Duration), Failure> {
        let limit = self.recipe.cpu_limit;
        self.figures().call(Role::Prober);
        if let Some(ready) = self.at_hand()? {
            return Ok((ready, limit));
        }
        let made = match self.recipe.slow.load(Relaxed) {
            false => self.recipe.make(&[], QUICK_LIMIT),
            true => {
                let recipe = self.recipe.clone();
                let made = tokio::task::spawn_blocking(move || recipe.make(&[], SLOW_LIMIT)).await;
                made.map_err(|_| Failure::Failed)?
            }
        };
        match made {
            Ok(ready) => Ok((Box::new(ready), limit)),
            Err(PrepareError::Failed {
                cause: Cause::Cpu, ..
            }) if !self.recipe.slow.swap(true, Relaxed) => Err(Failure::Unavailable),
            Err(error) => {
                self.broke(&Fault::bad_answer(error.to_string()));
                Err(Failure::Failed)
            }
        }
    }

    /// The seat's own, or a spare one. None: one must be made. Err: it keeps failing, and none is made for a while.
    fn at_hand(&self) -> Result<Option<Box<Ready>>, Failure> {
        let mut place = self.place.borrow_mut();
        if matches!(place.seat, Seat::Vacant { .. } | Seat::Making(_)) {
            self.take_seat(&mut place);
        }
        match std::mem::replace(&mut place.seat, Seat::Lent) {
            Seat::Seated(ready) => Ok(Some(ready)),
            Seat::Lent => Ok(self.spares.borrow_mut().pop().map(Box::new)),
            other => {
                place.seat = other;
                Err(Failure::Unavailable)
            }
        }
    }

    /// It is as good as it was.
    pub(super) fn take_back(&self, ready: Box<Ready>) {
        let mut place = self.place.borrow_mut();
        let mut spares = self.spares.borrow_mut();
        match place.seat {
            Seat::Lent => place.seat = Seat::Seated(ready),
            _ if spares.len() < MOST_SPARES => spares.push(*ready),
            _ => {}
        }
    }

    /// A lent one, which is gone.
    pub(super) fn broke(&self, fault: &Fault) {
        self.failed(&mut self.place.borrow_mut(), fault);
    }

    /// The servers of a pool have changed. An instance that is yet to be made is told as it is made.
    pub(super) fn updated(&self, pool: PoolIndex, servers: &[ServerView]) {
        let servers = self.recipe.remember(pool, servers);
        let Ok(mut place) = self.place.try_borrow_mut() else {
            return;
        };
        let Seat::Seated(ready) = &mut place.seat else {
            return;
        };
        if let Err(fault) = ready.guest.update(pool.0, &servers, SLOW_LIMIT) {
            self.failed(&mut place, &fault);
        }
    }

    /// What has changed while it was made elsewhere.
    fn catch_up(&self, ready: &mut Ready) -> Result<(), Fault> {
        let (version, updates) = self.recipe.updates();
        if ready.version == version {
            return Ok(());
        }
        ready.version = version;
        let mut updates = updates.iter();
        updates.try_for_each(|(pool, servers)| ready.guest.update(*pool, servers, SLOW_LIMIT))
    }

    /// What it answered turned out, later, to be what it may not say.
    #[cold]
    pub(super) fn answered_badly(&self, detail: String) {
        let Ok(mut place) = self.place.try_borrow_mut() else {
            return;
        };
        if matches!(place.seat, Seat::Seated(_)) {
            self.failed(&mut place, &Fault::bad_answer(detail));
        }
    }

    /// Makes an instance again if it is time, or takes one that was made meanwhile.
    #[cold]
    fn take_seat(&self, place: &mut Place) {
        match &place.seat {
            Seat::Vacant { until } if Instant::now() >= *until => self.make(place),
            Seat::Making(made) => match made.try_recv() {
                Ok(made) => self.made(place, made),
                Err(TryRecvError::Empty) => {}
                // The thread ended without a word: as if it had failed.
                Err(TryRecvError::Disconnected) => {
                    self.failed(place, &Fault::bad_answer("it could not be made again"));
                }
            },
            _ => {}
        }
    }

    #[cold]
    fn failed(&self, place: &mut Place, fault: &Fault) {
        self.figures().failed(fault.cause);
        let wait = place.record.failed(Instant::now());
        self.tell(fault, wait);
        self.figures()
            .quarantined
            .store(wait == QUARANTINE, Relaxed);
        place.seat = Seat::Vacant {
            until: Instant::now() + wait,
        };
        if wait.is_zero() {
            self.make(place);
        }
    }

    fn make(&self, place: &mut Place) {
        if !self.recipe.slow.load(Relaxed) {
            let made = self.recipe.make(&[], QUICK_LIMIT);
            let too_slow = matches!(
                made,
                Err(PrepareError::Failed {
                    cause: Cause::Cpu,
                    ..
                })
            );
            if !too_slow {
                return self.made(place, made);
            }
            self.recipe.slow.store(true, Relaxed);
        }
        let (sender, receiver) = channel();
        let recipe = self.recipe.clone();
        let maker = thread::Builder::new().name("plugin-maker".to_owned());
        let spawned = maker.spawn(move || {
            // Nobody waits any more when the worker has moved on to another generation.
            let _ = sender.send(recipe.make(&[], SLOW_LIMIT));
        });
        place.seat = match spawned {
            Ok(_) => Seat::Making(receiver),
            Err(_) => Seat::Vacant {
                until: Instant::now() + LONGEST_WAIT,
            },
        };
    }

    fn made(&self, place: &mut Place, made: Result<Ready, PrepareError>) {
        match made {
            Ok(mut ready) => {
                if let Err(fault) = self.catch_up(&mut ready) {
                    place.record.row = place.record.row.max(1);
                    return self.failed(place, &fault);
                }
                place.seat = Seat::Seated(Box::new(ready));
                if self.figures().quarantined.swap(false, Relaxed) {
                    let plugin = self.shared().name();
                    tracing::info!(plugin, worker = self.worker, "plugin left quarantine");
                }
            }
            Err(error) => {
                // At least the first wait: an instance that fails while it is made must not be made in a loop.
                place.record.row = place.record.row.max(1);
                let cause = match &error {
                    PrepareError::Failed { cause, .. } => *cause,
                    _ => Cause::BadAnswer,
                };
                let detail = error.to_string();
                self.failed(place, &Fault { cause, detail });
            }
        }
    }

    fn tell(&self, fault: &Fault, wait: Duration) {
        let (plugin, cause) = (self.shared().name(), fault.cause.name());
        let detail = printable(&fault.detail, 1 << 10);
        if wait == QUARANTINE {
            let worker = self.worker;
            tracing::error!(
                plugin,
                cause,
                worker,
                "plugin keeps failing and is quarantined for 30 s: {detail}"
            );
        } else if self.shared().begins_burst() {
            tracing::warn!(plugin, cause, "plugin failed: {detail}");
        }
    }

    fn figures(&self) -> &Figures {
        self.recipe.shared.figures(self.worker)
    }
}

impl Drop for WorkerPlugin {
    fn drop(&mut self) {
        self.figures().quarantined.store(false, Relaxed);
    }
}

impl Record {
    /// How long to wait until the next instance is made.
    fn failed(&mut self, now: Instant) -> Duration {
        let over = self
            .last
            .is_none_or(|last| now.duration_since(last) > FORGIVEN);
        self.row = if over { 1 } else { self.row + 1 };
        self.last = Some(now);
        if self.row >= CHANCES {
            *self = Record::default();
            return QUARANTINE;
        }
        match self.row {
            1 => Duration::ZERO,
            row => (FIRST_WAIT * (1 << (row - 2))).min(LONGEST_WAIT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_in_quarantine() {
        let start = Instant::now();
        let mut record = Record::default();
        let waits: Vec<u64> = (0..10)
            .map(|_| record.failed(start).as_millis() as u64)
            .collect();
        assert_eq!(
            waits,
            [0, 10, 20, 40, 80, 160, 320, 640, 1_280, 30_000],
            "milliseconds"
        );
        assert!(
            record.failed(start + QUARANTINE).is_zero(),
            "all chances again"
        );
    }

    #[test]
    fn a_row_is_forgiven() {
        let start = Instant::now();
        let mut record = Record::default();
        for n in 0..50 {
            assert!(record.failed(start + (FORGIVEN * 2) * n).is_zero());
        }
    }
}
