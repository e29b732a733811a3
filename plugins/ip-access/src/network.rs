//! Networks as an operator writes them. IPv4 lives where IPv6 maps it (RFC 4291, 2.5.5.2), so that one order holds both.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Bits that an IPv4 address has before its own.
const MAPPED: u8 = 96;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Bits behind the prefix are 0.
    pub bits: u128,
    pub prefix: u8,
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
}

/// The bits of an address as the host gives it. None: it is none.
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
        assert_eq!(cut(u128::MAX, 0), 0);
        assert_eq!(cut(u128::MAX, 128), u128::MAX);
    }
}
