//! What taps tell of themselves.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Taps;

pub struct Figures(pub Arc<Taps>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let open = ConstGauge::new(self.0.open.load().len() as i64);
        open.encode(encoder.encode_descriptor(
            "tidegate_taps",
            "Readers that follow requests now",
            None,
            MetricType::Gauge,
        )?)?;
        let dropped = ConstCounter::new(self.0.dropped.load(Relaxed));
        dropped.encode(encoder.encode_descriptor(
            "tidegate_tap_dropped",
            "Lines that a tap's reader was too slow for",
            None,
            MetricType::Counter,
        )?)
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}
