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

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{Harness, Value, json, server};

    use super::First;

    fn balancer(settings: Value) -> Harness<First> {
        let plugin = Harness::new(settings).unwrap();
        plugin.set_pool("app", [server("a"), server("b"), server("spare").backup()]);
        plugin
    }

    #[test]
    fn without_a_limit_the_first_usable_takes_all() {
        let plugin = balancer(json!({}));
        plugin.live("app", "a").inflight(10_000);
        assert_eq!(plugin.pick("app").unwrap(), "a");
        plugin.set_pool("app", [server("a").drain(), server("b")]);
        assert_eq!(plugin.pick("app").unwrap(), "b");
    }

    #[test]
    fn a_full_server_sends_on_to_the_next() {
        let plugin = balancer(json!({ "max-in-flight": 2 }));
        plugin.live("app", "a").inflight(1);
        assert_eq!(plugin.pick("app").unwrap(), "a");
        plugin.live("app", "a").inflight(2);
        assert_eq!(plugin.pick("app").unwrap(), "b");
    }

    #[test]
    fn when_all_are_full_the_least_loaded_takes_more() {
        let plugin = balancer(json!({ "max-in-flight": 2 }));
        plugin.live("app", "a").inflight(4);
        plugin.live("app", "b").inflight(3);
        assert_eq!(
            plugin.pick("app").unwrap(),
            "b",
            "and not the backup: b is usable"
        );
    }

    #[test]
    fn a_retry_takes_the_next_in_line_and_then_the_backup() {
        let plugin = balancer(json!({}));
        assert_eq!(plugin.pick_again("app", &["a"]).unwrap(), "b");
        assert_eq!(plugin.pick_again("app", &["a", "b"]).unwrap(), "spare");
        assert_eq!(plugin.pick_again("app", &["a", "b", "spare"]), None);
    }

    #[test]
    fn a_wrong_setting_is_refused() {
        let refusal = Harness::<First>::new(json!({ "max-inflight": 2 })).unwrap_err();
        assert_eq!(
            refusal,
            "key `max-inflight`: unknown field `max-inflight`, expected `max-in-flight`"
        );
    }
}
