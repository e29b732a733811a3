//! Number series that workers share: no number is given twice, on whichever worker, before or after a swap. Exact round
//! robin stands on it.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use dashmap::DashMap;
use xxhash_rust::xxh3::xxh3_128;

use super::cells::Cells;

/// Series of one plugin; those opened beyond share one.
pub const MOST_TICKETS: u32 = 100_000;

#[derive(Default)]
pub struct Tickets {
    /// By the name's hash, so that a name's length costs nothing. Two names of a plugin that collide, one in 2^128 by
    /// chance, share a series; they can't be another plugin's.
    known: DashMap<u128, u32>,
    next: AtomicU32,
    series: Cells,
}

impl Tickets {
    /// A handle on the series of that name.
    pub fn open(&self, name: &str) -> u32 {
        let hash = xxh3_128(name.as_bytes());
        if let Some(known) = self.known.get(&hash) {
            return *known;
        }
        if self.next.load(Relaxed) >= MOST_TICKETS {
            return self.shared();
        }
        *self.known.entry(hash).or_insert_with(|| {
            let fresh = self.next.fetch_add(1, Relaxed);
            if fresh >= MOST_TICKETS {
                return self.shared();
            }
            self.series.make(fresh);
            fresh
        })
    }

    /// The next number of the series, from 0. None: no such handle.
    pub fn take(&self, handle: u32) -> Option<u64> {
        let opened = self.next.load(Relaxed).min(MOST_TICKETS);
        if handle >= opened && handle != MOST_TICKETS {
            return None;
        }
        Some(self.series.at(handle)?.fetch_add(1, Relaxed))
    }

    fn shared(&self) -> u32 {
        self.series.make(MOST_TICKETS);
        MOST_TICKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_once_across_threads() {
        let tickets = Tickets::default();
        let mut all: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let handle = tickets.open("pool app");
                        (0..1_000)
                            .map(|_| tickets.take(handle).unwrap())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|t| t.join().unwrap())
                .collect()
        });
        all.sort_unstable();
        assert_eq!(all, (0..4_000).collect::<Vec<u64>>());
    }

    #[test]
    fn an_unknown_handle_is_refused() {
        let tickets = Tickets::default();
        assert_eq!(tickets.take(0), None);
        let a = tickets.open("a");
        assert_eq!(tickets.take(a), Some(0));
        assert_eq!(tickets.take(a + 1), None);
        assert_eq!(tickets.take(u32::MAX), None);
        assert_eq!(tickets.take(MOST_TICKETS), None);
    }

    #[test]
    fn beyond_the_bound_all_share_one() {
        let tickets = Tickets::default();
        for n in 0..MOST_TICKETS {
            tickets.open(&n.to_string());
        }
        let (one, other) = (tickets.open("one more"), tickets.open("another"));
        assert_eq!(one, other);
        assert_eq!((tickets.take(one), tickets.take(other)), (Some(0), Some(1)));
        assert_eq!(tickets.known.len(), MOST_TICKETS as usize);
    }
}
