//! What the change loop itself, and the listeners' gates, have to tell Prometheus.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::shared::Shared;
use crate::pipeline::{Gates, Told};

pub fn register(registry: &mut Registry, shared: &Arc<Shared>, gates: &Gates) {
    registry.register_collector(Box::new(Changes(Arc::downgrade(shared))));
    registry.register_collector(Box::new(Doors(gates.clone())));
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
