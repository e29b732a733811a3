//! A certificate with its key, read from its files and found to be of use: the two fit each other, and whom it names and when
//! it is valid is known.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::{Flaw, PROVIDER, pem};
use crate::config::checked::CertificateFiles;

/// Files in folders that are no certificates, as HAProxy has it.
const PASSED_OVER: [&str; 4] = ["key", "ocsp", "issuer", "sctl"];

/// A day in seconds.
const DAY: i64 = 86_400;

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Files {
    pub chain: PathBuf,
    /// None: with the chain, or beside it.
    pub key: Option<PathBuf>,
}

#[derive(Debug)]
pub struct Certificate {
    pub files: Files,
    pub key: Arc<CertifiedKey>,
    /// Lower case, `*.` before those that stand for one label more.
    pub names: Vec<String>,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
}

/// What the configuration names: one certificate, or all of a folder.
pub fn listed(named: &CertificateFiles) -> Result<Vec<Files>, Flaw> {
    match named {
        CertificateFiles::Pair { cert, key } => Ok(vec![Files {
            chain: cert.clone(),
            key: Some(key.clone()),
        }]),
        CertificateFiles::At(path) if path.is_dir() => folder(path),
        CertificateFiles::At(path) => Ok(vec![Files::together(path)]),
    }
}

/// By name, so that the first is the same one everywhere.
fn folder(path: &Path) -> Result<Vec<Files>, Flaw> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Flaw::fatal(
            format!("{shown} can't be read: {}", pem::reason(&error)),
            "let the user that runs tidegate read the folder",
        )
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let other = path
            .extension()
            .is_some_and(|end| PASSED_OVER.iter().any(|passed| end == *passed));
        if !hidden && !other && path.is_file() {
            files.push(Files::together(&path));
        }
    }
    files.sort_by(|a, b| a.chain.cmp(&b.chain));
    if files.is_empty() {
        return Err(Flaw::fatal(
            format!("the folder {shown} has no certificate in it"),
            "put PEM files there, each with chain and key",
        ));
    }
    Ok(files)
}

impl Files {
    fn together(path: &Path) -> Files {
        Files {
            chain: path.to_owned(),
            key: None,
        }
    }

    /// Where the key may be when it is not with the chain: `site.key` or `site.pem.key` for `site.pem`.
    fn keys(&self) -> Vec<PathBuf> {
        match &self.key {
            Some(key) => vec![key.clone()],
            None => vec![
                self.chain.with_extension("key"),
                beside(&self.chain, ".key"),
            ],
        }
    }

    fn ocsp(&self) -> PathBuf {
        beside(&self.chain, ".ocsp")
    }

    /// All that a change of would be a change of the certificate.
    pub fn all(&self) -> Vec<PathBuf> {
        let mut all = vec![self.chain.clone(), self.ocsp()];
        all.extend(self.keys());
        all
    }

