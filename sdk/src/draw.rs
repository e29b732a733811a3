//! A weighted draw, made once per change and drawn from at each pick.

use crate::{Pool, Server};

/// Draws a number from 0 to `n - 1` with the odds that the weights give. Making it is O(n), drawing O(log n), and O(1) when the
/// weights are all the same.
///
/// ```
/// use tidegate_sdk::Draw;
/// let draw = Draw::new([3, 1]);
/// let mut hits = [0, 0];
/// for quarter in 0..4u64 {
///     hits[draw.number(quarter << 62).unwrap()] += 1;
/// }
/// assert_eq!(hits, [3, 1]);
/// assert_eq!(Draw::new([]).number(7), None);
/// ```
pub struct Draw {
    count: usize,
    /// The sums of the weights so far, the last the sum of all. Empty when all are the same.
    sums: Vec<u64>,
}

impl Draw {
    /// A draw with one number a weight. All 0: none is ever drawn.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Draw {
        let mut sum = 0u64;
        let mut weights = weights.into_iter().peekable();
        let first = weights.peek().copied().unwrap_or(0);
        let mut same = first > 0;
        let running = |weight: u32| {
            same &= weight == first;
            sum += u64::from(weight);
            sum
        };
        let sums: Vec<u64> = weights.map(running).collect();
        let count = if sum > 0 { sums.len() } else { 0 };
        Draw {
            count,
            sums: if same { Vec::new() } else { sums },
        }
    }

    /// The number that these random bits draw. None: there is nothing to draw.
    #[inline]
    pub fn number(&self, random: u64) -> Option<usize> {
        if self.count == 0 {
            return None;
        }
        let Some(total) = self.sums.last() else {
            return Some(below(random, self.count as u64) as usize);
        };
        let point = below(random, *total);
        Some(self.sums.partition_point(|sum| *sum <= point))
    }

    /// One number after the other, each with the random bits that it was drawn from. It ends only when there is nothing to
    /// draw.
    #[inline]
    pub fn numbers(&self, random: u64) -> impl Iterator<Item = (usize, u64)> + '_ {
        let mut bits = random;
        std::iter::from_fn(move || {
            let these = bits;
            bits = more(these);
            Some((self.number(these)?, these))
        })
    }

    /// A usable server of the pool, for a draw over its [`eligible`](Pool::eligible) ones. A server that was tried, or that
    /// doesn't [admit](Server::admits) a newcomer while it warms up, is passed over; after eight such it is any.
    pub fn server<'a>(&self, pool: &Pool<'a>, random: u64) -> Option<&'a Server> {
        let servers = pool.eligible();
        let fits = |(number, bits): (usize, u64)| {
            let server = servers.at(number)?;
            (!pool.was_tried(server) && server.admits(bits.rotate_left(32))).then_some(server)
        };
        let mut drawn = self.numbers(random).take(8);
        drawn.find_map(fits).or_else(|| pool.any(random))
    }
}

/// A number below `bound` from random bits, without a division (Lemire, "Fast Random Integer Generation in an Interval").
/// The upper bits decide; for bounds below 2^32 the odds are even to one in 2^32.
#[inline]
pub(crate) fn below(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

/// Other random bits, made of these (the finaliser of SplitMix64).
#[inline]
fn more(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::Draw;

    fn shares(weights: &[u32], draws: usize) -> Vec<usize> {
        let draw = Draw::new(weights.iter().copied());
        let mut hits = vec![0; weights.len()];
        draw.numbers(1)
            .take(draws)
            .for_each(|(number, _)| hits[number] += 1);
        hits
    }

    #[test]
    fn the_odds_are_those_of_the_weights() {
        let hits = shares(&[5, 0, 1, 2], 80_000);
        let expected = [50_000, 0, 10_000, 20_000];
        for (hit, expected) in hits.iter().zip(expected) {
            assert!(hit.abs_diff(expected) <= expected / 20, "{hits:?}");
        }
    }

    #[test]
    fn equal_weights_need_no_sums() {
        assert!(Draw::new([7; 1000]).sums.is_empty());
        let hits = shares(&[7; 10], 100_000);
        assert!(
            hits.iter().all(|hit| hit.abs_diff(10_000) < 500),
            "{hits:?}"
        );
    }

    #[test]
    fn nothing_is_drawn_from_nothing() {
        assert_eq!(Draw::new([]).number(1), None);
        assert_eq!(Draw::new([0, 0]).number(u64::MAX), None);
        assert_eq!(Draw::new([0, 0, 3]).number(u64::MAX), Some(2));
        assert_eq!(Draw::new([0]).numbers(1).next(), None);
    }
}
