//! What a running proxy says of itself: `/api/v1/status`, `/pools` and `/plugins` show these as JSON.

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub version: &'static str,
    pub generation: u64,
    /// RFC 3339, UTC.
    pub started: String,
    pub uptime_seconds: u64,
    pub workers: usize,
    pub draining: bool,
    pub config: String,
    pub last_change: Option<LastChange>,
    pub listeners: Vec<ListenerStatus>,
    pub routes: Vec<RouteStatus>,
    pub pools: Vec<PoolStatus>,
    pub plugins: Vec<PluginStatus>,
}

/// The newest change, whatever became of it.
#[derive(Clone, Debug, Serialize)]
pub struct LastChange {
    /// RFC 3339, UTC.
    pub at: String,
    /// `start`, `reload` or `plugin NAME`.
    pub what: String,
    /// `applied` or `rejected`.
    pub result: &'static str,
    pub took_ms: f64,
    /// Empty unless rejected.
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ListenerStatus {
    pub name: String,
    /// Where it really listens: a port 0 in the config is resolved here.
    pub addresses: Vec<String>,
    pub router: Option<String>,
    pub filters: Vec<String>,
    pub pool: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct RouteStatus {
    pub name: String,
    pub pools: Vec<String>,
    pub filters: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PoolStatus {
    pub name: String,
    pub balancer: String,
    pub servers: Vec<ServerStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ServerStatus {
    pub name: String,
    pub address: String,
    pub weight: u32,
    /// `ready`, `drain` or `down`.
    pub state: &'static str,
    pub backup: bool,
    pub in_flight: u32,
    /// Peak-sensitive average of the time to the first byte, microseconds, as balancers see it.
    pub ewma_us: u32,
}

#[derive(Clone, Debug, Serialize)]
pub struct PluginStatus {
    pub name: String,
    /// `shipped NAME`, a path, or `uploaded`.
    pub source: String,
    pub sha256: String,
    pub size: usize,
    pub roles: Vec<String>,
    /// `warm`, `failing` (backing off on some worker) or `quarantined`.
    pub state: &'static str,
    /// The generation that brought its instances.
    pub since_generation: u64,
    /// Living instances, those of old generations that requests still hold included.
    pub instances: u64,
    pub calls: u64,
    pub failures: u64,
    /// Mean time of a call, nanoseconds, from a sample; 0 before the first.
    pub mean_call_ns: u64,
}
