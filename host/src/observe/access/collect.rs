//! What the access log tells of itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::ring::Counts;

pub struct Lines(pub Arc<Counts>);

impl Collector for Lines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = &self.0;
        let written = ConstCounter::new(counts.written.load(Relaxed));
        written.encode(encoder.encode_descriptor(
            "tidegate_access_log_lines",
            "Lines of access log written",
            None,
            MetricType::Counter,
        )?)?;
        let mut dropped = encoder.encode_descriptor(
            "tidegate_access_log_lines_dropped",
            "Lines of access log lost: the queue was full (the target is too slow), or the target failed",
            None,
            MetricType::Counter,
        )?;
        let failed = counts.failed.load(Relaxed);
        for (reason, count) in [("full", counts.full()), ("failed", failed)] {
            let labels = [("reason", reason)];
            ConstCounter::new(count).encode(dropped.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}
