//! Lists of certificates that their authorities have revoked (RFC 5280, 5), by which clients are judged.

use std::path::Path;

use rustls::pki_types::CertificateRevocationListDer;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::date;
use super::{Flaw, pem};
use crate::config::checked::ListenerTls;
use crate::config::problem::Located;

/// A list, and when the next one was to be there: seconds since 1970.
pub struct Revoked {
    pub der: CertificateRevocationListDer<'static>,
    next: Option<i64>,
}

/// All lists of a PEM file.
pub fn read(path: &Path) -> Result<Vec<Revoked>, Flaw> {
    let lists = pem::revocation_lists(path)?.into_iter();
    let read = lists.map(|der| {
        let (_, list) = CertificateRevocationList::from_der(&der).map_err(|_| {
            Flaw::fatal(
                format!("{}: a list in it can't be understood", path.display()),
                "`openssl crl -text -in FILE` shows a good one; fetch it anew",
            )
        })?;
        let next = list.next_update().map(|at| at.timestamp());
        Ok(Revoked { der, next })
    });
    read.collect()
}

/// Files with a list whose successor is due: by it every certificate of its authority is refused.
pub fn overdue(settings: &ListenerTls, now: i64) -> Vec<Located<Flaw>> {
    let mut flaws = Vec::new();
    for file in &settings.client_crl {
        let lists = read(&file.value).unwrap_or_default();
        if let Some(next) = lists.iter().filter_map(|list| list.next).min()
            && next < now
        {
            flaws.push(
                file.located(Flaw {
                    says: format!(
                        "{}: the list of revoked certificates expired on {}",
                        file.value.display(),
                        date(next)
                    ),
                    remedy: "fetch a new one; until then its authority's certificates are refused"
                        .to_owned(),
                    usable: true,
                }),
            );
        }
    }
    flaws
}
