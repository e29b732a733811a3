//! A configuration that is valid in itself: defaults filled in, units converted, every name resolved to an index. Made by
//! `check` alone. What only a built candidate can tell (does the plugin load, has it the role, does it take its settings)
//! is still open, so the places where plugins are named are kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::{ListenerIndex, PluginIndex, PoolIndex};

use super::problem::{Located, Span};
use super::source::Source;

#[derive(Clone, Debug)]
pub struct Config {
    pub source: Arc<Source>,
    pub proxy: Proxy,
    pub admin: Option<Admin>,
    pub log: Log,
    /// The file's `[[plugin]]` in order, then shipped ones used by name alone, then those made where they are used
    /// (`balancer = { plugin = "…", … }`, named `PLUGIN@WHERE`).
    pub plugins: Vec<Plugin>,
    pub listeners: Vec<Listener>,
    pub routes: Vec<Route>,
    pub pools: Vec<Pool>,
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
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// For tracing's `EnvFilter`.
    pub level: String,
    pub access: AccessTarget,
    pub format: AccessFormat,
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
    pub timeouts: ListenerTimeouts,
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
    pub timeouts: PoolTimeouts,
    /// Attempts after the first.
    pub retries: u32,
    pub proxy_protocol: ProxyOut,
    pub on_marked_down: OnMarkedDown,
    pub servers: Vec<Server>,
    pub span: Span,
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
}

#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub name: String,
    /// `host:port` as written, or `unix:` and a whole path; a name is resolved when it is connected to.
    pub address: String,
    /// 0 to 256.
    pub weight: u32,
    pub backup: bool,
    pub labels: Vec<(String, String)>,
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
