//! Counters that plugins open, for `/metrics`. A series keeps its handle for the life of the process.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::cells::Cells;

/// Series of one plugin. The counts of those opened beyond, or under a wrong name, go to one counter of refusals.
pub const MOST_SERIES: usize = 1_000;

const MOST_LABELS: usize = 16;
const MOST_NAME: usize = 100;
const MOST_LABEL_VALUE: usize = 256;

/// The handle whose counts are refused ones.
const REFUSED: u32 = 0;

/// What the proxy itself says of plugins under `tidegate_plugin_…`: a plugin's own metric can't have these names.
const RESERVED: [&str; 7] = [
    "call_duration_seconds",
    "calls",
    "counters_refused",
    "failures",
    "instances",
    "log_lines_dropped",
    "quarantined_workers",
];

#[derive(Default)]
pub struct Counters {
    known: Mutex<HashMap<(String, Labels), u32>>,
    /// The highest handle given.
    opened: AtomicU32,
    counts: Cells,
}

type Labels = Vec<(String, String)>;

/// One counter as it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub metric: String,
    pub labels: Labels,
    pub count: u64,
}

impl Counters {
    /// A handle on the series of that name and these labels.
    pub fn open(&self, metric: String, mut labels: Labels) -> u32 {
        labels.sort();
        if !may_be_metric(&metric) || !may_be_labels(&labels) {
            return self.refuse();
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.len() as u32 + 1;
        let full = known.len() >= MOST_SERIES;
        match known.entry((metric, labels)) {
            Entry::Occupied(series) => *series.get(),
            Entry::Vacant(_) if full => self.refuse(),
            Entry::Vacant(series) => {
                self.counts.make(fresh);
                self.opened.store(fresh, Relaxed);
                *series.insert(fresh)
            }
        }
    }

    /// False: no such handle.
    pub fn count(&self, handle: u32, delta: u64) -> bool {
        match self.counts.at(handle) {
            Some(count) if handle <= self.opened.load(Relaxed) => {
                count.fetch_add(delta, Relaxed);
                true
            }
            _ => false,
        }
    }

    /// What was counted on handles that were refused.
    pub fn refused(&self) -> u64 {
        self.counts.at(REFUSED).map_or(0, |c| c.load(Relaxed))
    }

    fn refuse(&self) -> u32 {
        self.counts.make(REFUSED);
        REFUSED
    }

    /// Every series, sorted.
    pub fn all(&self) -> Vec<Series> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Series> = known
            .iter()
            .map(|((metric, labels), handle)| Series {
                metric: metric.clone(),
                labels: labels.clone(),
                count: self.counts.at(*handle).map_or(0, |c| c.load(Relaxed)),
            })
            .collect();
        drop(known);
        all.sort();
        all
    }
}

fn may_be_metric(name: &str) -> bool {
    may_be_name(name) && !RESERVED.contains(&name)
}

/// `[a-z_][a-z0-9_]*`.
fn may_be_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let starts = bytes.first().is_some_and(|b| !b.is_ascii_digit());
    let fits = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_';
    starts && name.len() <= MOST_NAME && bytes.iter().all(fits)
}

/// Sorted by name; each name once, and none that the proxy itself sets.
fn may_be_labels(labels: &[(String, String)]) -> bool {
    let twice = labels.windows(2).any(|pair| pair[0].0 == pair[1].0);
    let fits = |(name, value): &(String, String)| {
        may_be_name(name)
            && name != "plugin"
            && !name.starts_with("__")
            && value.len() <= MOST_LABEL_VALUE
    };
    labels.len() <= MOST_LABELS && !twice && labels.iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn the_same_name_and_labels_give_the_same_handle() {
        let counters = Counters::default();
        let a = counters.open("hits".into(), labels(&[("zone", "a"), ("kind", "x")]));
        let b = counters.open("hits".into(), labels(&[("kind", "x"), ("zone", "a")]));
        let c = counters.open("hits".into(), labels(&[("zone", "b")]));
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert!(counters.count(a, 2) && counters.count(b, 3));
        assert_eq!(counters.all()[0].count, 5);
    }

    #[test]
    fn wrong_names_are_refused_and_counted() {
        let counters = Counters::default();
        for name in ["", "9", "Hits", "a-b", "calls", "ü"] {
            let handle = counters.open(name.into(), labels(&[]));
            assert!(counters.count(handle, 1), "{name:?}");
        }
        for wrong in [
            &[("plugin", "x")][..],
            &[("a", "1"), ("a", "2")],
            &[("a b", "")],
        ] {
            let handle = counters.open("hits".into(), labels(wrong));
            assert!(counters.count(handle, 1), "{wrong:?}");
        }
        assert_eq!((counters.refused(), counters.all().len()), (9, 0));
    }

    #[test]
    fn beyond_the_bound_counts_are_refused() {
        let counters = Counters::default();
        let first = counters.open("a".into(), labels(&[("n", "0")]));
        for n in 1..MOST_SERIES {
            counters.open("a".into(), labels(&[("n", &n.to_string())]));
        }
        let over = counters.open("b".into(), labels(&[]));
        assert!(counters.count(over, 7) && counters.count(first, 1));
        assert_eq!((counters.refused(), counters.all().len()), (7, MOST_SERIES));
        assert_eq!(
            counters.open("a".into(), labels(&[("n", "0")])),
            first,
            "a known one is still found"
        );
    }

    #[test]
    fn an_unknown_handle_is_told() {
        let counters = Counters::default();
        assert!(!counters.count(0, 1), "nothing opened yet");
        let a = counters.open("a".into(), labels(&[]));
        assert!(counters.count(a, 1));
        assert!(!counters.count(a + 1, 1), "not opened yet");
        assert!(!counters.count(u32::MAX, 1));
    }
}
