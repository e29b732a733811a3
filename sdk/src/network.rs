//! Networks as an operator writes them: in settings, a `Network` is read from its text.
//!
//! IPv4 lives where IPv6 maps it (RFC 4291, 2.5.5.2): one order holds both, and `::ffff:192.0.2.0/120` is `192.0.2.0/24`.
//!
//! ```
//! use tidegate_sdk::network::Network;
//! let network = Network::parse("192.0.2.0/24").unwrap();
//! assert!(network.holds("192.0.2.7".parse().unwrap()));
//! assert!(!network.holds("2001:db8::1".parse().unwrap()));
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::de::{Deserialize, Deserializer, Error};

/// Bits that an IPv4 address has before its own.
const MAPPED: u8 = 96;

/// A network, or a single address, which is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    bits: u128,
    prefix: u8,
}

impl Network {
    /// `192.0.2.0/24`, `2001:db8::/32`, or an address, which is a network of one.
    pub fn parse(text: &str) -> Result<Network, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let unknown = || {
            format!(
                "`{text}` is no network: write an IP address, with a prefix's length for more than one, such as 192.0.2.0/24 or 2001:db8::/32"
            )
        };
        let address: IpAddr = address.parse().map_err(|_| unknown())?;
        let (most, before) = match address {
            IpAddr::V4(_) => (32, MAPPED),
            IpAddr::V6(_) => (128, 0),
        };
        let prefix = match prefix {
            None => most,
            Some(prefix) => prefix.parse().map_err(|_| unknown())?,
        };
        if prefix > most {
            return Err(format!("`{text}`: the prefix is from 0 to {most}"));
        }
        let network = Network {
            bits: bits_of(address),
            prefix: prefix + before,
        };
        let whole = Network {
            bits: cut(network.bits, network.prefix),
            ..network
        };
        if whole != network {
            return Err(format!(
                "`{text}` has bits behind its prefix: write {whole}, or the address alone"
            ));
        }
        Ok(network)
    }

    /// Its address as a number, IPv4 where IPv6 maps it. What lies behind the prefix is 0.
    pub fn bits(&self) -> u128 {
        self.bits
    }

    /// Bits that all its addresses share, of 128.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether the address lies in it.
    pub fn holds(&self, address: IpAddr) -> bool {
        cut(bits_of(address), self.prefix) == self.bits
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Network, D::Error> {
        Network::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// An address as [`Network::bits`] has it, from the text in which the host gives it. None: it is none.
pub fn bits(text: &str) -> Option<u128> {
    text.parse().ok().map(bits_of)
}

/// The network that the bits lie in.
pub fn cut(bits: u128, prefix: u8) -> u128 {
    let behind = 128 - u32::from(prefix);
    bits.checked_shr(behind).map_or(0, |kept| kept << behind)
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.bits);
        match address.to_ipv4_mapped().filter(|_| self.prefix >= MAPPED) {
            Some(address) => write!(f, "{address}/{}", self.prefix - MAPPED),
            None => write!(f, "{address}/{}", self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_in_a_network_however_either_is_written() {
        let holds = |network: &str, address: &str| {
            let network = Network::parse(network).unwrap();
            network.holds(address.parse().unwrap())
        };
        for network in [
            "192.0.2.0/24",
            "::ffff:192.0.2.0/120",
            "::ffff:0:0/96",
            "0.0.0.0/0",
            "::/0",
        ] {
            assert!(holds(network, "192.0.2.7"), "{network}");
            assert!(holds(network, "::ffff:192.0.2.7"), "{network}");
        }
        assert!(!holds("0.0.0.0/0", "2001:db8::1"));
        assert!(!holds("::ffff:192.0.2.0/120", "192.0.3.7"));
        assert!(holds("2001:db8::/32", "2001:db8::1"));
    }

    #[test]
    fn networks_are_read_and_written() {
        for (text, written) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ] {
            assert_eq!(Network::parse(text).unwrap().to_string(), written);
        }
        for text in [
            "",
            "x",
            "192.0.2.0/33",
            "192.0.2.1/24",
            "::/129",
            "::/x",
            "1.2.3.4/",
        ] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
        assert_eq!(cut(u128::MAX, 0), 0);
        assert_eq!(cut(u128::MAX, 128), u128::MAX);
    }
}
