//! The balancer `least-response-time`: the server that is likely to answer first, by peak EWMA.
//!
//! The cost of a server is its average time to the first byte, times the requests that it would have with this one, by its weight.
//! The host's average jumps up with a slow answer and comes down bit by bit, and halves every 10 s without any, so a server that
//! recovered is tried again (Finagle's and linkerd's "peak EWMA"). Of a large pool some servers are compared, drawn at random:
//! comparing all costs more and lets proxies that see the same figures run to the same server.

use tidegate_sdk::Draw;
use tidegate_sdk::prelude::*;

/// What a server costs that has requests but has never answered: more than any that has.
const UNKNOWN: f64 = 1e18;

struct LeastResponseTime {
    choices: usize,
    /// Even odds: the weights count in the costs.
    draws: PerPool<Draw>,
}

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    choices: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { choices: 16 }
    }
}

impl Plugin for LeastResponseTime {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        if !(2..=10_000).contains(&settings.choices) {
            let given = settings.choices;
            return Err(format!("key `choices`: {given} is not from 2 to 10000"));
        }
        Ok(LeastResponseTime {
            choices: settings.choices,
            draws: PerPool::default(),
        })
    }
}

impl Balancer for LeastResponseTime {
    fn update(&self, pool: &Pool) {
        let even = Draw::new(pool.eligible().iter().map(|_| 1));
        self.draws.set(pool.index(), even);
    }

    fn pick(&self, pool: &Pool, p: &Pick) -> Option<Slot> {
        let servers = pool.eligible();
        let draw = self.draws.get(pool.index())?;
        let best = if servers.len() <= self.choices {
            // Begun anywhere, so that equals are served alike.
            let (start, _) = draw.numbers(p.random).next()?;
            let turn = (start..servers.len()).chain(0..start);
            least(turn.filter_map(|number| servers.at(number)), pool)
        } else {
            let drawn = draw.numbers(p.random).take(self.choices);
            least(drawn.filter_map(|(number, _)| servers.at(number)), pool)
        };
        best.or_else(|| pool.any(p.random))
            .map(|server| server.slot)
    }
}

/// The cheapest, the first of equals.
fn least<'a>(servers: impl Iterator<Item = &'a Server>, pool: &Pool) -> Option<&'a Server> {
    let mut best: Option<(&Server, f64)> = None;
    for server in servers.filter(|server| !pool.was_tried(server)) {
        let Some(cost) = cost(server) else { continue };
        if best.is_none_or(|(_, least)| cost < least) {
            best = Some((server, cost));
        }
    }
    best.map(|(server, _)| server)
}

/// None: it takes nobody new just now.
fn cost(server: &Server) -> Option<f64> {
    let weight = server.live_weight();
    let (micros, inflight) = (server.ewma_us(), server.inflight());
    // A server without an average is worth one request, to get one; not all of them, before its first answer.
    let each = match (micros, inflight) {
        (0, 0) => 0.0,
        (0, _) => UNKNOWN,
        (micros, _) => f64::from(micros),
    };
    (weight > 0).then(|| each * (f64::from(inflight) + 1.0) / f64::from(weight))
}

export!(LeastResponseTime: Balancer);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tidegate_sdk::test::{Harness, json, server};

    use super::LeastResponseTime;

    fn balancer(servers: &[(&str, u32, u32)]) -> Harness<LeastResponseTime> {
        let plugin = Harness::new(json!({})).unwrap();
        plugin.set_pool("app", servers.iter().map(|(name, ..)| server(*name)));
        for (name, micros, inflight) in servers {
            plugin
                .live("app", name)
                .ewma_us(*micros)
                .inflight(*inflight);
        }
        plugin
    }

    #[test]
    fn the_fastest_wins() {
        let plugin = balancer(&[("a", 900, 0), ("b", 300, 0), ("c", 500, 0)]);
        for _ in 0..20 {
            assert_eq!(plugin.pick("app").unwrap(), "b");
        }
    }

    #[test]
    fn a_queue_makes_a_fast_server_slow() {
        let plugin = balancer(&[("fast", 300, 3), ("slow", 900, 0)]);
        assert_eq!(
            plugin.pick("app").unwrap(),
            "slow",
            "4 * 300 is more than 900"
        );
        plugin.live("app", "fast").inflight(1);
        assert_eq!(plugin.pick("app").unwrap(), "fast");
    }

    #[test]
    fn weights_make_cheaper() {
        let plugin = balancer(&[]);
        plugin.set_pool("app", [server("a").weight(4), server("b")]);
        plugin.live("app", "a").ewma_us(1000);
        plugin.live("app", "b").ewma_us(300);
        assert_eq!(
            plugin.pick("app").unwrap(),
            "a",
            "1000 / 4 is less than 300"
        );
        plugin.live("app", "a").weight(0);
        assert_eq!(plugin.pick("app").unwrap(), "b", "a takes nobody new");
    }

    #[test]
    fn a_newcomer_is_tried_with_one_request_and_not_with_all() {
        let plugin = balancer(&[("old", 500, 4), ("new", 0, 0)]);
        assert_eq!(plugin.pick("app").unwrap(), "new");
        plugin.live("app", "new").inflight(1);
        assert_eq!(plugin.pick("app").unwrap(), "old");
    }

    #[test]
    fn equals_are_served_alike() {
        let plugin = balancer(&[("a", 500, 0), ("b", 500, 0), ("c", 500, 0)]);
        let mut hits: HashMap<String, u32> = HashMap::new();
        for _ in 0..3000 {
            *hits.entry(plugin.pick("app").unwrap()).or_default() += 1;
        }
        assert!(
            hits.values().all(|hits| (850..1150).contains(hits)),
            "{hits:?}"
        );
    }

    #[test]
    fn of_a_large_pool_a_few_are_compared() {
        let plugin = Harness::<LeastResponseTime>::new(json!({ "choices": 4 })).unwrap();
        plugin.set_pool("app", (0..1000).map(|n| server(n.to_string())));
        for n in 0..1000 {
            plugin.live("app", &n.to_string()).ewma_us(1000 + n);
        }
        let picks = (0..1000).map(|_| plugin.pick("app").unwrap().parse::<u32>().unwrap());
        let mean = picks.sum::<u32>() / 1000;
        // The least of four even draws from 0 to 999 is 200 in the mean.
        assert!((170..230).contains(&mean), "{mean}");
    }

    #[test]
    fn a_retry_takes_the_next_best_and_at_last_the_backup() {
        let plugin = balancer(&[]);
        plugin.set_pool(
            "app",
            [
                server("a"),
                server("b"),
                server("c").down(),
                server("spare").backup(),
            ],
        );
        plugin.live("app", "a").ewma_us(100);
        plugin.live("app", "b").ewma_us(900);
        plugin.live("app", "spare").ewma_us(1);
        assert_eq!(plugin.pick("app").unwrap(), "a");
        assert_eq!(plugin.pick_again("app", &["a"]).unwrap(), "b");
        assert_eq!(plugin.pick_again("app", &["a", "b"]).unwrap(), "spare");
        assert_eq!(plugin.pick_again("app", &["a", "b", "spare"]), None);
        plugin.set_pool("app", []);
        assert_eq!(plugin.pick("app"), None);
    }

    #[test]
    fn one_choice_is_no_choice() {
        let refusal = Harness::<LeastResponseTime>::new(json!({ "choices": 1 })).unwrap_err();
        assert_eq!(refusal, "key `choices`: 1 is not from 2 to 10000");
    }
}
