//! TLS for tests: an authority that issues certificates, TLS in front of an origin, and `openssl`.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, StreamOwned,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// Issues certificates with ECDSA keys (P-256).
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Issued {
    pub chain: String,
    pub key: String,
}

/// Speaks TLS, and passes what is said on to an origin.
pub struct Front {
    address: SocketAddr,
    met: Arc<Mutex<Vec<Met>>>,
    _runtime: Runtime,
}

/// A handshake that a front has made.
#[derive(Clone, Debug)]
pub struct Met {
    pub server_name: Option<String>,
    pub resumed: bool,
    /// The client had a certificate.
    pub certificate: bool,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// For these names; the first is the common name too.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    pub fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let common = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let chain = params
            .signed_by(&key, &self.0)
            .expect("a certificate")
            .pem();
        Issued {
            chain,
            key: key.serialize_pem(),
        }
    }

    /// One that expired years ago.
    pub fn issue_expired(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }
}

impl Issued {
    /// Chain and key in one text.
    pub fn bundle(&self) -> String {
        format!("{}{}", self.chain, self.key)
    }
}

impl Front {
    /// In front of an origin, with this certificate.
    pub fn of(origin: SocketAddr, issued: &Issued) -> Front {
        Front::start(origin, issued, None, true)
    }

    /// As `of`; clients need a certificate from that authority.
    pub fn for_clients_of(origin: SocketAddr, issued: &Issued, authority: &Authority) -> Front {
        Front::start(origin, issued, Some(authority), true)
    }

    /// As `of`, and it ends without a word (close_notify).
    pub fn cutting(origin: SocketAddr, issued: &Issued) -> Front {
        Front::start(origin, issued, None, false)
    }

    fn start(
        origin: SocketAddr,
        issued: &Issued,
        authority: Option<&Authority>,
        orderly: bool,
    ) -> Front {
        let acceptor = TlsAcceptor::from(Arc::new(config(issued, authority)));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let met = Arc::new(Mutex::new(Vec::new()));
        let seen = met.clone();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), seen.clone());
                tokio::spawn(async move {
                    let _ = relay(acceptor, socket, origin, &seen, orderly).await;
                });
            }
        });
        Front {
            address,
            met,
            _runtime: runtime,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The handshakes so far.
    pub fn met(&self) -> Vec<Met> {
        self.met.lock().expect("no test panics within").clone()
    }
}

fn config(issued: &Issued, authority: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match authority {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.0.der().clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes());
    let chain = chain.collect::<Result<_, _>>().expect("a chain");
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
    builder.with_single_cert(chain, key).expect("a pair")
}

async fn relay(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    origin: SocketAddr,
    seen: &Mutex<Vec<Met>>,
    orderly: bool,
) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut client = acceptor.accept(socket).await?;
    let connection = client.get_ref().1;
    seen.lock().expect("as above").push(Met {
        server_name: connection.server_name().map(str::to_owned),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        certificate: connection.peer_certificates().is_some(),
    });
    let mut origin = TcpStream::connect(origin).await?;
    origin.set_nodelay(true)?;
    if orderly {
        tokio::io::copy_bidirectional(&mut client, &mut origin).await?;
        return Ok(());
    }
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_origin, mut to_origin) = origin.split();
    let mut buffer = vec![0; 16 << 10];
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_origin) => {}
        _ = async {
            while let Ok(read @ 1..) = from_origin.read(&mut buffer).await {
                to_client.write_all(&buffer[..read]).await?;
                to_client.flush().await?;
            }
            std::io::Result::Ok(())
        } => {}
    }
    Ok(())
}

/// A client's end of TLS.
pub type TlsStream = StreamOwned<ClientConnection, std::net::TcpStream>;

/// Connects and asks for that name, which a certificate of that authority must bear.
#[track_caller]
pub fn tls_connect(address: SocketAddr, authority: &Authority, name: &'static str) -> TlsStream {
    try_tls_connect(address, authority, name).expect("it listens")
}

/// As `tls_connect`. The handshake is made as the first byte is written or read.
pub fn try_tls_connect(
    address: SocketAddr,
    authority: &Authority,
    name: &'static str,
) -> std::io::Result<TlsStream> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).expect("a root");
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = name.try_into().expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let socket = std::net::TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(StreamOwned::new(connection, socket))
}

/// Runs openssl in that folder with this on its standard input, and answers what it wrote, both outputs together.
#[track_caller]
pub fn openssl(folder: &Path, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("timeout")
        .arg(PATIENCE.as_secs().to_string())
        .arg("openssl")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed; tests/run sees to it");
    let mut stdin = child.stdin.take().expect("it is piped");
    // It may have ended already; what it said tells why.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("openssl ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

const PATIENCE: Duration = Duration::from_secs(30);
