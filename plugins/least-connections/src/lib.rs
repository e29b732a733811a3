//! The balancer `least-connections`: the server with the fewest requests in flight for its weight, nginx's `least_conn`.
//!
//! The counts are totals over all workers, read for a nanosecond or two each, so all servers are compared at each pick. Equals take
//! turns by weight in nginx's smooth way; else an idle pool would send everything to its first server.

use std::cell::RefCell;

use tidegate_sdk::prelude::*;

struct LeastConnections {
    turns: PerPool<RefCell<Turns>>,
}

/// Whose turn it is among equals.
#[derive(Default)]
struct Turns {
    /// The eligible servers' slots and full weights, side by side: all of them are run through at each pick.
    servers: Vec<(Slot, u64)>,
    /// The current weight of each, as in smooth weighted round robin.
    current: Vec<i64>,
    /// The equals of this pick: number and weight. Kept between picks for its memory.
    equals: Vec<(u32, i64)>,
}

impl Plugin for LeastConnections {
    type Settings = NoSettings;

    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(LeastConnections {
            turns: PerPool::default(),
        })
    }
}

impl Balancer for LeastConnections {
    fn update(&self, pool: &Pool) {
        let full = |server: &Server| (server.slot, u64::from(server.weight) * 256);
        let turns = Turns {
            servers: pool.eligible().iter().map(full).collect(),
            current: vec![0; pool.eligible().len()],
            equals: Vec::new(),
        };
        self.turns.set(pool.index(), RefCell::new(turns));
    }

    fn pick(&self, pool: &Pool, p: &Pick) -> Option<Slot> {
        let turns = self.turns.get(pool.index())?;
        let mut turns = turns.borrow_mut();
        turns.find_equals(p.tried);
        // None: all are tried or take nobody new just now. Then a backup, or whoever is left.
        turns.next().or_else(|| Some(pool.any(p.random)?.slot))
    }
}

impl Turns {
    /// The servers with the fewest requests for their weight.
    fn find_equals(&mut self, tried: &[Slot]) {
        self.equals.clear();
        let (mut least, mut least_weight) = (u64::MAX >> 32, 1);
        // inflight / weight < least / least_weight, without the division.
        for (number, (slot, full)) in self.servers.iter().enumerate() {
            let inflight = u64::from(slot.inflight());
            // The live weight is the full one at most, so who loses by the full one need not be asked for it.
            if inflight * least_weight > least * full || tried.contains(slot) {
                continue;
            }
            let weight = u64::from(slot.live_weight());
            let (this, best) = (inflight * least_weight, least * weight);
            if weight == 0 || this > best {
                continue;
            }
            if this < best {
                self.equals.clear();
                (least, least_weight) = (inflight, weight);
            }
            self.equals.push((number as u32, weight as i64));
        }
    }

    fn next(&mut self) -> Option<Slot> {
        let (mut best, _) = *self.equals.first()?;
        if self.equals.len() > 1 {
            let total: i64 = self.equals.iter().map(|(_, weight)| weight).sum();
            for (number, weight) in &self.equals {
                let current = &mut self.current[*number as usize];
                *current += weight;
                let current = *current;
                if current > self.current[best as usize] {
                    best = *number;
                }
            }
            self.current[best as usize] -= total;
        }
        Some(self.servers[best as usize].0)
    }
}

export!(LeastConnections: Balancer);

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{Harness, json, server};

    use super::LeastConnections;

    fn balancer() -> Harness<LeastConnections> {
        Harness::new(json!({})).unwrap()
    }

    fn picks(plugin: &Harness<LeastConnections>, count: usize) -> String {
        (0..count).map(|_| plugin.pick("app").unwrap()).collect()
    }

    #[test]
    fn the_least_loaded_takes_the_next() {
        let plugin = balancer();
        plugin.set_pool("app", ["a", "b", "c"].map(server));
        plugin.live("app", "a").inflight(3);
        plugin.live("app", "b").inflight(2);
        plugin.live("app", "c").inflight(4);
        assert_eq!(picks(&plugin, 3), "bbb");
    }

    #[test]
    fn load_counts_by_weight() {
        let plugin = balancer();
        plugin.set_pool("app", [server("a").weight(4), server("b").weight(1)]);
        plugin.live("app", "a").inflight(7);
        plugin.live("app", "b").inflight(2);
        assert_eq!(picks(&plugin, 1), "a", "7/4 is less than 2/1");
        plugin.live("app", "a").inflight(9);
        assert_eq!(picks(&plugin, 1), "b", "9/4 is more than 2/1");
    }

    #[test]
    fn equals_take_turns() {
        let plugin = balancer();
        plugin.set_pool("app", ["a", "b", "c"].map(server));
        assert_eq!(picks(&plugin, 6), "abcabc");
        plugin.live("app", "b").inflight(1);
        assert_eq!(picks(&plugin, 4), "acac");
    }

    #[test]
    fn equals_take_turns_by_weight() {
        let plugin = balancer();
        plugin.set_pool("app", [server("a").weight(5), server("b"), server("c")]);
        assert_eq!(picks(&plugin, 7), "aabacaa");
    }

    #[test]
    fn during_slow_start_a_server_counts_for_less() {
        let plugin = balancer();
        plugin.set_pool("app", ["a", "b"].map(server));
        plugin.live("app", "a").inflight(3);
        plugin.live("app", "b").inflight(1).weight(64);
        assert_eq!(picks(&plugin, 1), "a", "1 at a quarter is more than 3");
        plugin.live("app", "b").inflight(0).weight(0);
        assert_eq!(picks(&plugin, 3), "aaa", "weight 0 takes nobody new");
    }

    #[test]
    fn a_retry_takes_the_next_least_and_then_the_backup() {
        let plugin = balancer();
        plugin.set_pool(
            "app",
            [
                server("a"),
                server("b"),
                server("c").down(),
                server("spare").backup(),
            ],
        );
        plugin.live("app", "b").inflight(9);
        assert_eq!(plugin.pick("app").unwrap(), "a");
        assert_eq!(plugin.pick_again("app", &["a"]).unwrap(), "b");
        assert_eq!(plugin.pick_again("app", &["a", "b"]).unwrap(), "spare");
        assert_eq!(plugin.pick_again("app", &["a", "b", "spare"]), None);
    }

    #[test]
    fn ten_thousand_servers_are_served_evenly() {
        let plugin = balancer();
        plugin.set_pool("app", (0..10_000).map(|n| server(n.to_string())));
        assert_eq!(picks(&plugin, 3), "012");
    }
}
