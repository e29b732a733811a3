//! Where a route's requests go: one pool, or several in the proportion of their weights.

#[derive(Debug, PartialEq, Eq)]
pub enum Split {
    /// The listener's pool.
    Listener,
    One(u32),
    /// Pools, each with the sum of the weights up to its own.
    Several(Vec<(u32, u64)>),
}

impl Split {
    /// None when there are pools but no weight.
    pub fn new(pools: &[(u32, u32)]) -> Option<Split> {
        let mut sum = 0;
        let sums: Vec<(u32, u64)> = pools
            .iter()
            .filter(|(_, weight)| *weight > 0)
            .map(|(pool, weight)| {
                sum += u64::from(*weight);
                (*pool, sum)
            })
            .collect();
        match &sums[..] {
            [] if pools.is_empty() => Some(Split::Listener),
            [] => None,
            [(pool, _)] => Some(Split::One(*pool)),
            _ => Some(Split::Several(sums)),
        }
    }

    /// Whether chance has a part in it.
    pub fn draws(&self) -> bool {
        matches!(self, Split::Several(_))
    }

    /// `random` is asked for 64 random bits, and only when there is a choice.
    pub fn pool(&self, random: impl FnOnce() -> u64) -> Option<u32> {
        match self {
            Split::Listener => None,
            Split::One(pool) => Some(*pool),
            Split::Several(sums) => {
                let (last, total) = sums[sums.len() - 1];
                // Scales the bits to 0..total without a division's bias that would matter: total is far below 2^64.
                let point = ((u128::from(random()) * u128::from(total)) >> 64) as u64;
                let taken = sums.iter().find(|(_, sum)| point < *sum);
                Some(taken.map_or(last, |(pool, _)| *pool))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proportion_is_that_of_the_weights() {
        let split = Split::new(&[(7, 95), (8, 0), (9, 5)]).unwrap();
        let steps = 1000u64;
        let share = |pool| {
            let points = (0..steps).map(|i| (2 * i + 1) * (u64::MAX / steps / 2));
            points
                .filter(|bits| split.pool(|| *bits) == Some(pool))
                .count()
        };
        assert_eq!((share(7), share(8), share(9)), (950, 0, 50));
        assert_eq!(split.pool(|| 0), Some(7));
        assert_eq!(split.pool(|| u64::MAX), Some(9));
    }

    #[test]
    fn one_pool_needs_no_random_bits() {
        let none = || panic!("asked for random bits");
        assert_eq!(Split::new(&[(3, 1)]).unwrap().pool(none), Some(3));
        assert_eq!(Split::new(&[(3, 1), (4, 0)]).unwrap().pool(none), Some(3));
        assert_eq!(Split::new(&[]).unwrap().pool(none), None);
        assert_eq!(Split::new(&[(3, 0)]), None);
    }
}
