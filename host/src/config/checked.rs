//! A configuration that is valid in itself: defaults filled in, units converted, every name resolved to an index. Made by
//! `check` alone. What only a built candidate can tell (does the plugin load, has it the role, does it take its settings)
//! is still open, so the places where plugins are named are kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::{ListenerIndex, PluginIndex, PoolIndex};

pub use super::logging::AccessField;
use super::problem::{Located, Span};
use super::source::Source;

#[derive(Clone, Debug)]
pub struct Config {
    pub source: Arc<Source>,
    pub proxy: Proxy,
    pub admin: Option<Admin>,
    pub log: Log,
    /// None: requests are not traced.
    pub tracing: Option<Arc<Tracing>>,
    /// None: the proxy shares no state.
    pub state: Option<Shared>,
    /// The file's `[[plugin]]` in order, then shipped ones used by name alone, then those made where they are used
    /// (`balancer = { plugin = "…", … }`, named `PLUGIN@WHERE`).
    pub plugins: Vec<Plugin>,
    pub listeners: Vec<Listener>,
    pub routes: Vec<Route>,
    pub pools: Vec<Pool>,
    pub dns: Arc<Dns>,
    /// The file as JSON, fit to be shown: `{ file = "…" }` and `{ env = "…" }` stand as written, the token is left out.
    pub shown: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// At least 1: what the process may use when the file says 0.
    pub workers: usize,
    pub drain_timeout: Duration,
    pub watch: bool,
    pub trusted_proxies: Vec<Network>,
    /// Bytes of bodies that are kept for another attempt, of all requests together.
    pub retry_bodies: usize,
}

/// How names of servers are resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Dns {
    /// Empty: those of the system's resolv.conf.
    pub servers: Vec<SocketAddr>,
    /// Of one try.
    pub timeout: Duration,
    pub min_ttl: Duration,
    pub max_ttl: Duration,
    /// How long servers stay whose name is said not to exist.
    pub hold_missing: Duration,
    /// The same while DNS gives no answer. None: for as long as that lasts.
    pub hold_failing: Option<Duration>,
    /// How long a start or a reload waits for first answers.
    pub wait: Duration,
    pub family: Family,
}

/// Which of a host's addresses are its servers'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv6 only where there is no IPv4.
    #[default]
    Ipv4First,
    Ipv6First,
    Ipv4,
    Ipv6,
    Both,
}

/// A network in CIDR form; host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: std::net::IpAddr,
    pub prefix: u8,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub bind: SocketAddr,
    pub token: Option<Secret>,
    /// Joined with the config file's folder already.
    pub socket: Option<Located<PathBuf>>,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// For tracing's `EnvFilter`.
    pub level: String,
    pub access: Located<AccessTarget>,
    pub format: AccessFormat,
    /// What a line of the JSON format holds, in this order.
    pub fields: Vec<AccessField>,
    pub captures: Captures,
}

/// Headers that the access log holds, by their names in lower case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Captures {
    pub request: Vec<String>,
    pub response: Vec<String>,
    /// Bytes of a value that are kept.
    pub length: usize,
}

impl Captures {
    pub fn any(&self) -> bool {
        !self.request.is_empty() || !self.response.is_empty()
    }
}

/// How requests are traced, and where their spans go.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    pub endpoint: TraceEndpoint,
    /// What the traces call this proxy.
    pub service: String,
    pub sampling: Sampling,
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// PEM, joined with the config file's folder already. None: the system's certificates.
    pub ca: Option<Located<PathBuf>>,
    /// Of one export.
    pub timeout: Duration,
    /// Spans that may wait.
    pub queue: usize,
}

/// Where spans go: OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEndpoint {
    pub tls: bool,
    /// As it is written, for the Host field.
    pub authority: String,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// With a query, where it has one.
    pub path: String,
}

/// Which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Trace ids whose last 56 bits are below it are sampled (W3C Trace Context, level 2: they are random).
    below: u64,
    /// Whoever asks has decided already, where he says so.
    pub parent_based: bool,
}

impl Sampling {
    const RANGE: u64 = 1 << 56;

    /// `share` is from 0 to 1.
    pub fn new(share: f64, parent_based: bool) -> Sampling {
        Sampling {
            below: (share * Self::RANGE as f64) as u64,
            parent_based,
        }
    }

    pub fn takes(self, trace: u128) -> bool {
        (trace as u64) % Self::RANGE < self.below
    }
}

/// State that several proxies share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    pub redis: Redis,
    /// What keys begin with.
    pub prefix: String,
    /// How long a request waits for a look-up.
    pub timeout: Duration,
    /// How often limits and sums are settled.
    pub settle: Duration,
    /// Writes that may wait.
    pub queue: usize,
}

