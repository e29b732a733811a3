//! TLS towards clients: a listener's certificates and settings, as one configuration that is replaced whole when a file has
//! changed. A handshake takes the pointer of the day, and no lock.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::certificate::{self, Certificate, Files};
use super::choice::Choice;
use super::counts::{Counts, Reason};
use super::sessions::{Domain, Sessions};
use super::watched::Watched;
use super::{Flaw, Flaws, PROVIDER, pem, secured, subject};
use crate::config::checked::{CertificateFiles, ClientAuth, ListenerTls, TlsVersion};
use crate::config::problem::Located;
use crate::hook::TlsFacts;
use crate::net::Stream;

/// Of one listener in one generation.
pub struct Server {
    listener: String,
    settings: ListenerTls,
    /// Application protocols (ALPN) that are offered, the dearest first.
    alpn: Vec<Vec<u8>>,
    sessions: Sessions,
    counts: Arc<Counts>,
    config: ArcSwap<ServerConfig>,
    /// For whoever looks after the files, and for metrics; never for a handshake.
    loaded: Mutex<Loaded>,
}

struct Loaded {
    /// In the order in which they count.
    entries: Vec<Entry>,
    client_ca: Option<Watched>,
    /// Held so that the next generation finds it.
    domain: Arc<Domain>,
}

/// One certificate, and the files that it was last read from. None: it has not been good yet.
#[derive(Clone)]
struct Entry {
    files: Files,
    watched: Watched,
    certificate: Option<Arc<Certificate>>,
}

/// A handshake that came to nothing.
#[derive(Debug)]
pub struct Failed {
    pub reason: Reason,
    pub error: io::Error,
}

/// What is told of a certificate.
pub struct Told {
    pub file: String,
    /// Until it expires; negative once it has.
    pub seconds_left: i64,
}

