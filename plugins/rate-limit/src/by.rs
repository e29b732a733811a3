//! What tells the requests of one bucket from those of another.

use std::net::IpAddr;

use tidegate_sdk::{Input, Request, crypto};

pub struct By {
    pub parts: Vec<Input>,
    pub ipv4_prefix: u8,
    pub ipv6_prefix: u8,
}

/// Longer keys are hashed: the store takes 1 KiB, and its room is shared.
const LONGEST: usize = 128;

impl By {
    pub fn inputs(&self) -> impl Iterator<Item = Input> {
        self.parts.iter().cloned()
    }

    /// Each part with its length before it, so that two of them never read as another two. An absent one is told from an
    /// empty one.
    pub fn key(&self, limit: &str, r: &Request) -> Vec<u8> {
        let mut key = Vec::with_capacity(64);
        push(&mut key, Some(limit.as_bytes()));
        for part in &self.parts {
            match (part, r.bytes(part)) {
                (Input::ClientAddress, Some(address)) => self.push_network(&mut key, address),
                (_, value) => push(&mut key, value),
            }
        }
        match key.len() {
            0..=LONGEST => key,
            _ => [b"#", &crypto::sha256(&key)[..]].concat(),
        }
    }

    fn push_network(&self, key: &mut Vec<u8>, text: &[u8]) {
        let address = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok());
        match address {
            Some(IpAddr::V4(address)) => {
                let mask = u32::MAX << (32 - u32::from(self.ipv4_prefix));
                push(key, Some(&(address.to_bits() & mask).to_be_bytes()));
            }
            Some(IpAddr::V6(address)) => {
                let mask = u128::MAX << (128 - u32::from(self.ipv6_prefix));
                push(key, Some(&(address.to_bits() & mask).to_be_bytes()));
            }
            // A UNIX socket's clients can't be told apart.
            None => push(key, Some(text)),
        }
    }
}

fn push(key: &mut Vec<u8>, value: Option<&[u8]>) {
    let length = value.map_or(u32::MAX, |value| value.len() as u32);
    key.extend_from_slice(&length.to_le_bytes());
    key.extend_from_slice(value.unwrap_or_default());
}