/// A Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub database: u32,
    pub tls: Option<RedisTls>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// PEM. None: the system's certificates.
    pub ca: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AccessTarget {
    Off,
    Stdout,
    Stderr,
    File(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    Json,
    Combined,
    Httplog,
}

#[derive(Clone)]
pub struct Plugin {
    /// `PLUGIN@WHERE` for one made where it is used.
    pub name: String,
    pub source: PluginSource,
    /// A JSON object.
    pub config: serde_json::Value,
    /// Absent: the role's default.
    pub on_failure: Option<OnFailure>,
    /// CPU time of one call.
    pub cpu_limit: Duration,
    /// Bytes of linear memory.
    pub memory: u64,
    /// Pools that it may call.
    pub fetch_grants: Vec<PoolIndex>,
    /// Where it is defined, or first named.
    pub span: Span,
    /// Where its `path` or `shipped` is written, else `span`: the place of what is wrong with the artifact.
    pub source_span: Span,
    /// Where its `config` is written, else `span`: the place of settings that it refuses.
    pub config_span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PluginSource {
    /// One that the binary carries, by its name there.
    Shipped(String),
    /// Relative paths are relative to the config file's folder; this one is joined already.
    File {
        path: PathBuf,
        sha256: Option<[u8; 32]>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    Reject,
    Fallback,
}

/// A plugin used in a role, and where the file says so.
pub type PluginUse = Located<PluginIndex>;

#[derive(Clone, Debug)]
pub struct Listener {
    pub name: String,
    pub bind: Vec<Located<Bind>>,
    pub mode: Mode,
    pub proxy_protocol: ProxyIn,
    /// In tcp mode: the client's TLS hello is read, and passed on with the rest.
    pub tls_passthrough: bool,
    /// Asked about each connection, in order.
    pub connect: Vec<PluginUse>,
    pub filters: Vec<PluginUse>,
    pub router: Option<PluginUse>,
    /// Where requests go that no route takes. None: 404.
    pub pool: Option<PoolIndex>,
    /// Whether a client that has closed its sending side is taken for gone.
    pub abort_on_close: bool,
    /// None: as many as the process can hold.
    pub max_connections: Option<usize>,
    /// 0: no bound.
    pub max_connections_per_client: u32,
    /// Bytes of a request's head.
    pub max_head: usize,
    /// Bytes a second that a client must keep while it is waited for; 0: none.
    pub min_body_rate: u64,
    /// Bytes of a request's body; 0: no bound.
    pub max_body: u64,
    pub compression: Option<Compression>,
    pub error_pages: Vec<ErrorPage>,
    /// None: it is not served.
    pub http2: Option<Http2>,
    pub timeouts: ListenerTimeouts,
    pub tls: Option<ListenerTls>,
}

/// TLS towards clients.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// Never empty.
    pub certificates: Vec<Located<CertificateFiles>>,
    pub strict_sni: bool,
    pub min_version: TlsVersion,
    pub client_auth: ClientAuth,
    /// Given unless clients are asked for none.
    pub client_ca: Option<Located<PathBuf>>,
    /// Lists of clients' certificates that are revoked.
    pub client_crl: Vec<Located<PathBuf>>,
    pub client_cert_headers: bool,
    /// Of the shipped router's routes that clients reach here: a certificate should bear each.
    pub hosts: Vec<Located<String>>,
}

/// Paths are joined with the config file's folder already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFiles {
    /// A PEM file with chain and key, or a folder of such files.
    At(PathBuf),
    Pair {
        cert: PathBuf,
        key: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    V12,
    V13,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    Off,
    /// One that is sent must be good.
    Optional,
    Required,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Compression {
    /// By preference.
    pub codings: Vec<Coding>,
    /// `text/html`, or `text/*`.
    pub types: Vec<String>,
    /// Bytes.
    pub min_size: u64,
    pub gzip_level: u32,
    pub brotli_level: u32,
    pub zstd_level: u32,
}

/// A content coding (RFC 9110, 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

/// A page for errors that the proxy itself answers with.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorPage {
    pub path: PathBuf,
    /// 503, or 5 for all of the class.
    pub status: u16,
    pub content_type: &'static str,
    pub text: bytes::Bytes,
}

/// What a client of HTTP/2 is granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Http2 {
    /// Streams at a time on one connection. HAProxy's `tune.h2.fe.max-concurrent-streams`.
    pub max_concurrent_streams: u32,
    /// Bytes that a stream may send before more are asked for. HAProxy's `tune.h2.fe.initial-window-size`.
    pub initial_window: u32,
}

/// What a server is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    Http11,
    Http2,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bind {
    Ip(SocketAddr),
    /// `path` is joined with the config file's folder already; `mode` are its permissions.
    Unix {
        path: PathBuf,
        mode: u32,
    },
}

/// What a listener's connections are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Http,
    Tcp,
}

