//! What the export of traces tells of itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::Queue;

pub struct Spans(pub Arc<Queue>);

impl Collector for Spans {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let queue = &self.0;
        if queue.room.load(Relaxed) == 0 {
            return Ok(());
        }
        let exported = ConstCounter::new(queue.exported.load(Relaxed));
        exported.encode(encoder.encode_descriptor(
            "tidegate_trace_spans",
            "Spans that the collector of traces has taken",
            None,
            MetricType::Counter,
        )?)?;
        let mut dropped = encoder.encode_descriptor(
            "tidegate_trace_spans_dropped",
            "Spans lost: the queue was full (the collector is too slow), exports failed, or the collector refused them",
            None,
            MetricType::Counter,
        )?;
        for (reason, count) in [
            ("full", &queue.full),
            ("failed", &queue.failed),
            ("refused", &queue.refused),
        ] {
            let labels = [("reason", reason)];
            let count = ConstCounter::new(count.load(Relaxed));
            count.encode(dropped.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spans")
    }
}
