//! TLS towards clients: a listener's certificates and settings, as one configuration that is replaced whole when a file has
//! changed. A handshake takes the pointer of the day, and no lock.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
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
use super::{Flaw, Flaws, PROVIDER, pem, revocation, secured, subject};
use crate::config::checked::{CertificateFiles, ClientAuth, ListenerTls, TlsVersion};
use crate::config::problem::{Located, Span};
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
    /// What clients' certificates are judged by.
    judges: Watched,
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
        // One that is named twice, by itself and within its folder, counts where it comes first.
        let mut first = HashSet::new();
        entries.retain(|entry| first.insert(entry.files.clone()));
        let unfit = unfit(settings, &entries);
        let judges = settings.client_ca.iter().chain(&settings.client_crl);
        let judges = Watched::new(judges.map(|file| file.value.clone()).collect());
        let certificates = || {
            entries
                .iter()
                .filter_map(|entry| entry.certificate.as_ref())
        };
        let config = match assemble(settings, certificates(), &alpn, sessions) {
            Ok(config) => Some(config),
            Err(flaw) => {
                flaws.push(flaw);
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
                judges,
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
        let changed = self.look_again(&mut loaded);
        let judged_anew = loaded.judges.is_due();
        if !changed && !judged_anew {
            return;
        }
        let certificates = loaded.entries.iter().filter_map(|e| e.certificate.as_ref());
        match assemble(&self.settings, certificates, &self.alpn, &self.sessions) {
            Ok((config, domain)) => {
                self.config.store(Arc::new(config));
                loaded.domain = domain;
                tracing::info!(listener = self.listener, "changed certificates are in use");
                if judged_anew {
                    let overdue = revocation::overdue(&self.settings, certificate::now());
                    overdue.iter().for_each(|flaw| self.warn(&flaw.value));
                }
            }
            Err((_, flaw)) => self.broken(&flaw),
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
        let mut listed = HashSet::with_capacity(known.len());
        let named = self.settings.certificates.iter();
        let named: Vec<_> = named
            .map(|named| listed_now(&known, &named.value))
            .collect();
        for files in named.into_iter().flatten() {
            if listed.insert(files.clone()) {
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
                    self.warn(&flaw);
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

    fn warn(&self, flaw: &Flaw) {
        tracing::warn!(
            listener = self.listener,
            remedy = flaw.remedy,
            "{}",
            flaw.says
        );
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

/// The files that are named by now. A folder that can't be listed, or is gone, may be back at the next look.
fn listed_now(known: &HashMap<Files, Entry>, named: &CertificateFiles) -> Vec<Files> {
    let gone = matches!(named, CertificateFiles::At(path) if !path.exists());
    let listed = certificate::listed(named);
    if listed.is_err() || gone {
        let kept = still(known, named);
        if !kept.is_empty() {
            return kept;
        }
    }
    listed.unwrap_or_default()
}

/// What was known of a folder.
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
    let overdue = revocation::overdue(settings, now).into_iter();
    unfit.extend(overdue.map(|flaw| (flaw.span, flaw.value)));
    unfit.extend(unborne(settings, entries));
    unfit
}

/// Hosts of routes that no certificate bears.
fn unborne(settings: &ListenerTls, entries: &[Entry]) -> Flaws {
    let read = entries.iter().filter_map(|e| e.certificate.as_ref());
    let known: Vec<_> = read.collect();
    let Some(first) = known.first() else {
        // What is wrong with them is told already.
        return Vec::new();
    };
    let borne = |host: &&Located<String>| known.iter().any(|c| c.bears(&host.value));
    let unborne = settings.hosts.iter().filter(|host| !borne(host));
    let given = match settings.strict_sni {
        true => "no connection".to_owned(),
        false => format!("the one in {}", first.files.shown()),
    };
    let flaw = |host: &Located<String>| Flaw {
        says: format!(
            "no certificate bears {:?}: its clients get {given}",
            host.value
        ),
        remedy:
            "add one to the listener's `certificates`, or say in `listeners` where the route is for"
                .to_owned(),
        usable: true,
    };
    unborne
        .map(|host| (host.span.clone(), flaw(host)))
        .collect()
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
) -> Result<(ServerConfig, Arc<Domain>), (Span, Flaw)> {
    let (verifier, judges) = client_verifier(settings)?;
    let domain = sessions
        .domain(settings.client_auth, &judges)
        .map_err(|error| {
            let flaw = Flaw::fatal(
                format!("no key for session tickets can be made: {error}"),
                "the system gives no random bytes",
            );
            (Span::default(), flaw)
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

type Judge = (Arc<dyn ClientCertVerifier>, Vec<Vec<u8>>);

/// Who judges clients' certificates, and what by: authorities' files, whole, and lists of what they have revoked.
fn client_verifier(settings: &ListenerTls) -> Result<Judge, (Span, Flaw)> {
    let (ClientAuth::Optional | ClientAuth::Required, Some(ca)) =
        (settings.client_auth, &settings.client_ca)
    else {
        return Ok((WebPkiClientVerifier::no_client_auth(), Vec::new()));
    };
    let at = |flaw| (ca.span.clone(), flaw);
    let mut judges = vec![pem::bytes(&ca.value).map_err(at)?];
    let roots = certificate::authorities(&ca.value).map_err(at)?;
    let mut revoked = Vec::new();
    for file in &settings.client_crl {
        let lists = revocation::read(&file.value).map_err(|flaw| (file.span.clone(), flaw))?;
        revoked.extend(lists.into_iter().map(|list| list.der));
    }
    judges.extend(revoked.iter().map(|list| list.to_vec()));
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), PROVIDER.clone())
        .with_crls(revoked)
        .enforce_revocation_expiration();
    let builder = match settings.client_auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        _ => builder,
    };
    let verifier = builder
        .build()
        .map_err(|error| match (error, settings.client_crl.first()) {
            (VerifierBuilderError::InvalidCrl(error), Some(file)) => {
                let says = format!("a list in `client-crl` can't be used: {error:?}");
                let remedy = "lists are of version 2, whole, for all reasons (RFC 5280, 5.2)";
                (file.span.clone(), Flaw::fatal(says, remedy))
            }
            (error, _) => {
                let says = format!("{}: {error}", ca.value.display());
                at(Flaw::fatal(
                    says,
                    "name a PEM file with the authorities' certificates",
                ))
            }
        })?;
    Ok((verifier, judges))
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn write(folder: &Path, name: &str) {
        let made = rcgen::generate_simple_self_signed([format!("{name}.test")]).unwrap();
        let text = made.cert.pem() + &made.signing_key.serialize_pem();
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(format!("{name}.pem")), text).unwrap();
    }

    fn server(named: &[&Path]) -> Server {
        let at = |path: &&Path| Located {
            value: CertificateFiles::At(path.to_path_buf()),
            span: 0..0,
        };
        let settings = ListenerTls {
            certificates: named.iter().map(at).collect(),
            strict_sni: false,
            min_version: TlsVersion::V12,
            client_auth: ClientAuth::Off,
            client_ca: None,
            client_crl: Vec::new(),
            client_cert_headers: false,
            hosts: Vec::new(),
        };
        let built = Server::build("web", &settings, Vec::new(), &Sessions::default());
        built.unwrap_or_else(|flaws| panic!("{flaws:?}")).0
    }

    fn folder(of: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("tidegate-{of}-{}", std::process::id()))
    }

    #[test]
    fn a_file_that_is_named_twice_is_one() {
        let folder = folder("twice");
        write(&folder, "a");
        let file = folder.join("a.pem");
        let server = server(&[&file, &folder, &file]);
        assert_eq!(server.certificates().len(), 1);
        let before = server.config.load_full();
        (0..4).for_each(|_| server.refresh());
        assert!(Arc::ptr_eq(&before, &server.config.load_full()));
        assert_eq!(server.certificates().len(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_is_gone_for_a_moment_keeps_its_certificates() {
        let (folder, other) = (folder("gone"), folder("stays"));
        write(&other, "first");
        ["a", "b"].iter().for_each(|name| write(&folder, name));
        let server = server(&[&other, &folder]);
        let away = folder.with_extension("away");
        fs::rename(&folder, &away).unwrap();
        (0..4).for_each(|_| server.refresh());
        assert_eq!(server.certificates().len(), 3);
        fs::rename(&away, &folder).unwrap();
        fs::remove_file(folder.join("a.pem")).unwrap();
        (0..4).for_each(|_| server.refresh());
        assert_eq!(server.certificates().len(), 2, "one was taken out of it");
        for folder in [folder, other] {
            fs::remove_dir_all(folder).unwrap();
        }
    }
}
