//! Which certificate a client gets: by the name that it asks for, then by what it can verify. A hash map, so that a handshake
//! costs the same with one certificate and with ten thousand.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

#[derive(Debug)]
pub struct Choice {
    exact: HashMap<Box<str>, Kinds>,
    /// Without their `*.`.
    wildcards: HashMap<Box<str>, Kinds>,
    /// Where no name fits. None: refused.
    default: Option<Kinds>,
}

/// Certificates for one name, those first that cost least: ECDSA, Ed25519, RSA.
#[derive(Clone, Debug, Default)]
struct Kinds(Vec<Arc<CertifiedKey>>);

impl Choice {
    /// Of several with one name and one kind of key the first counts.
    pub fn new<'a>(
        certificates: impl Iterator<Item = &'a Arc<Certificate>> + Clone,
        strict: bool,
    ) -> Choice {
        let mut choice = Choice {
            exact: HashMap::new(),
            wildcards: HashMap::new(),
            default: None,
        };
        for certificate in certificates.clone() {
            for name in &certificate.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(name) => (&mut choice.wildcards, name),
                    None => (&mut choice.exact, name.as_str()),
                };
                map.entry(name.into()).or_default().add(&certificate.key);
            }
        }
        let first = certificates.clone().next().filter(|_| !strict);
        choice.default = first.map(|first| {
            let mut kinds = Kinds::default();
            let same = certificates.filter(|other| other.names == first.names);
            same.for_each(|certificate| kinds.add(&certificate.key));
            kinds
        });
        choice
    }

    fn kinds(&self, name: Option<&str>) -> Option<&Kinds> {
        let by_name = name.and_then(|name| {
            // Lower case already.
            let wild = || {
                self.wildcards
                    .get(name.split_once('.').map_or("", |(_, rest)| rest))
            };
            self.exact.get(name).or_else(wild)
        });
        by_name.or(self.default.as_ref())
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Kinds(keys) = self.kinds(hello.server_name())?;
        let schemes = hello.signature_schemes();
        let fits = keys
            .iter()
            .find(|key| key.key.choose_scheme(schemes).is_some());
        // What fits nothing fails with a word for that.
        fits.or(keys.first()).cloned()
    }
}

impl Kinds {
    fn add(&mut self, key: &Arc<CertifiedKey>) {
        let kind = key.key.algorithm();
        if self.0.iter().all(|known| known.key.algorithm() != kind) {
            self.0.push(key.clone());
            self.0.sort_by_key(|key| rank(key.key.algorithm()));
        }
    }
}

fn rank(kind: SignatureAlgorithm) -> u8 {
    match kind {
        SignatureAlgorithm::ECDSA => 0,
        SignatureAlgorithm::ED25519 | SignatureAlgorithm::ED448 => 1,
        _ => 2,
    }
}
