//! The balancer `round-robin`: one server after the other, exactly even.
//!
//! Every worker has a plugin instance of its own, and turns counted in each would be even only on each. So the turn comes from a
//! ticket series of the host, one a pool, that all workers draw from: 300 requests over 3 servers are 100 each.

use tidegate_sdk::prelude::*;

struct RoundRobin {
    turns: PerPool<Ticket>,
}

impl Plugin for RoundRobin {
    type Settings = NoSettings;

    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(RoundRobin {
            turns: PerPool::default(),
        })
    }
}

impl Balancer for RoundRobin {
    fn update(&self, pool: &Pool) {
        self.turns.set(pool.index(), Ticket::open(pool.name()));
    }

    fn pick(&self, pool: &Pool, p: &Pick) -> Option<Slot> {
        // A retry takes any other server: a turn drawn for it would leave a gap, and the next in line would carry all that a
        // dead server can't.
        if !p.tried.is_empty() {
            return pool.any(p.random).map(|server| server.slot);
        }
        let servers = pool.eligible();
        if servers.is_empty() {
            return None;
        }
        let turn = self.turns.get(pool.index())?.next();
        let number = (turn % servers.len() as u64) as usize;
        servers.at(number).map(|server| server.slot)
    }
}

export!(RoundRobin: Balancer);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tidegate_sdk::test::{Harness, json, server};

    use super::RoundRobin;

    fn balancer() -> Harness<RoundRobin> {
        Harness::new(json!({})).unwrap()
    }

    #[test]
    fn servers_take_turns_in_the_configs_order() {
        let plugin = balancer();
        plugin.set_pool("app", [server("a"), server("b").weight(9), server("c")]);
        let picks: Vec<String> = (0..7).map(|_| plugin.pick("app").unwrap()).collect();
        assert_eq!(picks.concat(), "abcabca");
    }

    #[test]
    fn three_workers_together_are_exact() {
        let first = balancer();
        first.set_pool("app", [server("a"), server("b"), server("c")]);
        let workers = [first.another_worker(), first.another_worker(), first];
        let mut hits: HashMap<String, u32> = HashMap::new();
        for request in 0..300 {
            // As connections fall: not in turn.
            let worker = &workers[(request * request + request / 7) % 3];
            *hits.entry(worker.pick("app").unwrap()).or_default() += 1;
        }
        assert_eq!(
            hits,
            HashMap::from([("a".into(), 100), ("b".into(), 100), ("c".into(), 100)])
        );
    }

    #[test]
    fn what_is_not_usable_is_passed_over_and_the_rest_stays_even() {
        let plugin = balancer();
        let servers = [
            server("a"),
            server("b").down(),
            server("c").drain(),
            server("d").weight(0),
            server("e"),
        ];
        plugin.set_pool("app", servers);
        let picks: Vec<String> = (0..6).map(|_| plugin.pick("app").unwrap()).collect();
        assert_eq!(picks.concat(), "aeaeae");
    }

    #[test]
    fn backups_serve_only_when_no_other_can() {
        let plugin = balancer();
        plugin.set_pool("app", [server("a"), server("spare").backup()]);
        assert_eq!(plugin.pick("app").unwrap(), "a");
        assert_eq!(plugin.pick_again("app", &["a"]).unwrap(), "spare");
        assert_eq!(plugin.pick_again("app", &["a", "spare"]), None);
        plugin.set_pool("app", [server("a").down(), server("spare").backup()]);
        assert_eq!(plugin.pick("app").unwrap(), "spare");
    }

    #[test]
    fn pools_have_turns_of_their_own() {
        let plugin = Harness::<RoundRobin>::setup()
            .pools(["x", "y"])
            .start()
            .unwrap();
        plugin.set_pool("x", [server("a"), server("b")]);
        plugin.set_pool("y", [server("c"), server("d")]);
        let picks = ["x", "y", "x", "y"].map(|pool| plugin.pick(pool).unwrap());
        assert_eq!(picks.concat(), "acbd");
    }

    #[test]
    fn a_retry_draws_no_turn_and_never_repeats_itself() {
        let plugin = balancer();
        plugin.set_pool("app", ["a", "b", "c"].map(server));
        assert_eq!(plugin.pick("app").unwrap(), "a");
        for _ in 0..50 {
            assert_ne!(plugin.pick_again("app", &["a"]).unwrap(), "a");
        }
        assert_eq!(plugin.pick("app").unwrap(), "b");
    }

    #[test]
    fn one_server_or_none() {
        let plugin = balancer();
        plugin.set_pool("app", [server("a")]);
        assert_eq!(plugin.pick("app").unwrap(), "a");
        plugin.set_pool("app", []);
        assert_eq!(plugin.pick("app"), None);
    }
}
