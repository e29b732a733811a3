//! The balancer `weighted-round-robin`: servers take turns by their weights, in nginx's smooth order, exact over all workers.
//!
//! The order of one round is reckoned when the pool changes (`order`); a ticket series of the host, one a pool, says where in it a
//! request stands, on whichever worker.

mod order;

use tidegate_sdk::Draw;
use tidegate_sdk::prelude::*;

struct WeightedRoundRobin {
    rounds: PerPool<Round>,
}

struct Round {
    turn: Ticket,
    /// Numbers of eligible servers.
    order: Vec<u32>,
    /// For requests that can't take their turn.
    draw: Draw,
}

impl Plugin for WeightedRoundRobin {
    type Settings = NoSettings;

    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(WeightedRoundRobin {
            rounds: PerPool::default(),
        })
    }
}

impl Balancer for WeightedRoundRobin {
    fn update(&self, pool: &Pool) {
        // The old one goes first: two rounds of a large pool need not fit into memory at once.
        self.rounds.take(pool.index());
        let weights: Vec<u32> = pool.eligible().iter().map(|server| server.weight).collect();
        let round = Round {
            turn: Ticket::open(pool.name()),
            order: order::round(&weights),
            draw: Draw::new(weights),
        };
        self.rounds.set(pool.index(), round);
    }

    fn pick(&self, pool: &Pool, p: &Pick) -> Option<Slot> {
        let round = self.rounds.get(pool.index())?;
        let first_try = p.tried.is_empty();
        let turns = first_try.then(|| round.next(pool)).flatten();
        // In place of a server that is still warming up, and for a retry, another by weight: a turn drawn for it would leave
        // a gap.
        turns
            .filter(|server| server.admits(p.random.rotate_left(16)))
            .or_else(|| round.draw.server(pool, p.random))
            .map(|server| server.slot)
    }
}

impl Round {
    /// Whose turn it is.
    fn next<'a>(&self, pool: &Pool<'a>) -> Option<&'a Server> {
        if self.order.is_empty() {
            return None;
        }
        let turn = self.turn.next() % self.order.len() as u64;
        pool.eligible().at(self.order[turn as usize] as usize)
    }
}

export!(WeightedRoundRobin: Balancer);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tidegate_sdk::test::{Harness, json, server};

    use super::WeightedRoundRobin;

    fn balancer() -> Harness<WeightedRoundRobin> {
        let plugin = Harness::new(json!({})).unwrap();
        plugin.set_pool("app", [server("a").weight(5), server("b"), server("c")]);
        plugin
    }

    #[test]
    fn the_order_is_nginxs() {
        let plugin = balancer();
        let picks: Vec<String> = (0..14).map(|_| plugin.pick("app").unwrap()).collect();
        assert_eq!(picks.concat(), "aabacaaaabacaa");
    }

    #[test]
    fn workers_share_the_round() {
        let first = balancer();
        let second = first.another_worker();
        let picks: Vec<String> = (0..7)
            .map(|request| [&first, &second][request / 2 % 2].pick("app").unwrap())
            .collect();
        assert_eq!(picks.concat(), "aabacaa");
    }

    #[test]
    fn only_what_is_usable_takes_turns() {
        let plugin = balancer();
        let servers = [
            server("a").weight(5).down(),
            server("b").weight(2),
            server("c"),
            server("d").weight(0),
        ];
        plugin.set_pool("app", servers);
        let picks: Vec<String> = (0..6).map(|_| plugin.pick("app").unwrap()).collect();
        assert_eq!(picks.concat(), "bcbbcb");
    }

    #[test]
    fn a_retry_goes_elsewhere_and_at_last_to_the_backup() {
        let plugin = balancer();
        let spare = server("spare").backup();
        plugin.set_pool("app", [server("a").weight(200), server("b"), spare]);
        for _ in 0..50 {
            assert_eq!(plugin.pick_again("app", &["a"]).unwrap(), "b");
        }
        assert_eq!(plugin.pick_again("app", &["a", "b"]).unwrap(), "spare");
        assert_eq!(plugin.pick_again("app", &["a", "b", "spare"]), None);
    }

    #[test]
    fn a_server_that_warms_up_gets_its_share_of_its_turns() {
        let plugin = balancer();
        plugin.set_pool("app", [server("a"), server("b")]);
        plugin.live("app", "b").weight(64);
        let mut hits: HashMap<String, u32> = HashMap::new();
        for _ in 0..4000 {
            *hits.entry(plugin.pick("app").unwrap()).or_default() += 1;
        }
        // Half of the turns at a quarter, and at a quarter of a half again of what it passed on: 0.5 * 0.25 * (1 + 0.75 …).
        assert!((500..1100).contains(&hits["b"]), "{hits:?}");
    }

    #[test]
    fn nobody_at_all_is_none() {
        let plugin = balancer();
        plugin.set_pool("app", [server("a").weight(0)]);
        assert_eq!(plugin.pick("app"), None);
    }
}
