//! Addresses as people write them.

use std::net::{IpAddr, SocketAddr};

/// An IPv4 address mapped into IPv6 as IPv4 (RFC 4291, 2.5.5.2).
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether `address` lies in the network of that base address and prefix length; base's host bits are zero.
pub fn within(address: IpAddr, base: IpAddr, prefix: u8) -> bool {
    match (address.to_canonical(), base) {
        (IpAddr::V4(address), IpAddr::V4(base)) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(prefix.min(32)))
                .unwrap_or(0);
            address.to_bits() & mask == base.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(base)) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(prefix.min(128)))
                .unwrap_or(0);
            address.to_bits() & mask == base.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_shown_as_ipv4() {
        let mapped = "[::ffff:10.0.0.1]:80".parse().unwrap();
        assert_eq!(canonical(mapped), "10.0.0.1:80".parse().unwrap());
    }

    #[test]
    fn a_network_holds_its_addresses() {
        let holds = |network: &str, prefix, address: &str| {
            within(address.parse().unwrap(), network.parse().unwrap(), prefix)
        };
        assert!(holds("10.0.0.0", 8, "10.200.3.4"));
        assert!(!holds("10.0.0.0", 8, "11.0.0.1"));
        assert!(holds("0.0.0.0", 0, "203.0.113.9"));
        assert!(holds("192.0.2.7", 32, "192.0.2.7"));
        assert!(!holds("192.0.2.7", 32, "192.0.2.6"));
        assert!(holds("2001:db8::", 32, "2001:db8:1::5"));
        assert!(!holds("::", 0, "10.0.0.1"));
        assert!(holds("10.0.0.0", 8, "::ffff:10.1.1.1"));
    }
}
