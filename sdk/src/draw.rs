//! A weighted draw, made once per change and drawn from at each pick.

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
}

/// A number below `bound` from random bits, without a division (Lemire, "Fast Random Integer Generation in an Interval").
/// The upper bits decide; for bounds below 2^32 the odds are even to one in 2^32.
#[inline]
fn below(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}
