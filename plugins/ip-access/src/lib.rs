//! Lets clients in, or refuses them, by their address. See README.md.
//!
//! The most specific network decides, so that the lists have no order to get wrong. A look-up is a binary search for each
//! length of prefix that the lists name, the longest first: few lengths are in use, and a list may have many thousand networks.

use serde::Deserialize;
use tidegate_sdk::network::{self, Network, bits};
use tidegate_sdk::prelude::*;

pub struct IpAccess {
    /// By length of prefix, the longest first.
    lengths: Vec<Length>,
    /// For addresses that stand in no network.
    otherwise: bool,
    status: u16,
}

/// The networks of one length.
struct Length {
    prefix: u8,
    /// Sorted by network; true lets in.
    networks: Vec<(u128, bool)>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    allow: List,
    deny: List,
    /// What refused clients get.
    status: u16,
}

/// A list, or a text with one network a line: a blocklist's file.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a list of networks, or a text with one a line, such as that of { file = \"…\" }"
)]
enum List {
    Listed(Vec<String>),
    Lines(String),
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            allow: List::Listed(Vec::new()),
            deny: List::Listed(Vec::new()),
            status: 403,
        }
    }
}

impl Plugin for IpAccess {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        if !(400..=499).contains(&settings.status) {
            return Err(format!(
                "key `status`: {} is no refusal; give one from 400 to 499, such as 403 or 404",
                settings.status
            ));
        }
        let allow = settings.allow.networks("allow")?;
        let deny = settings.deny.networks("deny")?;
        if allow.is_empty() && deny.is_empty() {
            return Err(
                "it would let everybody in: give networks in `allow`, in `deny`, or in both"
                    .to_owned(),
            );
        }
        Ok(IpAccess {
            // A list of who may come in means: nobody else.
            otherwise: allow.is_empty(),
            lengths: lengths(allow, deny)?,
            status: settings.status,
        })
    }

    fn interest(&self) -> Interest {
        Interest::none().client_address().pure()
    }
}

impl RequestFilter for IpAccess {
    fn request(&self, r: &Request) -> Outcome {
        // Who has no address is let in only where everybody is who isn't listed.
        let allowed = bits(r.client_address()).map_or(self.otherwise, |bits| self.allows(bits));
        if allowed {
            return next();
        }
        reply(self.status)
            .text("Your address may not use this service.\n")
            .why("address refused")
    }
}

impl IpAccess {
    fn allows(&self, address: u128) -> bool {
        let decided = self.lengths.iter().find_map(|length| {
            let network = network::cut(address, length.prefix);
            let at = length
                .networks
                .binary_search_by_key(&network, |(network, _)| *network);
            at.ok().map(|at| length.networks[at].1)
        });
        decided.unwrap_or(self.otherwise)
    }
}

export!(IpAccess: RequestFilter);

impl List {
    fn networks(&self, key: &str) -> Result<Vec<Network>, String> {
        match self {
            List::Listed(list) => {
                let at = |(at, text): (usize, &String)| {
                    Network::parse(text).map_err(|e| format!("key `{key}[{at}]`: {e}"))
                };
                list.iter().enumerate().map(at).collect()
            }
            List::Lines(text) => {
                let bare = |line: &'_ str| {
                    line.split(['#', ';'])
                        .next()
                        .unwrap_or("")
                        .trim()
                        .to_owned()
                };
                let lines = text.lines().map(bare).enumerate();
                let used = lines.filter(|(_, line)| !line.is_empty());
                used.map(|(at, line)| {
                    Network::parse(&line).map_err(|e| format!("key `{key}`: line {}: {e}", at + 1))
                })
                .collect()
            }
        }
    }
}

