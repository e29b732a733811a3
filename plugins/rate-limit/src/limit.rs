//! One limit: a bucket for each key, and how it is told of in the headers of draft-ietf-httpapi-ratelimit-headers-10.

use std::time::Duration;

use tidegate_sdk::{Request, shared};

use crate::by::By;

pub struct Limit {
    pub name: String,
    pub per_second: f64,
    pub burst: u32,
    pub by: By,
}

/// With the item of `RateLimit`.
pub enum Said {
    Allowed(String),
    Refused(Duration, String),
}

impl Limit {
    pub fn draw(&self, r: &Request) -> Said {
        let key = self.by.key(&self.name, r);
        let Some(level) = shared::take_some(key, self.per_second, self.burst, 1) else {
            // All that is kept are buckets, and the store makes room for a bucket.
            return Said::Allowed(self.item(self.burst, 0));
        };
        match level.taken {
            true => Said::Allowed(self.item(level.left, level.full_ms)),
            false => {
                let wait = Duration::from_millis(level.wait_ms.into());
                Said::Refused(wait, self.item(level.left, level.wait_ms))
            }
        }
    }

    /// A bucket's quota is its burst, and its window the time that it takes to fill: the most that comes in any such window
    /// is twice that, right after a pause.
    pub fn policy(&self) -> String {
        let window = (f64::from(self.burst) / self.per_second).ceil().max(1.0);
        format!("\"{}\";q={};w={window}", self.name, self.burst)
    }

    /// What is left, and the seconds until there is more: all of it, or the next one where none is left.
    fn item(&self, left: u32, millis: u32) -> String {
        format!("\"{}\";r={left};t={}", self.name, millis.div_ceil(1000))
    }
}
