//! Keys, each with the algorithms that it may have signed by: its kind decides, and what its owner says of it.

use tidegate_sdk::base64;
use tidegate_sdk::crypto::{self, Scheme};

pub struct Key {
    pub id: Option<String>,
    schemes: Vec<Scheme>,
    /// A secret, or SubjectPublicKeyInfo in DER.
    pub bytes: Vec<u8>,
}

/// What a key can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// A secret must be as long as the hash (RFC 7518, 3.2); shorter ones are guessed.
const SHORTEST_SECRET: usize = 32;

impl Key {
    /// `algorithm`: the only one, by its name in a token. Absent: any of its kind.
    pub fn new(
        kind: Kind,
        bytes: Vec<u8>,
        id: Option<String>,
        algorithm: Option<&str>,
    ) -> Result<Key, String> {
        let own = kind.schemes();
        let schemes = match algorithm {
            None => own.to_vec(),
            Some(name) => {
                let scheme = scheme(name).filter(|scheme| own.contains(scheme));
                let fitting = || {
                    own.iter()
                        .map(|s| name_of(*s))
                        .collect::<Vec<_>>()
                        .join(", ")
                };
                vec![scheme.ok_or_else(|| {
                    format!(
                        "algorithm `{name}` is none of this key's, which are {}",
                        fitting()
                    )
                })?]
            }
        };
        if kind == Kind::Secret && bytes.len() < SHORTEST_SECRET {
            return Err(format!(
                "a secret of {} bytes can be guessed; take {SHORTEST_SECRET} or more (`openssl rand -base64 32`)",
                bytes.len()
            ));
        }
        if !crypto::fits(schemes[0], &bytes) {
            return Err(
                "the key is damaged, or of a size that is not taken (RSA: 2048 to 4096 bits)"
                    .to_owned(),
            );
        }
        Ok(Key { id, schemes, bytes })
    }

    /// Every public key of a PEM text.
    pub fn of_pem(
        text: &str,
        id: Option<&str>,
        algorithm: Option<&str>,
    ) -> Result<Vec<Key>, String> {
        let mut keys = Vec::new();
        let mut rest = text;
        while let Some((_, after)) = rest.split_once("-----BEGIN ") {
            let (label, body) = after.split_once("-----").ok_or(NO_PEM)?;
            let (body, after) = body.split_once("-----END ").ok_or(NO_PEM)?;
            rest = after;
            if label != "PUBLIC KEY" {
                return Err(other_label(label));
            }
            let digits: String = body.split_whitespace().collect();
            let der = base64::decode(&digits).ok_or(NO_PEM)?;
            let kind = Kind::of(&der).ok_or("the key is none of RSA, P-256, P-384 and Ed25519")?;
            keys.push(Key::new(kind, der, id.map(str::to_owned), algorithm)?);
        }
        match keys.is_empty() {
            true => Err(NO_PEM.to_owned()),
            false => Ok(keys),
        }
    }

    /// Whether it may be the one that a token names, or doesn't.
    pub fn may_be(&self, id: Option<&str>) -> bool {
        match (&self.id, id) {
            (Some(own), Some(id)) => own == id,
            _ => true,
        }
    }

    pub fn signs_by(&self, scheme: Scheme) -> bool {
        self.schemes.contains(&scheme)
    }
}

const NO_PEM: &str = "it is no public key in PEM, `-----BEGIN PUBLIC KEY-----` and so on";

fn other_label(label: &str) -> String {
    let remedy = match label {
        "CERTIFICATE" => "take its key: openssl x509 -pubkey -noout -in CERTIFICATE",
        "RSA PUBLIC KEY" => "write it anew: openssl rsa -RSAPublicKey_in -pubout -in KEY",
        label if label.contains("PRIVATE") => {
            "a proxy needs the public one alone: openssl pkey -pubout -in KEY"
        }
        _ => "give a PUBLIC KEY",
    };
    format!("it is a {label}; {remedy}")
}

impl Kind {
    fn schemes(self) -> &'static [Scheme] {
        match self {
            Kind::Secret => &[Scheme::HmacSha256, Scheme::HmacSha384, Scheme::HmacSha512],
            Kind::Rsa => &[
                Scheme::RsaPkcs1Sha256,
                Scheme::RsaPkcs1Sha384,
                Scheme::RsaPkcs1Sha512,
                Scheme::RsaPssSha256,
                Scheme::RsaPssSha384,
                Scheme::RsaPssSha512,
            ],
            Kind::P256 => &[Scheme::EcdsaP256Sha256],
            Kind::P384 => &[Scheme::EcdsaP384Sha384],
            Kind::Ed25519 => &[Scheme::Ed25519],
        }
    }

    /// By the algorithm that SubjectPublicKeyInfo begins with (RFC 5280, 4.1).
    fn of(der: &[u8]) -> Option<Kind> {
        // A sequence, its length in one to three bytes.
        let within = match der.get(..2)? {
            [0x30, 0x81] => der.get(3..)?,
            [0x30, 0x82] => der.get(4..)?,
            [0x30, _] => der.get(2..)?,
            _ => return None,
        };
        let kinds = [
            (RSA, Kind::Rsa),
            (P256, Kind::P256),
            (P384, Kind::P384),
            (ED25519, Kind::Ed25519),
        ];
        kinds
            .into_iter()
            .find(|(algorithm, _)| within.starts_with(algorithm))
            .map(|(_, kind)| kind)
    }
}

/// AlgorithmIdentifiers (RFC 3279, 2.3.1; RFC 5480, 2.1.1; RFC 8410, 3).
pub const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
pub const P256: &[u8] =
    b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
pub const P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
pub const ED25519: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70";

/// Names of RFC 7518, 3.1, and RFC 8037, 3.1. `none` is none of them.
const NAMES: [(&str, Scheme); 12] = [
    ("HS256", Scheme::HmacSha256),
    ("HS384", Scheme::HmacSha384),
    ("HS512", Scheme::HmacSha512),
    ("RS256", Scheme::RsaPkcs1Sha256),
    ("RS384", Scheme::RsaPkcs1Sha384),
    ("RS512", Scheme::RsaPkcs1Sha512),
    ("PS256", Scheme::RsaPssSha256),
    ("PS384", Scheme::RsaPssSha384),
    ("PS512", Scheme::RsaPssSha512),
    ("ES256", Scheme::EcdsaP256Sha256),
    ("ES384", Scheme::EcdsaP384Sha384),
    ("EdDSA", Scheme::Ed25519),
];

pub fn scheme(name: &str) -> Option<Scheme> {
    NAMES
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, scheme)| scheme)
}

fn name_of(scheme: Scheme) -> &'static str {
    let name = NAMES.iter().find(|(_, known)| *known == scheme);
    name.map_or("", |(name, _)| name)
}