/// Whether connections begin with a PROXY line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyIn {
    #[default]
    Off,
    Require,
}

/// The PROXY line that servers get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyOut {
    #[default]
    Off,
    V1,
    V2,
}

/// What becomes of sessions with a server that is found down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMarkedDown {
    #[default]
    Keep,
    Close,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTimeouts {
    /// From accept to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request, or from accept, to the end of its head. HAProxy's `timeout http-request`.
    pub request_head: Duration,
    /// Between requests on a kept connection. HAProxy's `timeout http-keep-alive`.
    pub idle: Duration,
    /// How long a client may send nothing of a request's body, or take nothing of a response. HAProxy's `timeout client`.
    pub body: Duration,
    /// How long a client may be waited for, within one body, before `min_body_rate` is held against it.
    pub rate_grace: Duration,
    /// How long an upgraded connection (WebSocket) may be silent both ways. HAProxy's `timeout tunnel`.
    pub tunnel: Duration,
}

#[derive(Clone, Debug)]
pub struct Route {
    pub name: String,
    /// Empty: all.
    pub listeners: Vec<ListenerIndex>,
    /// `example.com`, `*.example.com`; lower case. None: any.
    pub host: Option<String>,
    pub path: Option<PathMatch>,
    /// Empty: any.
    pub methods: Vec<String>,
    pub headers: BTreeMap<String, ValueMatch>,
    pub query: BTreeMap<String, ValueMatch>,
    /// One pool, or several with their weights; never empty. None in the file's `pool`, `split`: the listener's pool, an empty list.
    pub pools: Vec<(PoolIndex, u32)>,
    pub filters: Vec<PluginUse>,
    pub access_log: bool,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// `/api` takes `/api` and `/api/x`, not `/apix`.
    Prefix(String),
    Exact(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    Exact(String),
    Present,
    Absent,
}

#[derive(Clone, Debug)]
pub struct Pool {
    pub name: String,
    pub balancer: PluginUse,
    /// The file names none.
    pub balancer_by_default: bool,
    pub sticky: Option<PluginUse>,
    pub timeouts: PoolTimeouts,
    /// Attempts after the first.
    pub retries: u32,
    pub retry: Arc<Retry>,
    pub when_full: WhenFull,
    /// Who may wait in one line; 0: any number.
    pub max_queue: usize,
    pub http: HttpVersion,
    pub health: Option<Arc<Probe>>,
    /// The plugin that judges probes.
    pub judge: Option<PluginUse>,
    /// The plugin that probes, where `health` has that kind.
    pub prober: Option<PluginUse>,
    pub passive: Option<Arc<Passive>>,
    /// How long a server's weight grows after it has come back; zero: it has all at once.
    pub slow_start: Duration,
    /// Per cent of the servers that must be usable, else all are used; 0: never.
    pub panic_threshold: u32,
    pub proxy_protocol: ProxyOut,
    pub on_marked_down: OnMarkedDown,
    /// Where `discovered` is given: as they are known now.
    pub servers: Vec<Server>,
    /// None: they are what the file says.
    pub discovered: Option<Discovered>,
    pub tls: Option<PoolTls>,
    pub span: Span,
}

/// Where the servers of a pool come from that may come and go by themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovered {
    /// As the configuration names them.
    pub own: Vec<Server>,
    /// As the servers file names them.
    pub listed: Vec<Server>,
    /// Joined with the config file's folder already.
    pub file: Option<PathBuf>,
    /// Servers that one name may bring.
    pub most: usize,
}

/// TLS towards servers.
#[derive(Clone, Debug)]
pub struct PoolTls {
    /// None: the system's authorities.
    pub ca: Option<Located<PathBuf>>,
    /// None: the host of each server's address.
    pub server_name: Option<String>,
    /// What we show to servers that ask.
    pub certificate: Option<Located<CertificateFiles>>,
    pub verify: bool,
    pub span: Span,
}

