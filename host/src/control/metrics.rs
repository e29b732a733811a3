//! What the change loop itself, and the listeners' gates, have to tell Prometheus.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::shared::Shared;
use crate::pipeline::{Gates, Told};
use crate::tls;

pub fn register(registry: &mut Registry, shared: &Arc<Shared>, gates: &Gates) {
    registry.register_collector(Box::new(Changes(Arc::downgrade(shared))));
    registry.register_collector(Box::new(Doors(gates.clone())));
    registry.register_collector(Box::new(super::load::Load));
    registry.register_collector(Box::new(Secured(Arc::downgrade(shared))));
    registry.register_collector(Box::new(super::sources::Lookups(Arc::downgrade(shared))));
    registry.register_collector(Box::new(super::servers::Servers(Arc::downgrade(shared))));
}

/// Weak: the registry lives in the handle that also holds the state.
struct Changes(Weak<Shared>);

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changes")
    }
}

impl Collector for Changes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(shared) = self.0.upgrade() else {
            return Ok(());
        };
        let build = ConstGauge::new(1u64);
        let mut info = encoder.encode_descriptor(
            "tidegate_build_info",
            "The version that runs, as a label; always 1",
            None,
            build.metric_type(),
        )?;
        build.encode(info.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)?;
        let gauges = [
            (
                "tidegate_config_generation",
                "The configuration that runs, counted from 1",
                shared.running().map_or(0, |running| running.generation.0),
            ),
            (
                "tidegate_workers",
                "Worker threads",
                shared.workers.len() as u64,
            ),
            (
                "tidegate_draining",
                "1 once the proxy is leaving",
                u64::from(shared.is_draining()),
            ),
            (
                "tidegate_start_time_seconds",
                "When the process started, seconds since 1970",
                shared.started.unix_timestamp() as u64,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let changes = [
            ("applied", &shared.changes_applied),
            ("rejected", &shared.changes_rejected),
        ];
        let kind = ConstCounter::new(0u64).metric_type();
        let mut family = encoder.encode_descriptor(
            "tidegate_config_changes",
            "Changes asked for",
            None,
            kind,
        )?;
        for (result, count) in changes {
            let count = ConstCounter::new(count.load(Relaxed));
            count.encode(family.encode_family(&[("result", result)])?)?;
        }
        Ok(())
    }
}

struct Doors(Gates);

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Doors")
    }
}

impl Collector for Doors {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let all = self.0.told();
        limits(&mut encoder, &all)?;
        held(&mut encoder, &all)?;
        refused(&mut encoder, &all)
    }
}

fn limits(encoder: &mut DescriptorEncoder<'_>, all: &[Told]) -> Result<(), std::fmt::Error> {
    let kind = ConstGauge::new(0u64).metric_type();
    let help = "Connections that a listener holds at most";
    let mut family = encoder.encode_descriptor("tidegate_connection_limit", help, None, kind)?;
    for Told {
        listener, limit, ..
    } in all
    {
        if let Some(limit) = limit {
            let limit = ConstGauge::new(*limit as u64);
            limit.encode(family.encode_family(&[("listener", &**listener)])?)?;
        }
    }
    Ok(())
}

fn held(encoder: &mut DescriptorEncoder<'_>, all: &[Told]) -> Result<(), std::fmt::Error> {
    let kind = ConstCounter::new(0u64).metric_type();
    let help = "Connections that waited in the kernel's queue, as their listener was full";
    let mut family = encoder.encode_descriptor("tidegate_connections_held", help, None, kind)?;
    for Told { listener, held, .. } in all {
        let held = ConstCounter::new(*held);
        held.encode(family.encode_family(&[("listener", &**listener)])?)?;
    }
    Ok(())
}

fn refused(encoder: &mut DescriptorEncoder<'_>, all: &[Told]) -> Result<(), std::fmt::Error> {
    let kind = ConstCounter::new(0u64).metric_type();
    let help = "Connections that were reset as they came";
    let mut family = encoder.encode_descriptor("tidegate_connections_refused", help, None, kind)?;
    let reason = ("reason", "max-connections-per-client");
    for Told {
        listener, refused, ..
    } in all
    {
        let refused = ConstCounter::new(*refused);
        refused.encode(family.encode_family(&[("listener", &**listener), reason])?)?;
    }
    Ok(())
}

/// TLS of the generation that runs.
struct Secured(Weak<Shared>);

impl std::fmt::Debug for Secured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secured")
    }
}

impl Collector for Secured {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(running) = self.0.upgrade().and_then(|shared| shared.running()) else {
            return Ok(());
        };
        let servers: Vec<_> = running.tls.listeners.iter().flatten().collect();
        expiry(&mut encoder, &servers)?;
        handshakes(&mut encoder, &servers)?;
        handshake_failures(&mut encoder, &servers)?;
        reload_failures(&mut encoder, &servers)
    }
}

type Servers<'a> = [&'a Arc<tls::Server>];

fn expiry(encoder: &mut DescriptorEncoder<'_>, servers: &Servers<'_>) -> std::fmt::Result {
    let kind = ConstGauge::new(0i64).metric_type();
    let help = "Until a certificate expires; below zero once it has";
    let name = "tidegate_tls_certificate_expiry";
    let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
    for server in servers {
        let mut told = HashSet::new();
        for certificate in server.certificates() {
            // One that is named twice has one series.
            if told.insert(certificate.file.clone()) {
                let labels = [
                    ("listener", server.listener()),
                    ("file", certificate.file.as_str()),
                ];
                let left = ConstGauge::new(certificate.seconds_left);
                left.encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

fn handshakes(encoder: &mut DescriptorEncoder<'_>, servers: &Servers<'_>) -> std::fmt::Result {
    let kind = ConstCounter::new(0u64).metric_type();
    let help = "TLS handshakes with clients, by version and whether a session was resumed";
    let mut family = encoder.encode_descriptor("tidegate_tls_handshakes", help, None, kind)?;
    for server in servers {
        for (version, resumed, count) in server.counts().all_done() {
            let labels = [
                ("listener", server.listener()),
                ("version", version),
                ("resumed", resumed),
            ];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn handshake_failures(
    encoder: &mut DescriptorEncoder<'_>,
    servers: &Servers<'_>,
) -> std::fmt::Result {
    let kind = ConstCounter::new(0u64).metric_type();
    let (name, help) = (
        "tidegate_tls_handshake_failures",
        "TLS handshakes with clients that came to nothing",
    );
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for server in servers {
        for (reason, count) in server.counts().all_failed() {
            let labels = [("listener", server.listener()), ("reason", reason)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn reload_failures(encoder: &mut DescriptorEncoder<'_>, servers: &Servers<'_>) -> std::fmt::Result {
    let kind = ConstCounter::new(0u64).metric_type();
    let (name, help) = (
        "tidegate_tls_reload_failures",
        "Changed certificate files that could not be used, so that what was stayed in use",
    );
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for server in servers {
        let count = ConstCounter::new(server.counts().broken_files());
        count.encode(family.encode_family(&[("listener", server.listener())])?)?;
    }
    Ok(())
}
