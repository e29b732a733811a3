//! PEM files: certificates and one private key, as they lie on disk (RFC 7468). What else a file holds (DH parameters, as
//! HAProxy's may) is passed over.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::Flaw;

/// Bytes of one file: the largest bundle of authorities has a few hundred thousand.
const LARGEST: u64 = 8 << 20;

/// What a file holds.
#[derive(Default)]
pub struct Content {
    pub certificates: Vec<CertificateDer<'static>>,
    pub key: Option<PrivateKeyDer<'static>>,
}

pub fn read(path: &Path) -> Result<Content, Flaw> {
    let shown = path.display();
    let text = bytes(path)?;
    if has(&text, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(&text, b"Proc-Type: 4,ENCRYPTED")
    {
        return Err(Flaw::fatal(
            format!("{shown}: its private key needs a passphrase"),
            format!("write it without one: `openssl pkey -in {shown} -out KEY`"),
        ));
    }
    let mut content = Content::default();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&text) {
        let (kind, der) = section.map_err(|error| broken(path, &error))?;
        match kind {
            SectionKind::Certificate => content.certificates.push(der.into()),
            _ => {
                if let Some(key) = PrivateKeyDer::from_pem(kind, der) {
                    if content.key.is_some() {
                        return Err(Flaw::fatal(
                            format!("{shown}: it has more than one private key"),
                            "leave in it the one that belongs to its first certificate",
                        ));
                    }
                    content.key = Some(key);
                }
            }
        }
    }
    if content.certificates.is_empty() && content.key.is_none() {
        return Err(Flaw::fatal(
            format!("{shown}: it holds neither a certificate nor a private key"),
            "name a PEM file, with lines such as -----BEGIN CERTIFICATE-----; for DER: `openssl x509 -inform der -in FILE`",
        ));
    }
    Ok(content)
}

/// The lists of revoked certificates in a file; never none.
pub fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Flaw> {
    let text = bytes(path)?;
    let lists = CertificateRevocationListDer::pem_slice_iter(&text);
    let lists: Vec<_> = lists
        .collect::<Result<_, _>>()
        .map_err(|error| broken(path, &error))?;
    if lists.is_empty() {
        return Err(Flaw::fatal(
            format!(
                "{}: it holds no list of revoked certificates",
                path.display()
            ),
            "name a PEM file, with lines such as -----BEGIN X509 CRL-----; for DER: `openssl crl -inform der -in FILE`",
        ));
    }
    Ok(lists)
}

/// The whole of a file.
pub fn bytes(path: &Path) -> Result<Vec<u8>, Flaw> {
    read_bounded(path).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => {
                "name a file that is there; a relative path starts at the configuration's folder"
            }
            io::ErrorKind::PermissionDenied => "let the user that runs tidegate read it",
            _ => "name a readable PEM file",
        };
        Flaw::fatal(
            format!("{} can't be read: {}", path.display(), reason(&error)),
            remedy,
        )
    })
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)?;
    if read as u64 > LARGEST {
        return Err(io::Error::other(format!(
            "it is larger than {LARGEST} bytes"
        )));
    }
    Ok(bytes)
}

/// What `error` says without its number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_owned()
}

fn broken(path: &Path, error: &pem::Error) -> Flaw {
    let what = match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            let what = String::from_utf8_lossy(end_marker);
            format!("the line -----END {what}----- is missing")
        }
        pem::Error::IllegalSectionStart { .. } => "a line -----BEGIN …----- is broken".to_owned(),
        _ => "what stands between two of its markers is not base64".to_owned(),
    };
    Flaw::fatal(
        format!("{}: it is damaged: {what}", path.display()),
        "copy it again, or restore it",
    )
}

fn has(text: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(text, wanted).is_some()
}
