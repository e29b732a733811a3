//! The host's cryptography, natively: hashes are real, and what takes a library for large numbers is made up.

use sha2::{Digest, Sha256};

pub use crate::bindings::base::tidegate::plugin::crypto::Scheme;

pub fn verify(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    fits(scheme, key) && signed(scheme, key, message) == signature
}

pub fn fits(scheme: Scheme, key: &[u8]) -> bool {
    match scheme {
        Scheme::HmacSha256 | Scheme::HmacSha384 | Scheme::HmacSha512 => !key.is_empty(),
        // A sequence, as any SubjectPublicKeyInfo is.
        _ => key.first() == Some(&0x30),
    }
}

/// HMAC-SHA-256 as it is; anything else is a mark that nobody else makes.
pub(super) fn signed(scheme: Scheme, key: &[u8], message: &[u8]) -> Vec<u8> {
    match scheme {
        Scheme::HmacSha256 => hmac_sha256(key, message),
        other => hmac_sha256(key, &[format!("{other:?}:").as_bytes(), message].concat()),
    }
}

pub fn password_fits(password: &[u8], salt: &[u8], iterations: u32, expected: &[u8]) -> bool {
    if !(1..=20_000).contains(&iterations) || !(16..=64).contains(&expected.len()) {
        return false;
    }
    let blocks = (1u32..).map(|number| block(password, salt, iterations, number));
    let made: Vec<u8> = blocks
        .take(expected.len().div_ceil(32))
        .flatten()
        .take(expected.len())
        .collect();
    made == expected
}

/// F of RFC 8018, 5.2.
fn block(password: &[u8], salt: &[u8], iterations: u32, number: u32) -> Vec<u8> {
    let mut last = hmac_sha256(password, &[salt, &number.to_be_bytes()].concat());
    let mut sum = last.clone();
    for _ in 1..iterations {
        last = hmac_sha256(password, &last);
        sum.iter_mut()
            .zip(&last)
            .for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

pub fn sha256(message: &[u8]) -> Vec<u8> {
    Sha256::digest(message).to_vec()
}

/// RFC 2104.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    match key.len() {
        0..=64 => block[..key.len()].copy_from_slice(key),
        _ => block[..32].copy_from_slice(&Sha256::digest(key)),
    }
    let inner = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x36));
    let inner = inner.chain_update(message).finalize();
    let outer = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let pair = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(pair).collect()
    }

    #[test]
    fn hmac_as_in_rfc_4231() {
        let mac = hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(hmac_sha256(b"Jefe", b"what do ya want for nothing?"), mac);
    }

    #[test]
    fn a_password_as_the_proxy_has_it() {
        let expected = hex("c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a");
        assert!(password_fits(b"password", b"salt", 4096, &expected));
        assert!(!password_fits(b"password", b"salt", 4097, &expected));
    }
}
