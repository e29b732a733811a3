//! The balancer `ip-hash`: a client's address decides, nginx's `ip_hash`.
//!
//! The place of an address is reckoned over all configured servers, whether they can be used or not, so that the clients of a
//! server that is down move and nobody else does: their address is hashed again until a usable server comes up. A request
//! balancer, as it must see the address itself to cut it to its network; the host's hash would be of the whole.

use std::net::IpAddr;

use tidegate_sdk::Draw;
use tidegate_sdk::prelude::*;

/// Hashes before the first usable server is drawn for; nginx's number.
const REHASHES: u64 = 20;

struct IpHash {
    ipv4_prefix: u8,
    ipv6_prefix: u8,
    places: PerPool<Places>,
}

/// Where the addresses of a pool go.
struct Places {
    /// Over all servers but backups, by their number in the pool; 0 for those without a place.
    all: Draw,
    /// Over the eligible ones.
    eligible: Draw,
}

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    ipv4_prefix: u8,
    ipv6_prefix: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            ipv4_prefix: 24,
            ipv6_prefix: 128,
        }
    }
}

impl Plugin for IpHash {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        let prefix = |key: &str, bits: u8, most: u8| match bits {
            bits if (1..=most).contains(&bits) => Ok(bits),
            bits => Err(format!("key `{key}`: {bits} is not from 1 to {most}")),
        };
        Ok(IpHash {
            ipv4_prefix: prefix("ipv4-prefix", settings.ipv4_prefix, 32)?,
            ipv6_prefix: prefix("ipv6-prefix", settings.ipv6_prefix, 128)?,
            places: PerPool::default(),
        })
    }

    fn interest(&self) -> Interest {
        Interest::none().client_address()
    }
}

impl RequestBalancer for IpHash {
    fn update(&self, pool: &Pool) {
        let place = |server: &Server| if server.backup { 0 } else { server.weight };
        let places = Places {
            all: Draw::new(pool.servers().iter().map(place)),
            eligible: Draw::new(pool.eligible().iter().map(|server| server.weight)),
        };
        self.places.set(pool.index(), places);
    }

    fn pick(&self, pool: &Pool, p: &RequestPick) -> Option<Slot> {
        let places = self.places.get(pool.index())?;
        let address = self.network(p.request.client_address());
        let hashes = (0..REHASHES).map(|round| hash(address, round));
        let usable =
            |server: &&Server| server.state == ServerState::Ready && !pool.was_tried(server);
        let own = hashes
            .filter_map(|hash| pool.servers().get(places.all.number(hash)?))
            .find(usable);
        own.or_else(|| places.left_over(pool, hash(address, REHASHES)))
            .map(|server| server.slot)
    }
}

impl Places {
    /// Nearly all are down, or only backups are left: the same one again for the same address, as long as nothing changes.
    fn left_over<'a>(&self, pool: &Pool<'a>, hash: u64) -> Option<&'a Server> {
        let eligible = pool.eligible();
        let drawn = self
            .eligible
            .number(hash)
            .and_then(|number| eligible.at(number));
        drawn
            .filter(|server| !pool.was_tried(server))
            .or_else(|| pool.any(hash))
    }
}

impl IpHash {
    /// The address cut to its network. What is no address (a UNIX socket's client) is one network: there is nothing to tell its
    /// clients apart.
    fn network(&self, text: &str) -> u128 {
        match text.parse() {
            Ok(IpAddr::V4(address)) => {
                let host_bits = 32 - u32::from(self.ipv4_prefix);
                u128::from(address.to_bits()) >> host_bits | 1 << 127
            }
            Ok(IpAddr::V6(address)) => address.to_bits() >> (128 - u32::from(self.ipv6_prefix)),
            Err(_) => 0,
        }
    }
}

