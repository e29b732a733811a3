//! How many retries of a pool may be under way at a time, in the whole process: a share of the requests that are, so that servers
//! which fail under load don't get more of it (Envoy's `retry_budget`). Nothing is counted but retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::live::Crew;
use crate::config::checked::RetryBudget;

#[derive(Default)]
pub struct Budget {
    under_way: AtomicU32,
    refused: AtomicU64,
}

/// A retry that is under way.
pub struct Retrying(Arc<Crew>);

impl Crew {
    /// Leave to try again; `active` are the pool's requests in flight. None: there is none.
    pub fn retry(self: &Arc<Self>, rule: &RetryBudget, active: u64) -> Option<Retrying> {
        let share = active.saturating_mul(rule.share.into()) / 100;
        let most = u32::try_from(share).unwrap_or(u32::MAX).max(rule.min);
        let budget = &self.budget;
        let taken = budget
            .under_way
            .fetch_update(Relaxed, Relaxed, |now| (now < most).then_some(now + 1));
        if taken.is_err() {
            budget.refused.fetch_add(1, Relaxed);
            return None;
        }
        Some(Retrying(self.clone()))
    }

    /// Retries that there was no leave for.
    pub fn retries_refused(&self) -> u64 {
        self.budget.refused.load(Relaxed)
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        self.0.budget.under_way.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_what_is_in_flight_but_never_fewer_than_the_least() {
        let crew = Arc::<Crew>::default();
        let rule = RetryBudget { share: 20, min: 2 };
        let few: Vec<_> = (0..3).map(|_| crew.retry(&rule, 0)).collect();
        assert_eq!(few.iter().flatten().count(), 2);
        assert!(crew.retry(&rule, 14).is_none(), "a fifth of 14 are 2");
        assert!(crew.retry(&rule, 15).is_some(), "of 15 they are 3");
        assert_eq!(crew.retries_refused(), 2);
        drop(few);
        assert!(crew.retry(&rule, 0).is_some(), "they have ended");
    }
}
