//! The ring: points of servers in the order of their hashes. A key belongs to the first point at or after it.
//!
//! A server's points are made of its name and weight alone, so they are the same in every proxy, and another server's coming or
//! going moves no point of it: just the keys that belong to the points that come or go change hands (Karger et al., 1997).
//!
//! A point is one number, 40 bits of hash above 24 bits of the server's number: 8 bytes each, and sorting and searching compare
//! plain numbers. Among the most points that a ring may have, two share their 40 bits in one ring of eight; the lower number then
//! comes first.

use tidegate_sdk::Server;

/// Points for each unit of weight. The shares of equal servers then lie within about 8 % of each other (1 / √160).
const DENSITY: u64 = 160;
/// The most points of a ring, 4 MiB. Beyond it every server has half as many, or a quarter and so on.
const MOST: u64 = 1 << 19;
const NUMBER: u64 = (1 << 24) - 1;

pub struct Ring {
    points: Vec<u64>,
}

impl Ring {
    /// The ring of all these servers that have a weight, whether usable or not.
    pub fn new(servers: &[Server]) -> Ring {
        let total: u64 = servers
            .iter()
            .map(|server| u64::from(server.weight) * DENSITY)
            .sum();
        let halvings = (0..)
            .find(|halvings| total >> halvings <= MOST)
            .expect("a number ends at 0");
        let mut points = Vec::with_capacity((total >> halvings) as usize + servers.len());
        for (number, server) in servers.iter().enumerate().filter(|(_, s)| s.weight > 0) {
            let count = ((u64::from(server.weight) * DENSITY) >> halvings).max(1);
            let name = hash_name(&server.name);
            let point = |nth: u64| mixed(name ^ mixed(nth)) & !NUMBER | number as u64 & NUMBER;
            points.extend((0..count).map(point));
        }
        points.sort_unstable();
        Ring { points }
    }

    /// The same ring without the points of some servers.
    pub fn only(&self, keep: impl Fn(usize) -> bool) -> Ring {
        let kept = |point: &&u64| keep((**point & NUMBER) as usize);
        let count = self.points.iter().filter(kept).count();
        let mut points = Vec::with_capacity(count);
        points.extend(self.points.iter().filter(kept));
        Ring { points }
    }

    /// The servers from the key's point on, once around. A server comes up once for each of its points.
    pub fn from(&self, key: u64) -> impl Iterator<Item = usize> + '_ {
        let start = self
            .points
            .partition_point(|point| point & !NUMBER < key & !NUMBER);
        let (before, after) = self.points.split_at(start);
        after
            .iter()
            .chain(before)
            .map(|point| (point & NUMBER) as usize)
    }
}

/// FNV-1a, then mixed: the same in every process and version.
fn hash_name(name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mixed(name.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// SplitMix64's finaliser.
fn mixed(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use tidegate_sdk::{Server, ServerState, Slot};

    use super::*;

    fn servers(count: u32, weight: u32) -> Vec<Server> {
        let server = |number: u32| Server {
            slot: Slot(number),
            name: format!("web{number}"),
            address: String::new(),
            weight,
            state: ServerState::Ready,
            backup: false,
            labels: Vec::new(),
        };
        (0..count).map(server).collect()
    }

    #[test]
    fn equal_servers_have_about_equal_shares() {
        let ring = Ring::new(&servers(10, 1));
        let mut hits = [0u32; 10];
        (0..100_000).for_each(|key| hits[ring.from(mixed(key)).next().unwrap()] += 1);
        assert!(
            hits.iter().all(|hits| (7_500..12_500).contains(hits)),
            "{hits:?}"
        );
    }

    #[test]
    fn the_points_are_bounded_and_everybody_has_some() {
        for (count, weight) in [(10_000, 1), (10_000, 256), (3, 256)] {
            let ring = Ring::new(&servers(count, weight));
            assert!(ring.points.len() <= MOST as usize + count as usize);
            let mut seen = vec![false; count as usize];
            ring.from(0).for_each(|number| seen[number] = true);
            assert!(seen.iter().all(|seen| *seen), "{count} of weight {weight}");
        }
    }

    #[test]
    fn the_way_around_begins_at_the_key_and_ends_before_it() {
        let ring = Ring::new(&servers(3, 1));
        assert_eq!(ring.from(u64::MAX).count(), 480);
        assert_eq!(ring.from(u64::MAX).next(), ring.from(0).next());
        assert!(Ring::new(&[]).from(7).next().is_none());
    }
}
