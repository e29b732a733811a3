//! In which order a round's contestants run. Turned by one each round alone, each would always run after the same other,
//! and have whatever that one leaves behind: a warm cache, a clock that was slowed down. So orders are rows of a Williams
//! design (E. J. Williams, 1949): over `2 n` rounds each runs in each place, and directly after each other, equally often.

pub fn of(count: usize, round: usize) -> Vec<usize> {
    // 0, 1, n-1, 2, n-2, …: neighbours differ by each distance once.
    let zigzag = (0..count).map(|place| match place % 2 {
        1 => place.div_ceil(2),
        _ => (count - place / 2) % count,
    });
    let mut order: Vec<usize> = zigzag.map(|at| (at + round / 2) % count).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_runs_in_each_place_and_after_each_other_equally_often() {
        for count in 2..=9 {
            let (mut places, mut pairs) = (BTreeMap::new(), BTreeMap::new());
            for round in 0..2 * count {
                let order = of(count, round);
                for (place, who) in order.iter().enumerate() {
                    *places.entry((place, *who)).or_insert(0) += 1;
                }
                for pair in order.windows(2) {
                    *pairs.entry((pair[0], pair[1])).or_insert(0) += 1;
                }
            }
            assert_eq!(places.len(), count * count, "{count}");
            assert!(places.values().all(|times| *times == 2), "{places:?}");
            assert_eq!(pairs.len(), count * (count - 1), "{count}");
            assert!(pairs.values().all(|times| *times == 2), "{pairs:?}");
        }
    }

    #[test]
    fn one_alone_and_none_are_orders_too() {
        assert_eq!(of(1, 3), [0]);
        assert!(of(0, 1).is_empty());
    }
}
