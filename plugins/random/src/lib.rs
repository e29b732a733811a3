//! The balancer `random`: any server, with the odds of the weights.
//!
//! It keeps no account of anything, so proxies that know nothing of each other spread evenly together, where round robins fall into
//! step.

use tidegate_sdk::Draw;
use tidegate_sdk::prelude::*;

struct Random {
    draws: PerPool<Draw>,
}

impl Plugin for Random {
    type Settings = NoSettings;

    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(Random {
            draws: PerPool::default(),
        })
    }
}

impl Balancer for Random {
    fn update(&self, pool: &Pool) {
        let draw = Draw::new(pool.eligible().iter().map(|server| server.weight));
        self.draws.set(pool.index(), draw);
    }

    fn pick(&self, pool: &Pool, p: &Pick) -> Option<Slot> {
        let draw = self.draws.get(pool.index())?;
        draw.server(pool, p.random).map(|server| server.slot)
    }
}

export!(Random: Balancer);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tidegate_sdk::test::{Harness, json, server};

    use super::Random;

    fn balancer() -> Harness<Random> {
        Harness::new(json!({})).unwrap()
    }

    fn hits(plugin: &Harness<Random>, picks: usize) -> HashMap<String, usize> {
        let mut hits = HashMap::new();
        for _ in 0..picks {
            *hits.entry(plugin.pick("app").unwrap()).or_default() += 1;
        }
        hits
    }

    #[test]
    fn the_odds_are_those_of_the_weights() {
        let plugin = balancer();
        plugin.set_pool(
            "app",
            [
                server("a").weight(3),
                server("b"),
                server("c").weight(0),
                server("d").down(),
            ],
        );
        let hits = hits(&plugin, 8000);
        assert_eq!(hits.len(), 2, "{hits:?}");
        assert!((5700..6300).contains(&hits["a"]), "{hits:?}");
    }

    #[test]
    fn slow_start_lowers_the_odds() {
        let plugin = balancer();
        plugin.set_pool("app", ["a", "b"].map(server));
        plugin.live("app", "b").weight(32);
        let hits = hits(&plugin, 8000);
        // b comes at 1 against 8: 889 of 8000.
        assert!((600..1300).contains(&hits["b"]), "{hits:?}");
    }

    #[test]
    fn a_retry_never_comes_back_to_what_was_tried() {
        let plugin = balancer();
        let spare = server("spare").backup();
        plugin.set_pool("app", [server("a").weight(256), server("b"), spare]);
        for _ in 0..100 {
            assert_eq!(plugin.pick_again("app", &["a"]).unwrap(), "b");
        }
        assert_eq!(plugin.pick_again("app", &["a", "b"]).unwrap(), "spare");
        assert_eq!(plugin.pick_again("app", &["a", "b", "spare"]), None);
    }

    #[test]
    fn one_server_or_none_or_very_many() {
        let plugin = balancer();
        plugin.set_pool("app", [server("a")]);
        assert_eq!(hits(&plugin, 10)["a"], 10);
        plugin.set_pool("app", []);
        assert_eq!(plugin.pick("app"), None);
        plugin.set_pool(
            "app",
            (0..10_000).map(|n| server(n.to_string()).weight(n % 3)),
        );
        assert!(
            hits(&plugin, 1000)
                .keys()
                .all(|name| name.parse::<u32>().unwrap() % 3 != 0)
        );
    }
}