impl Server {
    /// Reads all that the settings name. Blocks. Beside the server stands what is wrong with files that can be used all the
    /// same; `Err`: what can't be.
    pub fn build(
        listener: &str,
        settings: &ListenerTls,
        alpn: Vec<Vec<u8>>,
        sessions: &Sessions,
    ) -> Result<(Server, Flaws), Flaws> {
        let mut flaws = Vec::new();
        let mut entries = Vec::new();
        for named in &settings.certificates {
            let (read, wrong) = read_all(named);
            entries.extend(read);
            flaws.extend(wrong.into_iter().map(|flaw| (named.span.clone(), flaw)));
        }
        let unfit = unfit(settings, &entries);
        let client_ca = settings
            .client_ca
            .as_ref()
            .map(|ca| Watched::new(vec![ca.value.clone()]));
        let certificates = || {
            entries
                .iter()
                .filter_map(|entry| entry.certificate.as_ref())
        };
        let config = match assemble(settings, certificates(), &alpn, sessions) {
            Ok(config) => Some(config),
            Err(flaw) => {
                let at = settings.client_ca.as_ref().map(|ca| ca.span.clone());
                flaws.push((at.unwrap_or_default(), flaw));
                None
            }
        };
        let Some((config, domain)) = config.filter(|_| flaws.is_empty()) else {
            flaws.extend(unfit);
            return Err(flaws);
        };
        let server = Server {
            listener: listener.to_owned(),
            settings: settings.clone(),
            alpn,
            sessions: sessions.clone(),
            counts: sessions.counts(listener),
            config: ArcSwap::from_pointee(config),
            loaded: Mutex::new(Loaded {
                entries,
                client_ca,
                domain,
            }),
        };
        Ok((server, unfit))
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// Whether servers are told of clients' certificates.
    pub fn tells_servers(&self) -> bool {
        self.settings.client_cert_headers
    }

    /// The handshake. Without a deadline: the caller has one.
    pub async fn accept(&self, socket: Stream) -> Result<(Stream, TlsFacts), Failed> {
        let acceptor = TlsAcceptor::from(self.config.load_full());
        match acceptor.accept(socket).await {
            Ok(stream) => {
                let connection = stream.get_ref().1;
                self.counts
                    .done(connection.protocol_version(), connection.handshake_kind());
                let facts = facts(connection);
                Ok((secured::stream(stream), facts))
            }
            Err(error) => {
                let reason = reason(&error);
                self.counts.failed(reason);
                Err(Failed { reason, error })
            }
        }
    }

    /// Looks whether files have changed, and puts what they hold now in force. What is broken is logged and counted, and
    /// leaves what was. Blocks.
    pub fn refresh(&self) {
        let mut loaded = self.loaded();
        let mut changed = self.look_again(&mut loaded);
        if let Some(ca) = &mut loaded.client_ca {
            changed |= ca.is_due();
        }
        if !changed {
            return;
        }
        let certificates = loaded.entries.iter().filter_map(|e| e.certificate.as_ref());
        match assemble(&self.settings, certificates, &self.alpn, &self.sessions) {
            Ok((config, domain)) => {
                self.config.store(Arc::new(config));
                loaded.domain = domain;
                tracing::info!(listener = self.listener, "changed certificates are in use");
            }
            Err(flaw) => self.broken(&flaw),
        }
    }

    /// How many files are looked after.
    pub fn files(&self) -> usize {
        let loaded = self.loaded();
        loaded.entries.iter().map(|entry| entry.watched.len()).sum()
    }

    pub fn certificates(&self) -> Vec<Told> {
        let now = certificate::now();
        let loaded = self.loaded();
        let read = loaded.entries.iter().filter_map(|e| e.certificate.as_ref());
        read.map(|certificate| Told {
            file: certificate.files.shown(),
            seconds_left: certificate.not_after - now,
        })
        .collect()
    }

    /// Whether anything is not as it was.
    fn look_again(&self, loaded: &mut Loaded) -> bool {
        let mut known: HashMap<Files, Entry> = loaded
            .entries
            .drain(..)
            .map(|entry| (entry.files.clone(), entry))
            .collect();
        let mut changed = false;
        let mut entries = Vec::with_capacity(known.len());
        for named in &self.settings.certificates {
            let files = match certificate::listed(&named.value) {
                Ok(files) => files,
                Err(_) => still(&known, &named.value),
            };
            for files in files {
                let mut entry = known.remove(&files).unwrap_or_else(|| Entry::new(files));
                changed |= self.read_again(&mut entry);
                entries.push(entry);
            }
        }
        // A folder's last certificate is kept when its file is gone: without any nothing could be answered.
        if entries.iter().all(|entry| entry.certificate.is_none()) {
            entries.extend(known.drain().map(|(_, entry)| entry));
        }
        changed |= known.values().any(|gone| gone.certificate.is_some());
        loaded.entries = entries;
        changed
    }

    fn read_again(&self, entry: &mut Entry) -> bool {
        let file = entry.files.shown();
        if !entry.watched.is_due() {
            return false;
        }
        match Certificate::read(&entry.files) {
            Ok(certificate) => {
                let now = certificate::now();
                let (listener, days_left) = (&self.listener, certificate.days_left(now));
                tracing::info!(listener, file, days_left, "a certificate was read again");
                if let Some(flaw) = certificate.untimely(now) {
                    tracing::warn!(listener, remedy = flaw.remedy, "{}", flaw.says);
                }
                entry.certificate = Some(Arc::new(certificate));
                true
            }
            Err(flaw) => {
                self.broken(&flaw);
                false
            }
        }
    }

    fn broken(&self, flaw: &Flaw) {
        self.counts.file_was_broken();
        tracing::error!(
            listener = self.listener,
            remedy = flaw.remedy,
            "{}; what was read before stays in use",
            flaw.says
        );
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// One that has come into a folder: it is read once it is left alone.
    fn new(files: Files) -> Entry {
        Entry {
            watched: Watched::unread(files.all()),
            files,
            certificate: None,
        }
    }
}

/// What was known of a folder that can't be listed now.
fn still(known: &HashMap<Files, Entry>, named: &CertificateFiles) -> Vec<Files> {
    let CertificateFiles::At(folder) = named else {
        return Vec::new();
    };
    let within = known
        .keys()
        .filter(|files| files.chain.parent() == Some(folder));
    let mut files: Vec<_> = within.cloned().collect();
    files.sort_by(|a, b| a.chain.cmp(&b.chain));
    files
}

/// All certificates that an entry of the configuration names, and all that is wrong with them.
fn read_all(named: &Located<CertificateFiles>) -> (Vec<Entry>, Vec<Flaw>) {
    let files = match certificate::listed(&named.value) {
        Ok(files) => files,
        Err(flaw) => return (Vec::new(), vec![flaw]),
    };
    let (mut entries, mut flaws) = (Vec::new(), Vec::new());
    for files in files {
        let watched = Watched::new(files.all());
        match Certificate::read(&files) {
            Ok(certificate) => entries.push(Entry {
                files,
                watched,
                certificate: Some(Arc::new(certificate)),
            }),
            Err(flaw) => flaws.push(flaw),
        }
    }
    (entries, flaws)
}

/// Certificates that clients would refuse, or never get, with the place that names each.
fn unfit(settings: &ListenerTls, entries: &[Entry]) -> Flaws {
    let now = certificate::now();
    let read = entries.iter().filter_map(|e| e.certificate.as_ref());
    let mut unfit = Vec::new();
    for (at, certificate) in read.enumerate() {
        let span = || {
            let named = settings.certificates.iter();
            let mut named = named.filter(|named| names(&named.value, &certificate.files));
            named.next().map(|n| n.span.clone()).unwrap_or_default()
        };
        let nameless = certificate.names.is_empty() && (at > 0 || settings.strict_sni);
        let flaws = [
            certificate.untimely(now),
            nameless.then(|| certificate.nameless()),
        ];
        unfit.extend(flaws.into_iter().flatten().map(|flaw| (span(), flaw)));
    }
    unfit
}

fn names(named: &CertificateFiles, files: &Files) -> bool {
    match named {
        CertificateFiles::At(path) => files.chain.starts_with(path),
        CertificateFiles::Pair { cert, .. } => *cert == files.chain,
    }
}

fn assemble<'a>(
    settings: &ListenerTls,
    certificates: impl Iterator<Item = &'a Arc<Certificate>> + Clone,
    alpn: &[Vec<u8>],
    sessions: &Sessions,
) -> Result<(ServerConfig, Arc<Domain>), Flaw> {
    let (verifier, authorities) = client_verifier(settings)?;
    let domain = sessions
        .domain(settings.client_auth, &authorities)
        .map_err(|error| {
            Flaw::fatal(
                format!("no key for session tickets can be made: {error}"),
                "the system gives no random bytes",
            )
        })?;
    let mut config = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(versions(settings.min_version))
        .expect("the provider has ciphers for all versions")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Choice::new(certificates, settings.strict_sni)));
    config.alpn_protocols = alpn.to_vec();
    config.ticketer = domain.tickets.clone();
    config.session_storage = match settings.min_version {
        TlsVersion::V12 => domain.cache.clone(),
        // Version 1.3 has tickets alone.
        TlsVersion::V13 => Arc::new(NoServerSessionStorage {}),
    };
    Ok((config, domain))
}

fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    match oldest {
        TlsVersion::V12 => &ALL,
        TlsVersion::V13 => &ALL[..1],
    }
}

/// Who judges clients' certificates, and the authorities' file, whole.
fn client_verifier(settings: &ListenerTls) -> Result<(Arc<dyn ClientCertVerifier>, Vec<u8>), Flaw> {
    let (ClientAuth::Optional | ClientAuth::Required, Some(ca)) =
        (settings.client_auth, &settings.client_ca)
    else {
        return Ok((WebPkiClientVerifier::no_client_auth(), Vec::new()));
    };
    let authorities = pem::bytes(&ca.value)?;
    let roots = certificate::authorities(&ca.value)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), PROVIDER.clone());
    let builder = match settings.client_auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        _ => builder,
    };
    let verifier = builder.build().map_err(|error| {
        Flaw::fatal(
            format!("{}: {error}", ca.value.display()),
            "name a PEM file with the authorities' certificates",
        )
    })?;
    Ok((verifier, authorities))
}

fn facts(connection: &ServerConnection) -> TlsFacts {
    let client = connection.peer_certificates().and_then(<[_]>::first);
    let alpn = connection.alpn_protocol();
    TlsFacts {
        server_name: connection.server_name().map(Into::into),
        alpn: alpn.map(|name| String::from_utf8_lossy(name).into()),
        client_fingerprint: client.map(|der| {
            let mut hex = String::with_capacity(64);
            Sha256::digest(der)
                .iter()
                .for_each(|byte| subject::push_hex(*byte, &mut hex));
            hex.into()
        }),
        client_subject: client.and_then(|der| {
            // It was verified, so it can be parsed; if not, there is nothing to tell.
            let (_, parsed) = X509Certificate::from_der(der).ok()?;
            Some(subject::text(parsed.subject()).into())
        }),
    }
}

fn reason(error: &io::Error) -> Reason {
    use rustls::Error;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        None => Reason::Closed,
        Some(Error::NoCertificatesPresented) => Reason::NoClientCertificate,
        Some(Error::InvalidCertificate(_)) => Reason::BadClientCertificate,
        Some(Error::PeerIncompatible(_)) => Reason::Incompatible,
        Some(Error::NoApplicationProtocol) => Reason::NoProtocol,
        Some(Error::AlertReceived(_)) => Reason::Alert,
        // What rustls says when a resolver has no certificate.
        Some(Error::General(says)) if says.contains("no server certificate") => Reason::UnknownName,
        Some(_) => Reason::Invalid,
    }
}
