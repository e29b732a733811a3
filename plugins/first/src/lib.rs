//! The balancer `first`: fill one server before the next is used, HAProxy's `balance first`.
//!
//! Servers in the config's order; the first with fewer than `max-in-flight` requests takes the next one. So few servers work,
//! and the last ones can be shut down when the load is low.

use tidegate_sdk::prelude::*;

struct First {
    /// 0: no limit, the first usable server takes all.
    max_in_flight: u32,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    max_in_flight: u32,
}

impl Plugin for First {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        Ok(First {
            max_in_flight: settings.max_in_flight,
        })
    }
}

impl Balancer for First {
    fn pick(&self, pool: &Pool, _: &Pick) -> Option<Slot> {
        if self.max_in_flight == 0 {
            return pool.usable().next().map(|server| server.slot);
        }
        self.first_below_limit(pool)
            .or_else(|| pool.usable().min_by_key(|server| server.inflight()))
            .map(|server| server.slot)
    }
}

impl First {
    fn first_below_limit<'a>(&self, pool: &Pool<'a>) -> Option<&'a Server> {
        pool.usable()
            .find(|server| server.inflight() < self.max_in_flight)
    }
}

export!(First: Balancer);