/// How a pool's servers are probed.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    pub kind: ProbeKind,
    /// Requests are sent over HTTP/2, as the pool's are.
    pub http2: bool,
    /// Whose health is asked for over gRPC; empty: the whole server's.
    pub service: String,
    /// With its query.
    pub path: String,
    pub method: String,
    /// None: the server's address.
    pub host: Option<String>,
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Ranges of statuses, ends included.
    pub expect: Vec<(u16, u16)>,
    /// What the body must hold.
    pub body: Option<String>,
    pub body_pattern: Option<Pattern>,
    pub interval: Duration,
    /// While it is on its way up or down.
    pub fast_interval: Duration,
    pub down_interval: Duration,
    pub timeout: Duration,
    pub rise: u32,
    pub fall: u32,
    /// None: the server's.
    pub port: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    Http,
    /// Whether it can be connected to.
    Tcp,
    /// Whether it speaks TLS.
    Tls,
    /// gRPC's health protocol.
    Grpc,
    /// A plugin speaks with it.
    Plugin,
}

/// A regular expression.
#[derive(Clone, Debug)]
pub struct Pattern(pub regex_lite::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// When a server is ejected for what requests to it have met.
#[derive(Clone, Debug, PartialEq)]
pub struct Passive {
    /// Failures one after the other; 0: not looked at.
    pub max_fails: u32,
    pub window: Duration,
    /// Per cent of a window's requests that may not fail; 0: not looked at.
    pub max_rate: u32,
    /// Of a window, before its rate says anything.
    pub min_requests: u32,
    /// For how long; longer each time that it happens again soon.
    pub eject: Duration,
    pub max_eject: Duration,
    /// Per cent of the pool's servers that may be ejected at a time.
    pub max_ejected: u32,
    /// Requests that must go well, one at a time, before it is back; 0: none.
    pub trials: u32,
    pub on: Failures,
}

/// After what a request is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    pub connect: bool,
    /// Closed without a word.
    pub reset: bool,
    pub timeout: bool,
    /// No HTTP.
    pub junk: bool,
    /// Of answers; 5 stands for all of its class.
    pub statuses: Vec<u16>,
    /// Whatever the method.
    pub any_method: bool,
    /// Bytes of a body that are kept for it.
    pub body: usize,
    pub budget: Option<RetryBudget>,
}

/// Retries at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Per cent of the pool's requests in flight.
    pub share: u32,
    pub min: u32,
}

/// What becomes of a request whose server has no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    #[default]
    Another,
    Wait,
}

/// What counts as a failure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failures {
    pub connect: bool,
    pub timeout: bool,
    pub broken: bool,
    /// Of answers; 5 stands for all of its class.
    pub statuses: Vec<u16>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PoolTimeouts {
    pub connect: Duration,
    /// Without the server taking anything of a request.
    pub send: Duration,
    /// From the request sent to the response's head.
    pub first_byte: Duration,
    /// Between two reads of a response's body.
    pub between_bytes: Duration,
    /// For a place at a server.
    pub queue: Duration,
    /// From a request's head to its answer's; zero: without end.
    pub total: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub name: String,
    /// `IP:port`, or `unix:` and a whole path; where it is not known yet what a name stands for, `host:port` or `srv:NAME`.
    pub address: String,
    /// The name, as written, that stands for `address`.
    pub resolved_from: Option<String>,
    /// 0 to 256.
    pub weight: u32,
    pub backup: bool,
    /// Requests in flight; 0: any number.
    pub max_connections: u32,
    pub labels: Vec<(String, String)>,
}

impl Pool {
    /// Its servers as they are written, names and all.
    pub fn written_servers(&self) -> impl Iterator<Item = &Server> {
        let (own, listed) = match &self.discovered {
            None => (&self.servers[..], &[][..]),
            Some(discovered) => (&discovered.own[..], &discovered.listed[..]),
        };
        own.iter().chain(listed)
    }

    /// What its servers are known by to TLS: those that it has, and those that names may yet bring.
    pub fn tls_addresses(&self) -> impl Iterator<Item = String> {
        let all = self.written_servers().chain(&self.servers);
        all.map(Server::tls_address)
    }
}

impl Retry {
    pub fn takes(&self, status: u16) -> bool {
        let known = |known: &u16| *known == status || *known == status / 100;
        self.statuses.iter().any(known)
    }
}

impl Default for Retry {
    /// What nobody has said anything about.
    fn default() -> Retry {
        Retry {
            connect: true,
            reset: true,
            timeout: false,
            junk: false,
            statuses: Vec::new(),
            any_method: false,
            body: 0,
            budget: None,
        }
    }
}

impl Compression {
    pub fn level(&self, coding: Coding) -> u32 {
        match coding {
            Coding::Gzip => self.gzip_level,
            Coding::Brotli => self.brotli_level,
            Coding::Zstd => self.zstd_level,
        }
    }
}

impl Coding {
    /// As Content-Encoding says it.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Its settings may hold secrets.
impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
