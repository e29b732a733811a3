//! Picks the server that would answer soonest: fewest requests in flight for its weight, and among equals the one that answers
//! faster. Servers of the preferred zone come first, the others when none of them may be used.
//!
//! Settings (`config = { … }` of the `[[plugin]]`):
//!
//! | key | what it is | default |
//! |---|---|---|
//! | `zone` | value of the label `zone` to be preferred | none: all alike |

use std::cmp::Ordering;

use serde::Deserialize;
use tidegate_sdk::prelude::*;

pub struct PluginName {
    zone: Option<String>,
}

// An unknown key is refused, with the known ones named: a typing error doesn't go unnoticed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    zone: Option<String>,
}

impl Plugin for PluginName {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        if settings.zone.as_deref() == Some("") {
            return Err("key `zone`: must not be empty; leave it out to treat all servers alike".into());
        }
        Ok(PluginName { zone: settings.zone })
    }
}

impl Balancer for PluginName {
    /// Called for each attempt of each request, so it allocates nothing. `usable` leaves out what is down, draining or was
    /// tried before; it gives the backups when there is nothing else.
    fn pick(&self, pool: &Pool, p: &Pick) -> Option<Slot> {
        let near = self.zone.as_deref().and_then(|zone| soonest(pool.labelled("zone", zone), p));
        near.or_else(|| soonest(pool.usable(), p))
    }
}

/// Begins at a random place and goes round, so that equal servers share the load.
fn soonest<'a>(servers: impl Iterator<Item = &'a Server> + Clone, p: &Pick) -> Option<Slot> {
    let count = servers.clone().count();
    let start = (p.random % count.max(1) as u64) as usize;
    let from_there = servers.clone().skip(start).chain(servers.take(start));
    from_there.min_by(|a, b| by_load(a, b)).map(|server| server.slot)
}

/// Live counters, over all workers, cost a nanosecond or two each. a / b < c / d is reckoned as a * d < c * b.
fn by_load(a: &Server, b: &Server) -> Ordering {
    let load = |server: &Server, other: &Server| u64::from(server.inflight() + 1) * u64::from(other.weight);
    let latency = |server: &Server| server.ewma_us();
    load(a, b).cmp(&load(b, a)).then(latency(a).cmp(&latency(b)))
}

export!(PluginName: Balancer);

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_sdk::test::{Harness, json, server};

    #[test]
    fn the_least_loaded_for_its_weight_is_picked() {
        let plugin = Harness::<PluginName>::new(json!({})).unwrap();
        plugin.set_pool("app", [server("small"), server("large").weight(4)]);
        plugin.live("app", "small").inflight(1);
        plugin.live("app", "large").inflight(3);
        assert_eq!(plugin.pick("app").as_deref(), Some("large"));
    }

    #[test]
    fn the_own_zone_comes_first() {
        let plugin = Harness::<PluginName>::new(json!({ "zone": "b" })).unwrap();
        plugin.set_pool("app", [server("a1").label("zone", "a"), server("b1").label("zone", "b")]);
        plugin.live("app", "b1").inflight(50);
        assert_eq!(plugin.pick("app").as_deref(), Some("b1"));
        assert_eq!(plugin.pick_again("app", &["b1"]).as_deref(), Some("a1"));
    }

    #[test]
    fn an_empty_zone_is_refused() {
        let refusal = Harness::<PluginName>::new(json!({ "zone": "" })).err().unwrap();
        assert!(refusal.contains("`zone`"), "{refusal}");
    }
}
