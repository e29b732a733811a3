//! The names that are wanted: a task for each asks again as the answer's TTL ends, and what was learned is kept.
//!
//! ```text
//!            asked ──────► answered: kept for its TTL, within `min-ttl` and `max-ttl`
//!              ▲  └──────► missing, or failing: the last answer stays for `hold-missing` or `hold-failing`,
//!              └── later           and it is asked again soon, at growing distances
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::resolver::{Answer, Asker, NoAnswer};
use crate::config::checked::Dns;
use crate::config::lookup::{Found, Lookup};

/// The longest wait after a failure, unless `min-ttl` is longer.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// What names stand for. A name without an entry is not known to stand for anything.
pub type Answers = HashMap<Lookup, Vec<Found>>;

/// All names that are looked up, for the one loop that changes take and for whoever reads how they are.
#[derive(Default)]
pub struct Names {
    kept: Mutex<Kept>,
    /// Told when an answer is another than before.
    changed: Notify,
    /// Counts look-ups, for those who wait for the first of a name.
    done: watch::Sender<u64>,
    pub counts: Counts,
}

#[derive(Default)]
struct Kept {
    /// With the settings that it asks by; none while there is nothing to ask.
    asker: Option<(Arc<Dns>, Arc<Asker>)>,
    names: HashMap<Lookup, Entry>,
}

struct Entry {
    #[expect(dead_code, reason = "it ends the task when it is dropped")]
    task: Task,
    known: Known,
}

/// What is known of a name.
#[derive(Clone, Default)]
struct Known {
    found: Option<Vec<Found>>,
    asked: bool,
    failing: Option<Failing>,
    /// When the next look-up is due.
    next: Option<Instant>,
}

/// How it went since the last answer.
#[derive(Clone)]
struct Failing {
    since: Instant,
    /// Since DNS says that the name stands for nothing. That it said nothing at all before is not held against the servers.
    missing_since: Option<Instant>,
    row: u32,
    words: String,
}

/// A task that ends with its entry.
struct Task(AbortHandle);

/// Look-ups by what came of them.
#[derive(Default)]
pub struct Counts {
    pub answered: AtomicU64,
    pub missing: AtomicU64,
    pub failed: AtomicU64,
}

/// How a name is.
#[derive(Clone, Debug)]
pub struct Standing {
    pub addresses: usize,
    /// Until the next look-up; None: one is under way.
    pub next: Option<Duration>,
    /// Since when look-ups bring nothing.
    pub failing: Option<Duration>,
    /// Why the last look-up brought nothing.
    pub problem: Option<String>,
}

impl Names {
    /// Looks up these names from now on, and no others. Those that were looked up before go on as they are, under other
    /// settings with what they know.
    pub fn follow(self: &Arc<Self>, wanted: HashSet<Lookup>, dns: &Arc<Dns>) {
        let mut kept = self.kept();
        let known = kept.asker.take().filter(|(known, _)| known == dns);
        let same = known.is_some();
        let mut old = std::mem::take(&mut kept.names);
        if wanted.is_empty() {
            return;
        }
        let (_, asker) = kept
            .asker
            .insert(known.unwrap_or_else(|| (dns.clone(), Arc::new(Asker::new(dns.clone())))))
            .clone();
        if same && wanted.len() == old.len() && wanted.iter().all(|name| old.contains_key(name)) {
            kept.names = old;
            return;
        }
        for lookup in wanted {
            let before = old.remove(&lookup);
            let entry = match before {
                Some(entry) if same => entry,
                before => {
                    let known = before.map(|entry| entry.known).unwrap_or_default();
                    let turns = Turns {
                        names: self.clone(),
                        asker: asker.clone(),
                        dns: dns.clone(),
                        lookup: lookup.clone(),
                    };
                    let task = tokio::spawn(turns.take()).abort_handle();
                    Entry {
                        task: Task(task),
                        known,
                    }
                }
            };
            kept.names.insert(lookup, entry);
        }
    }

    /// Waits until each of the names that are followed has been asked for once, but no longer than this.
    pub async fn settle(&self, most: Duration) {
        let mut done = self.done.subscribe();
        let all_asked = async {
            while !self.kept().names.values().all(|entry| entry.known.asked) {
                if done.changed().await.is_err() {
                    return;
                }
            }
        };
        // What is not known by then comes as a change.
        let _ = tokio::time::timeout(most, all_asked).await;
    }

    /// What is known now.
    pub fn answers(&self) -> Answers {
        let kept = self.kept();
        let known = kept.names.iter();
        known
            .filter_map(|(lookup, entry)| Some((lookup.clone(), entry.known.found.clone()?)))
            .collect()
    }

