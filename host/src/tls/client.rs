//! TLS towards servers: whom to believe, by which name, and with which certificate of ours. For whoever connects: requests
//! and probes alike.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption, WebPkiServerVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsConnector;

use super::certificate::{self, Certificate};
use super::watched::Watched;
use super::{Flaw, PROVIDER, secured, subject};
use crate::config::checked::PoolTls;
use crate::config::problem::Span;
use crate::net::Stream;

/// Sessions that are kept of one server.
const SESSIONS: usize = 32;

/// Of one pool in one generation.
pub struct Client {
    pool: String,
    settings: PoolTls,
    /// Application protocols (ALPN) that are offered; empty: none.
    alpn: Vec<Vec<u8>>,
    /// What its connections have in common, for those who keep idle ones.
    identity: String,
    /// By the servers' addresses.
    connectors: HashMap<String, Arc<Connector>>,
    watched: Mutex<Watched>,
}

/// To one server.
pub struct Connector {
    config: ArcSwap<ClientConfig>,
    name: ServerName<'static>,
    /// Of this server under these settings: connections with another can't stand for its.
    identity: String,
}

/// Connected, but not securely.
#[derive(Debug)]
pub struct Failed(io::Error);

impl Client {
    /// Reads all that the settings name. Blocks.
    pub fn build(
        pool: &str,
        settings: &PoolTls,
        alpn: Vec<Vec<u8>>,
        addresses: impl Iterator<Item = String>,
    ) -> Result<Client, (Span, Flaw)> {
        let watched = Watched::new(files(settings));
        let config = assemble(settings, &alpn)?;
        let identity = identity(settings, &alpn);
        let mut client = Client {
            pool: pool.to_owned(),
            settings: settings.clone(),
            alpn,
            identity,
            connectors: HashMap::new(),
            watched: Mutex::new(watched),
        };
        for address in addresses {
            let connector = client.connector(&config, &address)?;
            client.connectors.insert(address, Arc::new(connector));
        }
        Ok(client)
    }

    /// To the server of that address, which was among those it was built for.
    pub fn to(&self, address: &str) -> Option<Arc<Connector>> {
        self.connectors.get(address).cloned()
    }

    /// Whether it is what these settings would make, but for its sessions.
    pub fn serves(&self, other: &Client) -> bool {
        let mut addresses = other.connectors.keys();
        self.identity == other.identity
            && addresses.all(|address| self.connectors.contains_key(address))
    }

    /// Looks whether files have changed, and puts what they hold now in force for new connections. Blocks.
    pub fn refresh(&self) {
        let due = self
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_due();
        if !due {
            return;
        }
        match assemble(&self.settings, &self.alpn) {
            Ok(config) => {
                for connector in self.connectors.values() {
                    connector.config.store(Arc::new(with_sessions(&config)));
                }
                tracing::info!(pool = self.pool, "changed certificates are in use");
            }
            Err((_, flaw)) => tracing::error!(
                pool = self.pool,
                remedy = flaw.remedy,
                "{}; what was read before stays in use",
                flaw.says
            ),
        }
    }

    fn connector(&self, config: &ClientConfig, address: &str) -> Result<Connector, (Span, Flaw)> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        let name = bare.unwrap_or(name).trim_end_matches('.');
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
            let flaw = Flaw::fatal(
                format!("{name:?} is no name that a certificate can bear"),
                "add server-name = \"…\", the name that the servers' certificates bear",
            );
            (self.settings.span.clone(), flaw)
        })?;
        Ok(Connector {
            config: ArcSwap::from_pointee(with_sessions(config)),
            name: server_name,
            identity: format!("tls:{}:{address}", self.identity),
        })
    }
}

impl Connector {
    /// The handshake. Without a deadline: the caller has one.
    pub async fn secure(&self, socket: Stream) -> Result<Stream, Failed> {
        let connector = TlsConnector::from(self.config.load_full());
        let stream = connector.connect(self.name.clone(), socket).await;
        stream.map(secured::stream).map_err(Failed)
    }

    /// Differs where one connection can't stand for another.
    pub fn identity(&self) -> &str {
        &self.identity
    }
}

/// Whether somebody speaks TLS there, whoever it is: what is passed through to him is others' to believe. `host` is whom to ask for.
pub async fn greet(socket: Stream, host: &str) -> Result<(), Failed> {
    static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
        let builder = ClientConfig::builder_with_provider(PROVIDER.clone());
        let builder = builder
            .with_safe_default_protocol_versions()
            .expect("the provider has their ciphers");
        let builder = builder.dangerous();
        let builder = builder.with_custom_certificate_verifier(Arc::new(Anybody));
        Arc::new(builder.with_no_client_auth())
    });
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|error| Failed(io::Error::other(error)))?;
    let greeted = TlsConnector::from(CONFIG.clone()).connect(name, socket);
    greeted.await.map(drop).map_err(Failed)
}

