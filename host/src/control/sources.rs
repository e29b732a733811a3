//! Where servers that come and go by themselves come from, as the status and the metrics tell it.

use std::fmt::Error;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Serialize;

use super::shared::Shared;
use crate::config::checked::Pool;

/// A server of the file that is a name.
#[derive(Clone, Debug, Serialize)]
pub struct NameStatus {
    /// What the file calls the server.
    pub server: String,
    /// As written: `app.internal:80`, `srv:_http._tcp.app.internal`.
    pub address: String,
    /// Servers that it stands for now.
    pub servers: usize,
    /// Seconds until the next look-up. Null: one is under way.
    pub next_seconds: Option<u64>,
    /// Seconds since when look-ups bring nothing. Null: the last one brought something.
    pub failing_seconds: Option<u64>,
    /// Why the last look-up brought nothing. Null: it brought what is used.
    pub problem: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ServersFileStatus {
    pub path: String,
    /// What is wrong with it, each whole; while there is anything, the servers are those of the file as it was before.
    pub problems: Vec<String>,
}

/// The names among a pool's servers.
pub fn names(shared: &Shared, pool: &Pool) -> Vec<NameStatus> {
    let most = match &pool.discovered {
        Some(discovered) => discovered.most,
        None => return Vec::new(),
    };
    let named = pool.written_servers().filter_map(|server| {
        let standing = shared.names.standing(&server.lookup()?);
        Some(NameStatus {
            server: server.name.clone(),
            address: server.address.clone(),
            servers: standing
                .as_ref()
                .map_or(0, |known| known.addresses.min(most)),
            next_seconds: standing.as_ref().and_then(|known| seconds(known.next)),
            failing_seconds: standing.as_ref().and_then(|known| seconds(known.failing)),
            problem: standing.and_then(|known| known.problem),
        })
    });
    named.collect()
}

fn seconds(time: Option<Duration>) -> Option<u64> {
    time.map(|time| time.as_secs())
}

/// A pool's servers file.
pub fn servers_file(shared: &Shared, pool: &Pool) -> Option<ServersFileStatus> {
    let file = pool.discovered.as_ref()?.file.as_ref()?;
    Some(ServersFileStatus {
        path: file.display().to_string(),
        problems: shared.servers_file(&pool.name),
    })
}

/// What Prometheus is told of look-ups. Weak: the registry lives in the handle that also holds the state.
pub struct Lookups(pub Weak<Shared>);

impl std::fmt::Debug for Lookups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lookups")
    }
}

impl Collector for Lookups {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Some(shared) = self.0.upgrade() else {
            return Ok(());
        };
        let (names, failing) = shared.names.figures();
        let gauges = [
            (
                "tidegate_dns_names",
                "Names of servers that are looked up",
                names,
            ),
            (
                "tidegate_dns_names_failing",
                "Names whose last look-up brought nothing; the servers that were known stay for a while",
                failing,
            ),
        ];
        for (name, help, value) in gauges {
            let value = ConstGauge::new(value as u64);
            let kind = value.metric_type();
            value.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        let counts = &shared.names.counts;
        let results: [(&str, &AtomicU64); 3] = [
            ("answered", &counts.answered),
            ("missing", &counts.missing),
            ("failed", &counts.failed),
        ];
        let help =
            "Look-ups of names: answered, missing (there is no such name or record), or failed";
        let kind = ConstCounter::new(0u64).metric_type();
        let mut family = encoder.encode_descriptor("tidegate_dns_lookups", help, None, kind)?;
        for (result, count) in results {
            let count = ConstCounter::new(count.load(Relaxed));
            count.encode(family.encode_family(&[("result", result)])?)?;
        }
        Ok(())
    }
}
