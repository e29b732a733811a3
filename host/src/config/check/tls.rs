//! `tls` of listeners and pools: which file is meant, and what contradicts. Whether the files are any good is found when a
//! candidate is built.

use std::path::PathBuf;

use super::Check;
use crate::config::checked::{CertificateFiles, ClientAuth, ListenerTls, PoolTls};
use crate::config::problem::{Located, Problem};
use crate::config::text::Text;
use crate::config::tls::Certificate;
use crate::config::written;

impl Check<'_> {
    pub(super) fn listener_tls(&mut self, written: &written::Listener) -> Option<ListenerTls> {
        let tls = &written.tls.given()?.value;
        self.client_ca_where_needed(tls);
        let certificates = tls.certificates.as_ref();
        if let Some(none) = certificates.filter(|list| list.value.0.is_empty()) {
            self.problem(Problem::at(
                none.span.clone(),
                "TLS needs a certificate",
                "name a PEM file with chain and key: certificates = [\"site.pem\"]",
            ));
        }
        let certificates = certificates.iter().flat_map(|list| &list.value.0);
        Some(ListenerTls {
            certificates: certificates.filter_map(|c| self.certificate(c)).collect(),
            strict_sni: tls.strict_sni.value,
            min_version: tls.min_version.value,
            client_auth: tls.client_auth.value,
            client_ca: tls.client_ca.given().map(|ca| self.joined(ca)),
            client_cert_headers: tls.client_cert_headers.value,
        })
    }

    /// None is reported.
    fn certificate(&self, written: &Located<Certificate>) -> Option<Located<CertificateFiles>> {
        let files = match &written.value {
            Certificate::At(path) => CertificateFiles::At(self.joined(path).value),
            Certificate::Pair(pair) => CertificateFiles::Pair {
                cert: self.joined(pair.cert.as_ref()?).value,
                key: self.joined(pair.key.as_ref()?).value,
            },
        };
        Some(written.located(files))
    }

    fn client_ca_where_needed(&mut self, tls: &written::ListenerTls) {
        let auth = &tls.client_auth;
        if auth.value != ClientAuth::Off && tls.client_ca.is_absent() {
            self.problem(Problem::at(
                auth.span.clone(),
                "clients' certificates can't be judged without `client-ca`",
                "add client-ca = \"ca.pem\", the authorities that they must come from",
            ));
        }
        if let Some(ca) = tls.client_ca.given()
            && auth.value == ClientAuth::Off
        {
            self.problem(Problem::at(
                ca.span.clone(),
                "`client-ca` has no effect: clients are asked for no certificate",
                "add client-auth = \"required\" or \"optional\"",
            ));
        }
        if tls.client_cert_headers.value && auth.value == ClientAuth::Off {
            self.problem(Problem::at(
                tls.client_cert_headers.span.clone(),
                "`client-cert-headers` has nothing to tell: clients are asked for no certificate",
                "add client-auth = \"required\" or \"optional\", or leave it out",
            ));
        }
    }

    pub(super) fn pool_tls(&mut self, written: &written::Pool) -> Option<PoolTls> {
        let tls = written.tls.given()?;
        let written = &tls.value;
        if let Some(ca) = written.ca.given()
            && !written.verify.value
        {
            self.problem(Problem::at(
                ca.span.clone(),
                "`ca` has no effect: servers need not prove who they are",
                "leave out `verify = false`, or `ca`",
            ));
        }
        let server_name = written.server_name.given();
        if let Some(name) = server_name.filter(|name| name.value.0.starts_with('*')) {
            self.problem(Problem::at(
                name.span.clone(),
                "a server is asked for one name, not for a pattern",
                "write the name that its certificate bears",
            ));
        }
        Some(PoolTls {
            ca: written.ca.given().map(|ca| self.joined(ca)),
            server_name: server_name.map(|name| name.value.0.clone()),
            certificate: self.client_certificate(written),
            verify: written.verify.value,
            span: tls.span.clone(),
        })
    }

    fn client_certificate(
        &mut self,
        written: &written::PoolTls,
    ) -> Option<Located<CertificateFiles>> {
        let key = written.key.given();
        let Some(certificate) = written.certificate.given() else {
            if let Some(key) = key.filter(|_| written.certificate.is_absent()) {
                self.problem(Problem::at(
                    key.span.clone(),
                    "a `key` without a `certificate`",
                    "add certificate = \"…\", or leave `key` out",
                ));
            }
            return None;
        };
        let cert = self.joined(certificate).value;
        let files = match key {
            Some(key) => CertificateFiles::Pair {
                cert,
                key: self.joined(key).value,
            },
            None => CertificateFiles::At(cert),
        };
        Some(certificate.located(files))
    }

    /// Relative paths start at the file's folder.
    fn joined(&self, written: &Located<Text>) -> Located<PathBuf> {
        written.located(self.source.folder().join(&written.value.value))
    }
}
