//! What the change loop itself has to tell Prometheus.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::shared::Shared;

pub fn register(registry: &mut Registry, shared: &Arc<Shared>) {
    registry.register_collector(Box::new(Changes(Arc::downgrade(shared))));
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
