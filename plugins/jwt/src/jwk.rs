//! A set of keys as JSON (RFC 7517, 5).

use serde::Deserialize;
use tidegate_sdk::base64;

use crate::keys::{ED25519, Key, Kind, P256, P384, RSA};

/// More than any issuer has in use.
const MOST: usize = 64;

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

/// The keys that signatures can be checked with. Of a kind that is not known, for encryption, or damaged, they are passed over
/// (RFC 7517, 5): an issuer may have others beside those that we need. Err: there is none left.
pub fn set(text: &[u8], secrets: bool) -> Result<Vec<Key>, String> {
    let set: Set = serde_json::from_slice(text).map_err(|e| format!("it is no JWKS: {e}"))?;
    let signing = |key: &&Jwk| key.usage.as_deref().is_none_or(|usage| usage == "sig");
    let usable = set.keys.iter().filter(signing).take(MOST);
    let keys: Vec<Key> = usable.filter_map(|key| key.key(secrets)).collect();
    match keys.is_empty() {
        true => Err(
            "it holds no key for signatures that is known here (RSA, P-256, P-384, Ed25519)"
                .to_owned(),
        ),
        false => Ok(keys),
    }
}

impl Jwk {
    /// Symmetric ones only where told: what can be fetched is no secret.
    fn key(&self, secrets: bool) -> Option<Key> {
        let (kind, bytes) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => (Kind::Rsa, rsa(&number(&self.n)?, &number(&self.e)?)),
            ("EC", Some("P-256")) => (Kind::P256, info(P256, &self.point(32)?)),
            ("EC", Some("P-384")) => (Kind::P384, info(P384, &self.point(48)?)),
            ("OKP", Some("Ed25519")) => {
                let x = number(&self.x).filter(|x| x.len() == 32)?;
                (Kind::Ed25519, info(ED25519, &x))
            }
            ("oct", _) if secrets => (Kind::Secret, number(&self.k)?),
            _ => return None,
        };
        Key::new(kind, bytes, self.kid.clone(), self.alg.as_deref()).ok()
    }

    /// Uncompressed (SEC 1, 2.3.3).
    fn point(&self, length: usize) -> Option<Vec<u8>> {
        let (x, y) = (number(&self.x)?, number(&self.y)?);
        let fits = x.len() == length && y.len() == length;
        fits.then(|| [&[4], &x[..], &y].concat())
    }
}

fn number(text: &Option<String>) -> Option<Vec<u8>> {
    base64::decode_url(text.as_deref()?)
}

fn rsa(n: &[u8], e: &[u8]) -> Vec<u8> {
    let key = der(0x30, &[integer(n), integer(e)].concat());
    info(RSA, &key)
}

/// SubjectPublicKeyInfo.
fn info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let bits = der(0x03, &[&[0], key].concat());
    der(0x30, &[algorithm, &bits].concat())
}

/// Unsigned: a first bit that is set has a zero before it.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
    let bytes = &bytes[start..];
    match bytes.first() {
        Some(first) if *first < 0x80 => der(0x02, bytes),
        _ => der(0x02, &[&[0], bytes].concat()),
    }
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [&head, content].concat()
}