/// What to know of a server's certificate that was refused.
impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use rustls::Error;
        let inner = self.0.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            None => write!(f, "the server broke off the handshake: {}", self.0),
            Some(Error::InvalidCertificate(why)) => f.write_str(&refusal(why)),
            Some(Error::InvalidMessage(_)) => f.write_str("the server speaks no TLS there"),
            Some(Error::AlertReceived(alert)) => write!(f, "the server refused us: {alert:?}"),
            Some(error) => write!(f, "{error}"),
        }
    }
}

fn refusal(why: &CertificateError) -> String {
    use CertificateError::*;
    match why {
        Expired | ExpiredContext { .. } => "its certificate has expired".to_owned(),
        NotValidYet | NotValidYetContext { .. } => "its certificate is not valid yet".to_owned(),
        UnknownIssuer => "its certificate comes from no authority that is trusted".to_owned(),
        NotValidForName => "its certificate bears another name".to_owned(),
        NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "its certificate bears {}, not {}",
            presented.join(", "),
            expected.to_str()
        ),
        other => format!("its certificate is not good: {other}"),
    }
}

fn files(settings: &PoolTls) -> Vec<std::path::PathBuf> {
    let ca = settings.ca.iter().map(|ca| ca.value.clone());
    let certificate = settings.certificate.iter();
    let listed = certificate.filter_map(|named| certificate::listed(&named.value).ok());
    let own = listed.flatten().flat_map(|files| files.all());
    ca.chain(own).collect()
}

/// A hash of all that gives a connection its meaning.
fn identity(settings: &PoolTls, alpn: &[Vec<u8>]) -> String {
    let PoolTls {
        ca,
        server_name,
        certificate,
        verify,
        span: _,
    } = settings;
    let (ca, own) = (
        ca.as_ref().map(|ca| &ca.value),
        certificate.as_ref().map(|c| &c.value),
    );
    let mut hash = Sha256::new();
    hash.update(format!("{ca:?}{server_name:?}{own:?}{verify}{alpn:?}"));
    for file in files(settings) {
        // One that is not there was refused, or need not be.
        hash.update(std::fs::read(file).unwrap_or_default());
        hash.update([0]);
    }
    let mut hex = String::new();
    let digest = hash.finalize();
    digest[..16]
        .iter()
        .for_each(|byte| subject::push_hex(*byte, &mut hex));
    hex
}

fn assemble(settings: &PoolTls, alpn: &[Vec<u8>]) -> Result<ClientConfig, (Span, Flaw)> {
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let builder = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&versions)
        .expect("the provider has ciphers for all versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier(settings)?);
    let mut config = match &settings.certificate {
        None => builder.with_no_client_auth(),
        Some(named) => {
            let read = certificate::listed(&named.value).and_then(|files| {
                let [files] = &files[..] else {
                    return Err(Flaw::fatal(
                        "a folder stands where one certificate is wanted",
                        "name the PEM file in it",
                    ));
                };
                Certificate::read(files)
            });
            let certificate = read.map_err(|flaw| (named.span.clone(), flaw))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.key)))
        }
    };
    config.alpn_protocols = alpn.to_vec();
    Ok(config)
}

/// Sessions of one server are of no use with another, though both be asked for by one name.
fn with_sessions(config: &ClientConfig) -> ClientConfig {
    let store = Arc::new(ClientSessionMemoryCache::new(SESSIONS));
    let mut config = config.clone();
    config.resumption = Resumption::store(store);
    config
}

fn verifier(settings: &PoolTls) -> Result<Arc<dyn ServerCertVerifier>, (Span, Flaw)> {
    if !settings.verify {
        return Ok(Arc::new(Anybody));
    }
    let roots = match &settings.ca {
        Some(ca) => {
            let roots = certificate::authorities(&ca.value);
            Arc::new(roots.map_err(|flaw| (ca.span.clone(), flaw))?)
        }
        None => system_roots().ok_or_else(|| {
            let flaw = Flaw::fatal(
                "this system has no certificate authorities to judge servers by",
                "install them (Debian: ca-certificates), or add ca = \"…\"",
            );
            (settings.span.clone(), flaw)
        })?,
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, PROVIDER.clone()).build();
    Ok(verifier.expect("there are roots, and no revocation lists"))
}

/// Read once: a system's authorities change as seldom as the system. None: there are none.
fn system_roots() -> Option<Arc<RootCertStore>> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        Arc::new(roots)
    });
    (!roots.is_empty()).then(|| roots.clone())
}

/// Believes anybody; that who speaks has the certificate's key is checked all the same.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &PROVIDER.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &PROVIDER.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER
            .signature_verification_algorithms
            .supported_schemes()
    }
}
