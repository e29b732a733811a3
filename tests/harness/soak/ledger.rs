//! What became of each request, and when servers died: a failure is excused by a death that came while it was under way, and by nothing
//! else.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Failures whose words are kept.
const KEPT: usize = 1000;

/// A request may begin on a kept connection whose end it has not heard of yet, and a dying server takes its time.
const AROUND: Duration = Duration::from_millis(1500);

#[derive(Default)]
pub struct Ledger(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    by_kind: BTreeMap<&'static str, u64>,
    failures: Vec<Failure>,
    deaths: Vec<Instant>,
}

struct Failure {
    kind: &'static str,
    began: Instant,
    ended: Instant,
    words: String,
}

/// Failures by what is to be made of them.
#[derive(Default)]
pub struct Failures {
    /// By the death of a server.
    pub explained: u64,
    /// In words.
    pub unexplained: Vec<String>,
}

impl Ledger {
    pub fn note(&self, kind: &'static str, began: Instant, result: Result<(), String>) {
        let mut inner = self.lock();
        *inner.by_kind.entry(kind).or_default() += 1;
        if let Err(words) = result
            && inner.failures.len() < KEPT
        {
            inner.failures.push(Failure {
                kind,
                began,
                ended: Instant::now(),
                words,
            });
        }
    }

    /// A server is about to die.
    pub fn death(&self) {
        self.lock().deaths.push(Instant::now());
    }

    pub fn requests(&self) -> u64 {
        self.lock().by_kind.values().sum()
    }

    pub fn by_kind(&self) -> BTreeMap<&'static str, u64> {
        self.lock().by_kind.clone()
    }

    pub fn failures(&self) -> Failures {
        let inner = self.lock();
        let start = inner.deaths.first().copied();
        let mut failures = Failures::default();
        for failure in &inner.failures {
            let explains =
                |death: &Instant| *death + AROUND >= failure.began && *death <= failure.ended;
            if inner.deaths.iter().any(explains) {
                failures.explained += 1;
                continue;
            }
            let since = start.map_or(0.0, |start| {
                failure.ended.saturating_duration_since(start).as_secs_f64()
            });
            failures.unexplained.push(format!(
                "{}: {}, after {:?}, {since:.1} s after the first death",
                failure.kind,
                failure.words,
                failure.ended - failure.began
            ));
        }
        failures
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nobody panics while it holds this")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_explains_what_was_under_way_and_nothing_else() {
        let ledger = Ledger::default();
        let long_ago = Instant::now() - Duration::from_secs(60);
        ledger.note("early", long_ago, Err("before any death".to_owned()));
        ledger.death();
        ledger.note("cut", long_ago, Err("under way".to_owned()));
        ledger.note("stale", Instant::now(), Err("just after".to_owned()));
        ledger.note("fine", Instant::now(), Ok(()));
        let failures = ledger.failures();
        assert_eq!(failures.explained, 2);
        assert_eq!(failures.unexplained.len(), 1, "{:?}", failures.unexplained);
        assert!(failures.unexplained[0].starts_with("early: before any death"));
        assert_eq!(ledger.requests(), 4);
    }
}
