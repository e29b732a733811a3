//! The cryptography that guests may ask for: `crypto` of the WIT. Sizes are bounded, and with them the time of a call; what
//! a peer sent is compared in constant time. Which scheme a key is for is the guest's to say, and never the peer's.

use std::num::NonZeroU32;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use aws_lc_rs::{digest, hmac, pbkdf2};
use wasmtime::Result;

use super::bindings::crypto::{self, Scheme};
use super::guest::Guest;

const MOST_MESSAGE: usize = 64 << 10;
const MOST_KEY: usize = 4 << 10;
const MOST_ITERATIONS: u32 = 20_000;

/// A DER of an RSA key of 4096 bits has 550 bytes. A larger modulus costs a hundred times the time of a small one.
const MOST_PUBLIC: usize = 600;

impl crypto::Host for Guest {
    fn verify(
        &mut self,
        scheme: Scheme,
        key: Vec<u8>,
        message: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<bool> {
        Ok(message.len() <= MOST_MESSAGE && verify(scheme, &key, &message, &signature))
    }

    fn fits(&mut self, scheme: Scheme, key: Vec<u8>) -> Result<bool> {
        Ok(fits(scheme, &key))
    }

    fn password_fits(
        &mut self,
        password: Vec<u8>,
        salt: Vec<u8>,
        iterations: u32,
        expected: Vec<u8>,
    ) -> Result<bool> {
        Ok(password_fits(&password, &salt, iterations, &expected))
    }

    fn sha256(&mut self, message: Vec<u8>) -> Result<Vec<u8>> {
        Ok(digest::digest(&digest::SHA256, &message).as_ref().to_vec())
    }

    fn hmac_sha256(&mut self, key: Vec<u8>, message: Vec<u8>) -> Result<Vec<u8>> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Ok(hmac::sign(&key, &message).as_ref().to_vec())
    }
}

enum Kind {
    Secret(hmac::Algorithm),
    Public(&'static dyn VerificationAlgorithm),
}

fn kind(scheme: Scheme) -> Kind {
    match scheme {
        Scheme::HmacSha256 => Kind::Secret(hmac::HMAC_SHA256),
        Scheme::HmacSha384 => Kind::Secret(hmac::HMAC_SHA384),
        Scheme::HmacSha512 => Kind::Secret(hmac::HMAC_SHA512),
        Scheme::RsaPkcs1Sha256 => Kind::Public(&signature::RSA_PKCS1_2048_8192_SHA256),
        Scheme::RsaPkcs1Sha384 => Kind::Public(&signature::RSA_PKCS1_2048_8192_SHA384),
        Scheme::RsaPkcs1Sha512 => Kind::Public(&signature::RSA_PKCS1_2048_8192_SHA512),
        Scheme::RsaPssSha256 => Kind::Public(&signature::RSA_PSS_2048_8192_SHA256),
        Scheme::RsaPssSha384 => Kind::Public(&signature::RSA_PSS_2048_8192_SHA384),
        Scheme::RsaPssSha512 => Kind::Public(&signature::RSA_PSS_2048_8192_SHA512),
        Scheme::EcdsaP256Sha256 => Kind::Public(&signature::ECDSA_P256_SHA256_FIXED),
        Scheme::EcdsaP384Sha384 => Kind::Public(&signature::ECDSA_P384_SHA384_FIXED),
        Scheme::Ed25519 => Kind::Public(&signature::ED25519),
    }
}

fn verify(scheme: Scheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    match kind(scheme) {
        Kind::Secret(algorithm) if (1..=MOST_KEY).contains(&key.len()) => {
            hmac::verify(&hmac::Key::new(algorithm, key), message, signature).is_ok()
        }
        Kind::Public(algorithm) if (1..=MOST_PUBLIC).contains(&key.len()) => {
            UnparsedPublicKey::new(algorithm, key)
                .verify(message, signature)
                .is_ok()
        }
        Kind::Secret(_) | Kind::Public(_) => false,
    }
}

fn fits(scheme: Scheme, key: &[u8]) -> bool {
    match kind(scheme) {
        Kind::Secret(_) => (1..=MOST_KEY).contains(&key.len()),
        Kind::Public(algorithm) => {
            (1..=MOST_PUBLIC).contains(&key.len())
                && UnparsedPublicKey::new(algorithm, key).parse().is_ok()
        }
    }
}

fn password_fits(password: &[u8], salt: &[u8], iterations: u32, expected: &[u8]) -> bool {
    let bounded = password.len() <= MOST_KEY && salt.len() <= MOST_KEY;
    let Some(iterations) = NonZeroU32::new(iterations).filter(|n| n.get() <= MOST_ITERATIONS)
    else {
        return false;
    };
    bounded
        && (16..=64).contains(&expected.len())
        && pbkdf2::verify(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            salt,
            password,
            expected,
        )
        .is_ok()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};

