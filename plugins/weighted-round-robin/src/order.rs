//! nginx's smooth weighted order, reckoned once per change.
//!
//! In nginx (`ngx_http_upstream_get_peer`) each server has a current weight. At each pick every one grows by the server's
//! weight, the largest wins, the first of equals, and the winner loses the sum of all weights: 5, 1, 1 gives a a b a c a a, and
//! then the same again. Here the whole round is written down, so that workers can share a position in it.
//!
//! Servers of equal weight grow alike, so only the next of each such class can win: a step costs the number of different
//! weights, not of servers.

/// Bounds of a round: entries, and entries times different weights. Beyond them weights are halved until it fits.
const LONGEST: u64 = 1 << 20;
const MOST_STEPS: u64 = 1 << 25;

/// The servers' numbers in the order of one round. Servers of weight 0 are not in it.
pub fn round(weights: &[u32]) -> Vec<u32> {
    let mut weights = reduced(weights);
    while too_long(&weights) {
        let halved: Vec<u32> = weights.iter().map(|weight| weight.div_ceil(2)).collect();
        weights = reduced(&halved);
    }
    let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
    let mut classes = Classes::of(&weights);
    (0..total).map(|_| classes.step(total)).collect()
}

/// Servers by weight, side by side: a step runs through all classes.
#[derive(Default)]
struct Classes {
    weights: Vec<i64>,
    /// The current weight of the next server of each class.
    current: Vec<i64>,
    /// That server. All before it in its class have won once more than it has.
    ahead: Vec<u32>,
    members: Vec<Members>,
}

struct Members {
    servers: Vec<u32>,
    next: usize,
}

impl Classes {
    fn of(weights: &[u32]) -> Classes {
        let mut classes = Classes::default();
        for (server, weight) in weights
            .iter()
            .enumerate()
            .filter(|(_, weight)| **weight > 0)
        {
            let (server, weight) = (server as u32, i64::from(*weight));
            match classes.weights.iter().position(|known| *known == weight) {
                Some(class) => classes.members[class].servers.push(server),
                None => classes.add(server, weight),
            }
        }
        classes
    }

    fn add(&mut self, server: u32, weight: i64) {
        self.weights.push(weight);
        self.current.push(0);
        self.ahead.push(server);
        self.members.push(Members {
            servers: vec![server],
            next: 0,
        });
    }

    fn step(&mut self, total: i64) -> u32 {
        let (mut best, mut most, mut winner) = (0, i64::MIN, 0);
        let classes = self.current.iter_mut().zip(&self.weights).zip(&self.ahead);
        for (class, ((current, weight), server)) in classes.enumerate() {
            *current += weight;
            if *current > most || *current == most && *server < winner {
                (best, most, winner) = (class, *current, *server);
            }
        }
        let members = &mut self.members[best];
        members.next += 1;
        if members.next == members.servers.len() {
            members.next = 0;
            self.current[best] -= total;
        }
        self.ahead[best] = members.servers[members.next];
        winner
    }
}

fn too_long(weights: &[u32]) -> bool {
    if weights.iter().all(|weight| *weight <= 1) {
        return false;
    }
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let mut different = weights.to_vec();
    different.sort_unstable();
    different.dedup();
    total > LONGEST || total * different.len() as u64 > MOST_STEPS
}

/// Divided by what divides all of them: 100, 50 is 2, 1.
fn reduced(weights: &[u32]) -> Vec<u32> {
    let common = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    weights.iter().map(|weight| weight / common).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::round;

    /// The algorithm as nginx has it, one round.
    fn nginx(weights: &[u32]) -> Vec<u32> {
        let total: i64 = weights.iter().map(|w| i64::from(*w)).sum();
        let mut current = vec![0i64; weights.len()];
        let mut pick = || {
            let mut best: Option<usize> = None;
            for (server, weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0) {
                current[server] += i64::from(*weight);
                if best.is_none_or(|best| current[server] > current[best]) {
                    best = Some(server);
                }
            }
            current[best.unwrap()] -= total;
            best.unwrap() as u32
        };
        (0..total).map(|_| pick()).collect()
    }

    #[test]
    fn five_one_one_is_smooth() {
        assert_eq!(round(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn it_is_nginxs_order_for_any_weights() {
        let mut random = 1u64;
        let mut next = |below: u64| {
            random = random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (random >> 33) % below
        };
        for _ in 0..300 {
            let count = 1 + next(12);
            let most = 1 + next(30);
            // The last is 1, so that nothing divides them all.
            let mut weights: Vec<u32> = (0..count).map(|_| next(most) as u32).collect();
            weights.push(1);
            assert_eq!(round(&weights), nginx(&weights), "{weights:?}");
        }
    }

    #[test]
    fn a_common_factor_shortens_the_round() {
        assert_eq!(round(&[100, 100, 200]).len(), 4);
        assert!(round(&[0, 0]).is_empty());
    }

    #[test]
    fn a_large_pool_of_many_weights_is_bounded_and_leaves_nobody_out() {
        let weights: Vec<u32> = (0..10_000).map(|server| server % 256 + 1).collect();
        let round = round(&weights);
        assert!(round.len() <= 1 << 20);
        let mut hits = vec![0u32; weights.len()];
        round.iter().for_each(|server| hits[*server as usize] += 1);
        assert!(hits.iter().all(|hits| *hits > 0));
        let ratio = f64::from(hits[255]) / f64::from(hits[127]);
        assert!((1.9..2.1).contains(&ratio), "weights 256 and 128: {ratio}");
    }
}
