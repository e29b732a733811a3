//! Cells keyed by names: known to the whole process as a [`Family`], kept by each worker as a [`Grain`] of its own.
//!
//! A grain is a chain that only grows, at its end, and by its worker alone. A scrape walks it from its beginning without a
//! lock and without writing anything that the worker reads.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Room;
use super::cells::Cells;

/// The names of a series, in the order of its labels. Empty: there was none.
pub type Names<const N: usize> = [Box<str>; N];

/// What counts for all names that found no room.
pub const OTHER: &str = "other";

pub struct Family<const N: usize, C> {
    grains: Mutex<Vec<Arc<Grain<N, C>>>>,
    names: Mutex<HashSet<Arc<Names<N>>>>,
}

/// One worker's cells of a family.
pub struct Grain<const N: usize, C> {
    first: OnceLock<Arc<Link<N, C>>>,
    /// What found no room; made when something does not.
    other: OnceLock<Arc<Series<N, C>>>,
}

/// A series on one worker.
pub struct Series<const N: usize, C> {
    names: Arc<Names<N>>,
    pub cells: C,
}

struct Link<const N: usize, C> {
    series: Arc<Series<N, C>>,
    next: OnceLock<Arc<Link<N, C>>>,
}

/// The end of a grain at which its worker adds.
pub struct End<const N: usize, C> {
    grain: Arc<Grain<N, C>>,
    last: Option<Arc<Link<N, C>>>,
}

impl<const N: usize, C: Cells> Family<N, C> {
    /// A grain for one more worker.
    pub fn grain(&self) -> End<N, C> {
        let grain = Arc::new(Grain {
            first: OnceLock::new(),
            other: OnceLock::new(),
        });
        lock(&self.grains).push(grain.clone());
        End { grain, last: None }
    }

    /// The names as all workers have them. None: there is no room for new ones.
    fn intern(&self, names: [&str; N], room: &Room) -> Option<Arc<Names<N>>> {
        if room.is_full() {
            return None;
        }
        let names: Names<N> = names.map(Box::from);
        let mut known = lock(&self.names);
        if let Some(known) = known.get(&names) {
            return Some(known.clone());
        }
        if !room.take() {
            return None;
        }
        let names = Arc::new(names);
        known.insert(names.clone());
        Some(names)
    }

    /// The sums over all workers, by name.
    pub fn sums(&self) -> BTreeMap<Arc<Names<N>>, C> {
        // Cloned: a worker that starts must not wait for the sums.
        let grains = lock(&self.grains).clone();
        let mut sums: BTreeMap<Arc<Names<N>>, C> = BTreeMap::new();
        for series in grains.iter().flat_map(|grain| grain.series()) {
            match sums.get(&series.names) {
                Some(sum) => sum.add(&series.cells),
                None => {
                    let sum = C::default();
                    sum.add(&series.cells);
                    sums.insert(series.names.clone(), sum);
                }
            }
        }
        sums
    }
}

impl<const N: usize, C> Default for Family<N, C> {
    fn default() -> Self {
        Family {
            grains: Mutex::default(),
            names: Mutex::default(),
        }
    }
}

impl<const N: usize, C: Cells> End<N, C> {
    pub fn grain(&self) -> &Arc<Grain<N, C>> {
        &self.grain
    }

    /// A new series, unless there is no room. To be asked once for the same names.
    pub fn add(
        &mut self,
        family: &Family<N, C>,
        room: &Room,
        names: [&str; N],
    ) -> Option<Arc<Series<N, C>>> {
        let series = Arc::new(Series::new(family.intern(names, room)?));
        let link = Arc::new(Link {
            series: series.clone(),
            next: OnceLock::new(),
        });
        let place = match &self.last {
            Some(last) => &last.next,
            None => &self.grain.first,
        };
        // Empty: nobody else adds.
        let _ = place.set(link.clone());
        self.last = Some(link);
        Some(series)
    }

    pub fn other(&self) -> Arc<Series<N, C>> {
        let make = || {
            let names = std::array::from_fn(|_| OTHER.into());
            Arc::new(Series::new(Arc::new(names)))
        };
        self.grain.other.get_or_init(make).clone()
    }
}

impl<const N: usize, C> Grain<N, C> {
    /// In the order of their making, the overflow last.
    pub fn series(&self) -> impl Iterator<Item = &Series<N, C>> {
        let first = self.first.get();
        std::iter::successors(first, |link| link.next.get())
            .map(|link| &link.series)
            .chain(self.other.get())
            .map(|series| &**series)
    }
}

impl<const N: usize, C: Cells> Series<N, C> {
    fn new(names: Arc<Names<N>>) -> Series<N, C> {
        Series {
            names,
            cells: C::default(),
        }
    }

    pub fn is_of(&self, names: [&str; N]) -> bool {
        self.names
            .iter()
            .zip(names)
            .all(|(mine, name)| **mine == *name)
    }
}

/// Link by link: a long chain must not be dropped by recursion.
impl<const N: usize, C> Drop for Link<N, C> {
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut link) = next.and_then(Arc::into_inner) {
            next = link.next.take();
        }
    }
}

impl Room {
    pub fn is_full(&self) -> bool {
        self.taken.load(Relaxed) >= self.most
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    fn take(&self) -> bool {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, more).is_ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