    /// Resolves when an answer has changed since the last time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    pub fn standing(&self, lookup: &Lookup) -> Option<Standing> {
        let kept = self.kept();
        let known = &kept.names.get(lookup)?.known;
        let now = Instant::now();
        let next = known.next.map(|next| next.saturating_duration_since(now));
        let failing = known.failing.as_ref();
        Some(Standing {
            next: next.filter(|next| !next.is_zero()),
            failing: failing.map(|failing| now.saturating_duration_since(failing.since)),
            addresses: known.found.as_ref().map_or(0, Vec::len),
            problem: match &known.failing {
                Some(failing) => Some(failing.words.clone()),
                None if !known.asked => Some("not answered yet".to_owned()),
                None => None,
            },
        })
    }

    /// Names that are looked up, and those of them whose last look-up brought nothing.
    pub fn figures(&self) -> (usize, usize) {
        let kept = self.kept();
        let failing = kept.names.values().filter(|e| e.known.failing.is_some());
        (kept.names.len(), failing.count())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a look-up's result down: when the next is due. None: nobody wants to know any more.
    fn note(
        &self,
        lookup: &Lookup,
        dns: &Dns,
        result: Result<Answer, NoAnswer>,
    ) -> Option<Duration> {
        self.count(&result);
        let (next, changed) = {
            let mut kept = self.kept();
            let known = &mut kept.names.get_mut(lookup)?.known;
            let before = known.found.clone();
            let next = known.note(lookup.name(), dns, result);
            known.next = Some(Instant::now() + next);
            (next, before != known.found)
        };
        self.done.send_modify(|done| *done += 1);
        if changed {
            self.changed.notify_one();
        }
        Some(next)
    }

    fn count(&self, result: &Result<Answer, NoAnswer>) {
        let count = match result {
            Ok(_) => &self.counts.answered,
            Err(NoAnswer::Missing(_)) => &self.counts.missing,
            Err(NoAnswer::Failed(_)) => &self.counts.failed,
        };
        count.fetch_add(1, Relaxed);
    }
}

impl Known {
    /// When the next look-up is due.
    fn note(&mut self, name: &str, dns: &Dns, result: Result<Answer, NoAnswer>) -> Duration {
        self.asked = true;
        let (missing, words) = match result {
            Ok(Answer { found, ttl }) => {
                if self.failing.take().is_some() {
                    tracing::info!(name, addresses = found.len(), "name is resolved again");
                }
                self.found = Some(found);
                return ttl.clamp(dns.min_ttl, dns.max_ttl);
            }
            Err(NoAnswer::Missing(words)) => (true, words),
            Err(NoAnswer::Failed(words)) => (false, words),
        };
        let held = self.found.is_some();
        let now = Instant::now();
        let mut failing = match self.failing.take() {
            Some(failing) => Failing {
                row: failing.row + 1,
                ..failing
            },
            None => {
                tracing::warn!(
                    name,
                    reason = words,
                    held,
                    "name can't be resolved; the addresses that are known stay"
                );
                Failing {
                    since: now,
                    missing_since: None,
                    row: 0,
                    words: String::new(),
                }
            }
        };
        failing.words.clone_from(&words);
        let (hold, since) = match missing {
            true => {
                let since = failing.missing_since.get_or_insert(now);
                (Some(dns.hold_missing), *since)
            }
            false => (dns.hold_failing, failing.since),
        };
        let retry = (dns.min_ttl * 2u32.saturating_pow(failing.row.min(16)))
            .min(LONGEST_RETRY)
            .max(dns.min_ttl);
        self.failing = Some(failing);
        let left = match hold {
            Some(hold) if held => hold.saturating_sub(now.duration_since(since)),
            _ => return retry,
        };
        if left.is_zero() {
            self.found = None;
            tracing::error!(name, reason = words, "name is given up: its servers go");
            return retry;
        }
        retry.min(left)
    }
}

/// One name's look-ups, one after the other.
struct Turns {
    names: Arc<Names>,
    asker: Arc<Asker>,
    dns: Arc<Dns>,
    lookup: Lookup,
}

impl Turns {
    async fn take(self) {
        loop {
            let result = self.asker.ask(&self.lookup).await;
            let Some(next) = self.names.note(&self.lookup, &self.dns, result) else {
                return;
            };
            tokio::time::sleep(next).await;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns() -> Dns {
        Dns {
            servers: Vec::new(),
            timeout: Duration::from_secs(1),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(60),
            hold_missing: Duration::from_secs(30),
            hold_failing: None,
            wait: Duration::ZERO,
            family: Default::default(),
        }
    }

    fn answer(ttl: u64) -> Result<Answer, NoAnswer> {
        Ok(Answer {
            found: vec![Found {
                address: "10.0.0.1:80".parse().unwrap(),
                weight: None,
                backup: false,
            }],
            ttl: Duration::from_secs(ttl),
        })
    }

    fn missing() -> Result<Answer, NoAnswer> {
        Err(NoAnswer::Missing("NXDOMAIN".into()))
    }

    fn failed() -> Result<Answer, NoAnswer> {
        Err(NoAnswer::Failed("no answer in time".into()))
    }

    #[test]
    fn the_ttl_is_kept_within_its_bounds() {
        let mut known = Known::default();
        let mut next = |ttl| known.note("a", &dns(), answer(ttl)).as_secs();
        assert_eq!([next(0), next(7), next(3_600)], [1, 7, 60]);
    }

    #[test]
    fn failures_are_retried_at_growing_distances() {
        let mut known = Known::default();
        let mut next = || known.note("a", &dns(), failed()).as_secs();
        assert_eq!([next(), next(), next(), next(), next()], [1, 2, 4, 8, 10]);
    }

    #[test]
    fn the_last_answer_outlives_failures_for_as_long_as_it_may() {
        let mut known = Known::default();
        known.note("a", &dns(), answer(1));
        for _ in 0..20 {
            known.note("a", &dns(), failed());
        }
        assert!(known.found.is_some(), "for ever, unless told otherwise");
        let hour = Duration::from_secs(3_600);
        if let Some(failing) = &mut known.failing {
            failing.since = failing.since.checked_sub(hour).unwrap_or(failing.since);
        }
        known.note("a", &dns(), missing());
        assert!(
            known.found.is_some(),
            "30 seconds from now, not from the first failure"
        );
        let hasty = Dns {
            hold_missing: Duration::ZERO,
            ..dns()
        };
        known.note("a", &hasty, missing());
        assert!(known.found.is_none());
        known.note("a", &hasty, answer(1));
        assert!(known.found.is_some() && known.failing.is_none());
    }
}