    use super::*;

    #[test]
    fn hmac_as_in_rfc_4231() {
        let mac = hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let message = b"what do ya want for nothing?";
        assert!(verify(Scheme::HmacSha256, b"Jefe", message, &mac));
        assert!(!verify(Scheme::HmacSha256, b"jefe", message, &mac));
        assert!(!verify(Scheme::HmacSha256, b"Jefe", message, &mac[..31]));
        assert!(!verify(Scheme::HmacSha512, b"Jefe", message, &mac));
        assert!(!verify(Scheme::HmacSha256, b"", message, b""));
    }

    #[test]
    fn pbkdf2_as_openssl_makes_it() {
        let expected = hex("c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a");
        assert!(password_fits(b"password", b"salt", 4096, &expected));
        assert!(!password_fits(b"Password", b"salt", 4096, &expected));
        assert!(!password_fits(b"password", b"salt", 4095, &expected));
        assert!(!password_fits(b"password", b"salt", 0, &expected));
        assert!(!password_fits(b"password", b"salt", u32::MAX, &expected));
        assert!(!password_fits(b"password", b"salt", 4096, &expected[..15]));
    }

    #[test]
    fn a_key_fits_its_own_scheme_alone() {
        let key = Ed25519KeyPair::generate().unwrap();
        let der = key.public_key().as_der().unwrap();
        let signed = key.sign(b"m");
        assert!(fits(Scheme::Ed25519, der.as_ref()));
        assert!(verify(Scheme::Ed25519, der.as_ref(), b"m", signed.as_ref()));
        assert!(!verify(
            Scheme::Ed25519,
            der.as_ref(),
            b"n",
            signed.as_ref()
        ));
        for other in [
            Scheme::EcdsaP256Sha256,
            Scheme::RsaPkcs1Sha256,
            Scheme::RsaPssSha512,
        ] {
            assert!(!fits(other, der.as_ref()), "{other:?}");
            assert!(
                !verify(other, der.as_ref(), b"m", signed.as_ref()),
                "{other:?}"
            );
        }
    }

    #[test]
    fn curves_and_rsa() {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let der = pair.public_key().as_der().unwrap();
        let signed = pair.sign(&random, b"m").unwrap();
        assert!(verify(
            Scheme::EcdsaP256Sha256,
            der.as_ref(),
            b"m",
            signed.as_ref()
        ));
        assert!(!fits(Scheme::EcdsaP384Sha384, der.as_ref()));

        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = pair.public_key().as_der().unwrap();
        let mut signed = vec![0; pair.public_modulus_len()];
        pair.sign(&signature::RSA_PSS_SHA256, &random, b"m", &mut signed)
            .unwrap();
        assert!(verify(Scheme::RsaPssSha256, der.as_ref(), b"m", &signed));
        assert!(!verify(Scheme::RsaPkcs1Sha256, der.as_ref(), b"m", &signed));
        assert!(fits(Scheme::RsaPkcs1Sha512, der.as_ref()));
        let padded = [der.as_ref(), &[0; MOST_PUBLIC]].concat();
        assert!(!fits(Scheme::RsaPkcs1Sha512, &padded));
    }

    #[test]
    fn garbage_is_no_key() {
        for key in [&b""[..], b"x", &[0x30, 0x82, 0xff, 0xff], &[0; 5000]] {
            assert!(!fits(Scheme::Ed25519, key) && !fits(Scheme::RsaPkcs1Sha256, key));
            assert!(!verify(Scheme::EcdsaP384Sha384, key, b"m", key));
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let pair = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(pair).collect()
    }
}