/// The same in every process and version, or else an update would move all clients. (SplitMix64's finaliser over both halves.)
fn hash(address: u128, round: u64) -> u64 {
    let high = mixed((address >> 64) as u64 ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed(high ^ address as u64)
}

fn mixed(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

export!(IpHash: RequestBalancer);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tidegate_sdk::test::{FakeRequest, FakeServer, Harness, Value, json, server};

    use super::IpHash;

    fn balancer(settings: Value, servers: impl IntoIterator<Item = FakeServer>) -> Harness<IpHash> {
        let plugin = Harness::new(settings).unwrap();
        plugin.set_pool("app", servers);
        plugin
    }

    fn pick(plugin: &Harness<IpHash>, address: &str) -> Option<String> {
        plugin.pick_for("app", &FakeRequest::get("/").client_address(address))
    }

    /// The server of each of 4,096 networks.
    fn all(plugin: &Harness<IpHash>) -> Vec<String> {
        let address = |n: u32| format!("10.{}.{}.7", n / 256, n % 256);
        (0..4096)
            .map(|n| pick(plugin, &address(n)).unwrap())
            .collect()
    }

    fn hits(picks: &[String]) -> HashMap<&str, u32> {
        let mut hits = HashMap::new();
        picks
            .iter()
            .for_each(|name| *hits.entry(name.as_str()).or_default() += 1);
        hits
    }

    #[test]
    fn a_client_stays_and_so_does_its_network() {
        let plugin = balancer(json!({}), ["a", "b", "c", "d"].map(server));
        let first = pick(&plugin, "10.1.2.3");
        assert!((0..20).all(|host| pick(&plugin, &format!("10.1.2.{host}")) == first));
    }

    #[test]
    fn the_prefix_says_what_is_told_apart() {
        let hosts = |settings| {
            let plugin = balancer(settings, ["a", "b", "c", "d"].map(server));
            let picks: Vec<String> = (0..100)
                .map(|host| pick(&plugin, &format!("10.1.2.{host}")).unwrap())
                .collect();
            let v6: Vec<String> = (0..100)
                .map(|host| pick(&plugin, &format!("2001:db8::{host:x}")).unwrap())
                .collect();
            (hits(&picks).len(), hits(&v6).len())
        };
        assert_eq!(hosts(json!({})), (1, 4));
        assert_eq!(
            hosts(json!({ "ipv4-prefix": 32, "ipv6-prefix": 64 })),
            (4, 1)
        );
    }

    #[test]
    fn weights_are_honoured() {
        let plugin = balancer(json!({}), [server("a").weight(3), server("b")]);
        let picks = all(&plugin);
        let hits = hits(&picks);
        assert!((2900..3250).contains(&hits["a"]), "{hits:?}");
    }

    #[test]
    fn when_a_server_is_down_only_its_own_clients_move() {
        let plugin = balancer(json!({}), ["a", "b", "c", "d"].map(server));
        let before = all(&plugin);
        plugin.set_pool(
            "app",
            [server("a"), server("b").down(), server("c"), server("d")],
        );
        let after = all(&plugin);
        let (mut moved, mut to) = (0, HashMap::<&str, u32>::new());
        for (before, after) in before.iter().zip(&after) {
            if before == "b" {
                moved += 1;
                *to.entry(after).or_default() += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        assert!(
            to.values().all(|hits| *hits > moved / 5),
            "shared out over the rest: {to:?}"
        );
    }

    #[test]
    fn a_retry_goes_elsewhere_and_at_last_to_the_backup() {
        let plugin = balancer(
            json!({}),
            [
                server("a"),
                server("b"),
                server("c").weight(0),
                server("spare").backup(),
            ],
        );
        let again = |tried: &[&str]| plugin.pick_again_for("app", &FakeRequest::get("/"), tried);
        assert_eq!(again(&["a"]).as_deref(), Some("b"));
        assert_eq!(again(&["b"]).as_deref(), Some("a"));
        assert_eq!(again(&["a", "b"]).as_deref(), Some("spare"));
        assert_eq!(again(&["a", "b", "spare"]), None);
    }

    #[test]
    fn one_left_of_ten_thousand_is_found() {
        let left = |n: u32| {
            if n == 7777 {
                server("left")
            } else {
                server(n.to_string()).down()
            }
        };
        let plugin = balancer(json!({}), (0..10_000).map(left));
        assert_eq!(pick(&plugin, "10.1.2.3").as_deref(), Some("left"));
    }

    #[test]
    fn only_backups_are_left() {
        let plugin = balancer(
            json!({}),
            [
                server("a").down(),
                server("x").backup(),
                server("y").backup(),
            ],
        );
        let picks = all(&plugin);
        assert_eq!(hits(&picks).len(), 2);
    }

    #[test]
    fn a_client_without_an_address_is_served_too() {
        let plugin = balancer(json!({}), ["a", "b"].map(server));
        assert!(pick(&plugin, "").is_some());
    }

    #[test]
    fn a_prefix_out_of_range_is_refused() {
        let refusal = Harness::<IpHash>::new(json!({ "ipv4-prefix": 33 })).unwrap_err();
        assert_eq!(refusal, "key `ipv4-prefix`: 33 is not from 1 to 32");
        let refusal = Harness::<IpHash>::new(json!({ "ipv4-prefix": 0 })).unwrap_err();
        assert_eq!(refusal, "key `ipv4-prefix`: 0 is not from 1 to 32");
    }
}
