//! `tls` of listeners and pools: which file is meant, and what contradicts. Whether the files are any good is found when a
//! candidate is built.

use std::net::IpAddr;
use std::path::PathBuf;

use super::{Check, ROUTER};
use crate::base::ids::ListenerIndex;
use crate::config::checked::{
    CertificateFiles, ClientAuth, Listener, ListenerTls, Plugin, PluginSource, PoolTls, Route,
};
use crate::config::problem::{Located, Problem};
use crate::config::text::Text;
use crate::config::tls::Certificate;
use crate::config::written::{self, File};

/// Tells listeners with TLS for which hosts they should have certificates: those of routes that name the listener, and of
/// routes for all listeners where it is the only one that routes go by.
pub(super) fn hosts(file: &File, listeners: &mut [Listener], routes: &[Route], plugins: &[Plugin]) {
    let routed = |listener: &Listener| {
        let router = listener.router.as_ref();
        let router = router.and_then(|used| plugins.get(used.value.0 as usize));
        let shipped = |router: &Plugin| router.source == PluginSource::Shipped(ROUTER.to_owned());
        listener.tls.is_some() && router.is_some_and(shipped)
    };
    let only = listeners.iter().filter(|l| routed(l)).count() == 1;
    for (index, listener) in listeners.iter_mut().enumerate() {
        let index = ListenerIndex(index as u32);
        if !routed(listener) {
            continue;
        }
        let Some(tls) = &mut listener.tls else {
            continue;
        };
        for (written, route) in file.route.value.0.iter().zip(routes) {
            let named = route.listeners.contains(&index);
            let host = written.value.host.given();
            let host = host.filter(|_| named || route.listeners.is_empty() && only);
            // Addresses are borne otherwise, and seldom.
            let new = |host: &str| {
                host.parse::<IpAddr>().is_err() && tls.hosts.iter().all(|known| known.value != host)
            };
            if let Some(host) = host.filter(|host| new(&host.value.0)) {
                tls.hosts.push(host.located(host.value.0.clone()));
            }
        }
    }
}

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
            client_crl: self.client_crl(tls),
            client_cert_headers: tls.client_cert_headers.value,
            hosts: Vec::new(),
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

    fn client_crl(&mut self, tls: &written::ListenerTls) -> Vec<Located<PathBuf>> {
        let Some(lists) = tls.client_crl.given() else {
            return Vec::new();
        };
        if tls.client_auth.value == ClientAuth::Off {
            self.problem(Problem::at(
                lists.span.clone(),
                "`client-crl` has no effect: clients are asked for no certificate",
                "add client-auth = \"required\" or \"optional\"",
            ));
        }
        lists.value.0.iter().map(|list| self.joined(list)).collect()
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
