//! The balancer `two-choices`: of two servers drawn at random, the one with fewer requests in flight for its weight.
//!
//! Nearly as even as comparing all (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing"), at a price that doesn't
//! grow with the pool, and proxies that don't know of each other's requests never all run to the same server. nginx's
//! `random two least_conn`, HAProxy's `random(2)`.

use tidegate_sdk::Draw;
use tidegate_sdk::prelude::*;

/// Draws until there are two different ones. With two servers of weight 256 and 1 they still differ in one of twelve cases, and
/// where they don't the heavy one is right.
const DRAWS: usize = 8;

struct TwoChoices {
    draws: PerPool<Draw>,
}

impl Plugin for TwoChoices {
    type Settings = NoSettings;

    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(TwoChoices {
            draws: PerPool::default(),
        })
    }
}

impl Balancer for TwoChoices {
    fn update(&self, pool: &Pool) {
        let draw = Draw::new(pool.eligible().iter().map(|server| server.weight));
        self.draws.set(pool.index(), draw);
    }

    fn pick(&self, pool: &Pool, p: &Pick) -> Option<Slot> {
        let draw = self.draws.get(pool.index())?;
        let mut drawn = draw
            .numbers(p.random)
            .take(DRAWS)
            .filter_map(|(number, _)| pool.eligible().at(number))
            .filter(|server| !pool.was_tried(server) && server.live_weight() > 0);
        let Some(one) = drawn.next() else {
            return pool.any(p.random).map(|server| server.slot);
        };
        let other = drawn.find(|server| server.slot != one.slot);
        let better = other.filter(|other| is_less_loaded(other, one));
        Some(better.unwrap_or(one).slot)
    }
}

fn is_less_loaded(a: &Server, b: &Server) -> bool {
    let load = |of: &Server, by: &Server| u64::from(of.inflight()) * u64::from(by.live_weight());
    load(a, b) < load(b, a)
}

export!(TwoChoices: Balancer);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tidegate_sdk::test::{Harness, json, server};

    use super::TwoChoices;

    fn balancer() -> Harness<TwoChoices> {
        Harness::new(json!({})).unwrap()
    }

    fn hits(plugin: &Harness<TwoChoices>, picks: usize) -> HashMap<String, usize> {
        let mut hits = HashMap::new();
        for _ in 0..picks {
            *hits.entry(plugin.pick("app").unwrap()).or_default() += 1;
        }
        hits
    }

    #[test]
    fn of_two_the_less_loaded_wins() {
        let plugin = balancer();
        plugin.set_pool("app", ["a", "b"].map(server));
        plugin.live("app", "a").inflight(5);
        let hits = hits(&plugin, 1000);
        assert!(hits["b"] > 980, "{hits:?}");
    }

    #[test]
    fn the_most_loaded_of_many_is_hardly_ever_picked() {
        let plugin = balancer();
        plugin.set_pool("app", (0..10).map(|n| server(n.to_string())));
        for n in 0..10 {
            plugin.live("app", &n.to_string()).inflight(n);
        }
        let hits = hits(&plugin, 10_000);
        assert!(hits.get("9").copied().unwrap_or(0) < 10, "{hits:?}");
        assert!((1700..2100).contains(&hits["0"]), "a fifth: {hits:?}");
    }

    #[test]
    fn load_stays_close_together() {
        let plugin = balancer();
        plugin.set_pool("app", (0..100).map(|n| server(n.to_string())));
        let mut loads = HashMap::<String, u32>::new();
        for _ in 0..10_000 {
            let name = plugin.pick("app").unwrap();
            let load = loads.entry(name.clone()).or_default();
            *load += 1;
            plugin.live("app", &name).inflight(*load);
        }
        let (least, most) = (loads.values().min().unwrap(), loads.values().max().unwrap());
        assert!(
            most - least <= 10,
            "{least} to {most}; a random spread would be about 80 to 125"
        );
    }

    #[test]
    fn weights_count_in_the_draw_and_in_the_load() {
        let plugin = balancer();
        plugin.set_pool("app", [server("a").weight(3), server("b").weight(1)]);
        let idle = hits(&plugin, 8000);
        assert!((5600..6400).contains(&idle["a"]), "{idle:?}");
        plugin.live("app", "a").inflight(5);
        plugin.live("app", "b").inflight(2);
        assert!(hits(&plugin, 1000)["a"] > 950, "5/3 is less than 2/1");
    }

    #[test]
    fn a_retry_goes_elsewhere_and_at_last_to_the_backup() {
        let plugin = balancer();
        plugin.set_pool(
            "app",
            [
                server("a").weight(250),
                server("b"),
                server("spare").backup(),
            ],
        );
        for _ in 0..100 {
            assert_eq!(plugin.pick_again("app", &["a"]).unwrap(), "b");
        }
        assert_eq!(plugin.pick_again("app", &["a", "b"]).unwrap(), "spare");
        assert_eq!(plugin.pick_again("app", &["a", "b", "spare"]), None);
        plugin.set_pool(
            "app",
            [
                server("a").drain(),
                server("b").down(),
                server("c").weight(0),
            ],
        );
        assert_eq!(plugin.pick("app"), None);
    }
}
