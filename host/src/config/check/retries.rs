//! What a pool's `retries` and `retry-…` keys say together.

use super::Check;
use crate::config::checked::{Retry, RetryBudget};
use crate::config::probing::RetryKind;
use crate::config::problem::Problem;
use crate::config::written;

impl Check<'_> {
    pub(super) fn retry(&mut self, written: &written::Pool) -> Retry {
        self.what_is_never_tried_again(written);
        let mut retry = Retry {
            connect: false,
            reset: false,
            any_method: written.retry_unsafe.value,
            body: written.retry_body.value.0 as usize,
            budget: written.retry_budget.given().map(|budget| RetryBudget {
                share: budget.value.share.value.0,
                min: budget.value.min.value.0 as u32,
            }),
            ..Retry::default()
        };
        for kind in &written.retry_on.value {
            match kind.value {
                RetryKind::Connect => retry.connect = true,
                RetryKind::Reset => retry.reset = true,
                RetryKind::Timeout => retry.timeout = true,
                RetryKind::Junk => retry.junk = true,
                RetryKind::Status(status) => retry.statuses.push(status),
            }
        }
        retry
    }

    /// A body is kept for a second attempt; without one it would only be held up.
    fn what_is_never_tried_again(&mut self, written: &written::Pool) {
        let kinds = &written.retry_on.value;
        let repeats = kinds.iter().any(|kind| kind.value != RetryKind::Connect);
        let never = written.retries.value.0 == 0 || !repeats;
        if written.retry_body.value.0 > 0 && never {
            self.problem(Problem::at(
                written.retry_body.span.clone(),
                "a body is kept for a request that is never sent again",
                "take it out, or name more than \"connect\" in `retry-on` and let `retries` be 1 or more",
            ));
        }
    }
}
