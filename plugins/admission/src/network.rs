//! Networks as people write them: CIDR, or a single address.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, de::Error};

/// Host bits are zero.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    base: IpAddr,
    prefix: u32,
}

impl Network {
    pub fn holds(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.base.is_ipv4() && masked(address, self.prefix) == self.base
    }

    fn parse(text: &str) -> Result<Network, String> {
        let none = || format!("`{text}` is no network; write 10.0.0.0/8, or an address alone");
        let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
        let base: IpAddr = address.parse().map_err(|_| none())?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match text.contains('/') {
            true => prefix.parse().map_err(|_| none())?,
            false => bits,
        };
        if prefix > bits {
            return Err(none());
        }
        let network = masked(base, prefix);
        if network != base {
            return Err(format!(
                "`{text}` has bits beyond its prefix; write {network}/{prefix}"
            ));
        }
        Ok(Network { base, prefix })
    }
}

fn masked(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Network, D::Error> {
        Network::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}