fn lengths(allow: Vec<Network>, deny: Vec<Network>) -> Result<Vec<Length>, String> {
    let allow = allow.into_iter().map(|network| (network, true));
    let mut all: Vec<(Network, bool)> = allow
        .chain(deny.into_iter().map(|network| (network, false)))
        .collect();
    all.sort_unstable_by_key(|(network, allowed)| (network.prefix(), network.bits(), *allowed));
    let same = all
        .windows(2)
        .find(|two| two[0].0 == two[1].0 && two[0].1 != two[1].1);
    if let Some(two) = same {
        return Err(format!(
            "keys `allow` and `deny` both name {}; only one of them can be meant",
            two[0].0
        ));
    }
    all.dedup();
    let mut lengths: Vec<Length> = Vec::new();
    for (network, allowed) in all {
        if lengths
            .last()
            .is_none_or(|last| last.prefix != network.prefix())
        {
            lengths.push(Length {
                prefix: network.prefix(),
                networks: Vec::new(),
            });
        }
        let last = lengths.last_mut().expect("one was pushed");
        last.networks.push((network.bits(), allowed));
    }
    lengths.reverse();
    Ok(lengths)
}

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{FakeRequest, Harness, Value, json};

    use super::*;

    fn plugin(settings: Value) -> Harness<IpAccess> {
        Harness::new(settings).unwrap()
    }

    fn status(plugin: &Harness<IpAccess>, address: &str) -> Option<u16> {
        let request = FakeRequest::get("/").client_address(address);
        let outcome = plugin.request(&request).outcome();
        outcome.replied().map(|reply| reply.status)
    }

    #[test]
    fn only_who_is_allowed_comes_in() {
        let plugin = plugin(json!({ "allow": ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"] }));
        for address in ["10.255.0.1", "192.0.2.7", "2001:db8:1::1"] {
            assert_eq!(status(&plugin, address), None, "{address}");
        }
        for address in [
            "11.0.0.1",
            "192.0.2.8",
            "2001:db9::1",
            "::a00:1",
            "",
            "unix",
        ] {
            assert_eq!(status(&plugin, address), Some(403), "{address}");
        }
    }

    #[test]
    fn all_but_the_denied_come_in() {
        let plugin = plugin(json!({ "deny": ["198.51.100.0/24", "2001:db8::1"], "status": 404 }));
        for address in ["198.51.101.1", "2001:db8::2", ""] {
            assert_eq!(status(&plugin, address), None, "{address}");
        }
        for address in ["198.51.100.255", "2001:db8::1"] {
            assert_eq!(status(&plugin, address), Some(404), "{address}");
        }
    }

    #[test]
    fn the_most_specific_network_decides() {
        let settings =
            json!({ "allow": ["10.0.0.0/8", "10.1.2.3"], "deny": ["10.1.0.0/16", "0.0.0.0/0"] });
        let plugin = plugin(settings);
        assert_eq!(status(&plugin, "10.2.0.1"), None);
        assert_eq!(status(&plugin, "10.1.0.1"), Some(403));
        assert_eq!(status(&plugin, "10.1.2.3"), None);
        assert_eq!(status(&plugin, "192.0.2.1"), Some(403));
        assert_eq!(status(&plugin, "2001:db8::1"), Some(403), "not allowed");
    }

    #[test]
    fn a_text_has_a_network_a_line() {
        let text = "# a blocklist\n198.51.100.0/24 ; spam\n\n2001:db8::/48\r\n";
        let plugin = plugin(json!({ "deny": text }));
        assert_eq!(status(&plugin, "198.51.100.9"), Some(403));
        assert_eq!(status(&plugin, "2001:db8:0:1::"), Some(403));
        assert_eq!(status(&plugin, "192.0.2.1"), None);
    }

    #[test]
    fn mapped_addresses_are_those_that_they_map() {
        let plugin = plugin(json!({ "deny": ["::ffff:192.0.2.0/120"] }));
        assert_eq!(status(&plugin, "192.0.2.99"), Some(403));
        assert_eq!(status(&plugin, "::ffff:192.0.2.99"), Some(403));
        assert_eq!(status(&plugin, "192.0.3.1"), None);
    }

    #[test]
    fn a_long_list_is_taken_whole() {
        let networks: Vec<String> = (0..20_000u32)
            .map(|n| format!("10.{}.{}.0/24", n / 256, n % 256))
            .collect();
        let plugin = plugin(json!({ "deny": networks }));
        assert_eq!(status(&plugin, "10.78.31.1"), Some(403));
        assert_eq!(status(&plugin, "10.78.33.1"), None);
    }

    #[test]
    fn wrong_settings_are_refused_with_key_and_remedy() {
        let refusal = |settings| Harness::<IpAccess>::new(settings).unwrap_err();
        let cases = [
            (json!({}), "it would let everybody in: give networks"),
            (
                json!({ "allow": ["10.0.0/8"] }),
                "key `allow[0]`: `10.0.0/8` is no network",
            ),
            (
                json!({ "deny": ["10.0.0.0/33"] }),
                "key `deny[0]`: `10.0.0.0/33`: the prefix is from 0 to 32",
            ),
            (json!({ "deny": ["10.1.0.0/8"] }), "write 10.0.0.0/8"),
            (
                json!({ "deny": "10.0.0.1\nexample.com" }),
                "key `deny`: line 2: `example.com` is no network",
            ),
            (
                json!({ "allow": ["10.0.0.1"], "deny": ["10.0.0.1/32"] }),
                "both name 10.0.0.1/32",
            ),
            (
                json!({ "deny": ["::1"], "status": 200 }),
                "key `status`: 200 is no refusal",
            ),
            (json!({ "allow": 7 }), "a list of networks"),
            (json!({ "blok": [] }), "unknown field `blok`"),
        ];
        for (settings, words) in cases {
            let said = refusal(settings);
            assert!(said.contains(words), "{said}");
        }
    }
}