    /// For messages.
    pub fn shown(&self) -> String {
        self.chain.display().to_string()
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

impl Certificate {
    pub fn read(files: &Files) -> Result<Certificate, Flaw> {
        let (chain, key) = parts(files)?;
        let shown = files.shown();
        let leaf = chain[0].clone();
        let (_, parsed) = X509Certificate::from_der(&leaf).map_err(|_| {
            Flaw::fatal(
                format!("{shown}: its first certificate can't be understood"),
                "`openssl x509 -text -in FILE` shows a good one; write it anew",
            )
        })?;
        let key = certified(files, &parsed, key)?;
        let mut key = CertifiedKey::new(chain, key);
        key.ocsp = staple(files)?;
        Ok(Certificate {
            files: files.clone(),
            key: Arc::new(key),
            names: names(&parsed),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
        })
    }

    /// Why clients would refuse it now: it is outside its time.
    pub fn untimely(&self, now: i64) -> Option<Flaw> {
        let (says, remedy) = if now > self.not_after {
            (
                format!("expired on {}", date(self.not_after)),
                "renew it; clients refuse it",
            )
        } else if now < self.not_before {
            (
                format!("is not valid before {}", date(self.not_before)),
                "clients refuse it until then; see to the clock if that is past",
            )
        } else {
            return None;
        };
        Some(Flaw {
            says: format!("{}: the certificate {says}", self.files.shown()),
            remedy: remedy.to_owned(),
            usable: true,
        })
    }

    /// Whether a client that asks for that host may believe it; of `*.example.com`: for any host below.
    pub fn bears(&self, host: &str) -> bool {
        let above = host.split_once('.').map(|(_, above)| above);
        self.names.iter().any(|name| match host.strip_prefix('*') {
            Some(below) => name.ends_with(below),
            None => name == host || above.is_some() && name.strip_prefix("*.") == above,
        })
    }

    /// It has no name by which a client could ask for it.
    pub fn nameless(&self) -> Flaw {
        Flaw {
            says: format!(
                "{}: the certificate bears no DNS name, so that no client is given it",
                self.files.shown()
            ),
            remedy: "have it issued with a subject alternative name, or leave it out".to_owned(),
            usable: true,
        }
    }

    /// The days that are left of it, for the log.
    pub fn days_left(&self, now: i64) -> i64 {
        (self.not_after - now).div_euclid(DAY)
    }
}

/// Never an empty chain.
fn parts(files: &Files) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Flaw> {
    let content = pem::read(&files.chain)?;
    if content.certificates.is_empty() {
        return Err(Flaw::fatal(
            format!("{}: it has no certificate in it", files.shown()),
            "put the certificate first, then those of the authorities between it and the root",
        ));
    }
    let with_it = content.key.filter(|_| files.key.is_none());
    let key = match with_it {
        Some(key) => key,
        None => key_apart(files)?,
    };
    Ok((content.certificates, key))
}

fn key_apart(files: &Files) -> Result<PrivateKeyDer<'static>, Flaw> {
    let candidates = files.keys();
    let path = candidates.iter().find(|path| path.exists());
    let path = match (path, &files.key) {
        (Some(path), _) => path,
        (None, Some(named)) => named,
        (None, None) => {
            return Err(Flaw::fatal(
                format!("{}: it has no private key in it", files.shown()),
                "add the key to it, put it beside it as `.key`, or write { cert = \"…\", key = \"…\" }",
            ));
        }
    };
    pem::read(path)?.key.ok_or_else(|| {
        Flaw::fatal(
            format!("{}: it has no private key in it", path.display()),
            "name the file with the line -----BEGIN PRIVATE KEY-----",
        )
    })
}

/// By comparing public keys ourselves: rustls would refuse certificates of X.509 version 1 for that, which clients take.
fn certified(
    files: &Files,
    parsed: &X509Certificate<'_>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<dyn SigningKey>, Flaw> {
    let shown = files.shown();
    let where_key = files.key.as_ref().map(|key| key.display().to_string());
    let where_key = where_key.unwrap_or_else(|| "the private key".to_owned());
    let key = PROVIDER.key_provider.load_private_key(key).map_err(|error| {
        Flaw::fatal(
            format!("{shown}: {where_key} can't be used: {error}"),
            "use an ECDSA key (P-256, P-384), an Ed25519 key, or an RSA key of 2048 bits or more",
        )
    })?;
    let public = key.public_key();
    if public.is_some_and(|public| public.as_ref() != parsed.public_key().raw) {
        return Err(Flaw::fatal(
            format!("{shown}: {where_key} is not the key of its first certificate"),
            "name the key that the certificate was made for, and put that certificate first",
        ));
    }
    Ok(key)
}

/// The answer of an authority that the certificate is not revoked. None: there is none.
fn staple(files: &Files) -> Result<Option<Vec<u8>>, Flaw> {
    let path = files.ocsp();
    if !path.exists() {
        return Ok(None);
    }
    let response = pem::bytes(&path)?;
    // HAProxy takes an empty one for none too. An OCSPResponse is a SEQUENCE (RFC 6960, 4.2.1).
    if !response.is_empty() && (response[0] != 0x30 || response.len() > usize::from(u16::MAX)) {
        return Err(Flaw::fatal(
            format!("{} is no OCSP response", path.display()),
            "write one in DER: `openssl ocsp … -respout FILE`",
        ));
    }
    Ok(Some(response).filter(|response| !response.is_empty()))
}

/// Whom it is for: its DNS names, and a common name that is one, as HAProxy takes it.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        for name in &alternative.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    for common in certificate.subject().iter_common_name() {
        if let Ok(name) = common.as_str()
            && name.contains('.')
            && !name.contains(' ')
        {
            names.push(name.to_ascii_lowercase());
        }
    }
    names.sort();
    names.dedup();
    names
}

pub(super) fn date(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Authorities from a PEM file.
pub fn authorities(path: &Path) -> Result<rustls::RootCertStore, Flaw> {
    let shown = path.display();
    let content = pem::read(path)?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in content.certificates {
        roots.add(certificate).map_err(|error| {
            Flaw::fatal(
                format!("{shown}: a certificate in it is no authority's: {error}"),
                "leave authorities' certificates alone in it",
            )
        })?;
    }
    if roots.is_empty() {
        return Err(Flaw::fatal(
            format!("{shown}: it has no certificate in it"),
            "name a PEM file with the authorities' certificates",
        ));
    }
    Ok(roots)
}
