//! Cryptography by the proxy's own library: what Wasm is slow at, or can't do in constant time. What a call costs is bounded
//! by what it takes (a message of 64 KiB, a key of 4 KiB, RSA up to 4096 bits, 20,000 iterations), and counts as the plugin's own time.
//!
//! ```
//! use tidegate_sdk::crypto::{self, Scheme};
//! let mac = crypto::hmac_sha256(b"secret", b"message");
//! assert!(crypto::verify(Scheme::HmacSha256, b"secret", b"message", &mac));
//! assert!(!crypto::verify(Scheme::HmacSha256, b"secret", b"another", &mac));
//! ```
//!
//! In the test harness hashes, HMAC-SHA-256 and passwords are what they are in the proxy; a public key's signature is the one that
//! [`FakeHost::sign`](crate::test::FakeHost::sign) makes.

use crate::sys;

/// What a key is for, and how a signature is made. A public key is SubjectPublicKeyInfo in DER (RFC 5280, 4.1), a secret at least
/// one byte.
pub use sys::Scheme;

/// Whether the signature is the key's for that message. False also for a key that doesn't fit the scheme.
///
/// The scheme must come from what is known of the key, never from what a client sent beside the signature.
pub fn verify(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    sys::verify(scheme, key, message, signature)
}

/// Whether the key is one for that scheme: ask in [`Plugin::new`](crate::Plugin::new).
pub fn fits(scheme: Scheme, key: &[u8]) -> bool {
    sys::fits(scheme, key)
}

/// Whether PBKDF2 with HMAC-SHA-256 (RFC 8018, 5.2) makes `expected`, 16 to 64 bytes, of the password.
pub fn password_fits(password: &[u8], salt: &[u8], iterations: u32, expected: &[u8]) -> bool {
    sys::password_fits(password, salt, iterations, expected)
}

/// SHA-256: 32 bytes.
pub fn sha256(message: &[u8]) -> Vec<u8> {
    sys::sha256(message)
}

/// HMAC with SHA-256: 32 bytes. To check one, use [`verify`]: it compares in constant time.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    sys::hmac_sha256(key, message)
}
