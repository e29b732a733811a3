//! What is counted of sharing, over all settings that there have been, and what `/metrics` tells of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::sharing::Sharing;

#[derive(Debug, Default)]
pub(super) struct Figures {
    look_ups: [AtomicU64; 5],
    writes: [AtomicU64; 4],
    settled: [AtomicU64; 3],
    connects: [AtomicU64; 4],
    opened: AtomicU64,
}

/// What came of a look-up.
#[derive(Clone, Copy)]
pub(super) enum Asked {
    Hit,
    Miss,
    /// No answer in time.
    Timeout,
    /// Under way as the breaker opened.
    Failed,
    /// Not made: the breaker is open, or too many wait.
    Skipped,
}

/// What came of a write.
#[derive(Clone, Copy)]
pub(super) enum Wrote {
    Done,
    /// Another proxy's binding stays.
    GaveWay,
    Failed,
    Dropped,
}

/// What came of a limit's or sum's settlement.
#[derive(Clone, Copy)]
pub(super) enum Settled {
    Done,
    /// Put off until Redis answers.
    Failed,
    /// Too many keys waited.
    Dropped,
}

/// What came of a connection.
#[derive(Clone, Copy)]
pub(super) enum Connected {
    Done,
    /// It wants a password, or another one.
    Password,
    /// It can't be reached, or doesn't answer.
    Unreachable,
    /// It answers with an error.
    Refused,
}

impl Figures {
    pub(super) fn asked(&self, asked: Asked) {
        self.look_ups[asked as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn wrote(&self, wrote: Wrote, count: usize) {
        self.writes[wrote as usize].fetch_add(count as u64, Relaxed);
    }

    pub(super) fn settled(&self, settled: Settled, count: usize) {
        self.settled[settled as usize].fetch_add(count as u64, Relaxed);
    }

    pub(super) fn connected(&self, connected: Connected) {
        self.connects[connected as usize].fetch_add(1, Relaxed);
    }

    /// The breaker opened after it was closed.
    pub(super) fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }
}

pub(super) struct SharingMetrics(pub(super) Arc<Sharing>);

impl std::fmt::Debug for SharingMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharingMetrics")
    }
}

type Named<'a> = (&'static str, &'a AtomicU64);

impl Collector for SharingMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let figures = &self.0.figures;
        let name = "tidegate_state_breaker_open";
        let help = "1 while Redis is configured and not asked, as it doesn't answer";
        let open = ConstGauge::new(u64::from(self.0.is_alone()));
        let kind = MetricType::Gauge;
        open.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        let name = "tidegate_state_breaker_opened";
        let help = "How often Redis ceased to answer";
        let opened = ConstCounter::new(figures.opened.load(Relaxed));
        let kind = MetricType::Counter;
        opened.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        let name = "tidegate_state_waiting";
        let help = "Of writes that wait for Redis";
        let waiting = ConstGauge::new(self.0.waiting() as u64);
        let unit = Some(&Unit::Bytes);
        waiting.encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)?;
        let words = ["hit", "miss", "timeout", "failed", "skipped"];
        let help = "Look-ups in Redis, by what came of them";
        let all = words.into_iter().zip(&figures.look_ups);
        family(&mut encoder, "tidegate_state_lookups", help, all)?;
        let words = ["done", "gave-way", "failed", "dropped"];
        let help = "Writes to Redis, by what came of them";
        let all = words.into_iter().zip(&figures.writes);
        family(&mut encoder, "tidegate_state_writes", help, all)?;
        let words = ["done", "failed", "dropped"];
        let help = "Limits and sums settled with Redis, by what came of it";
        let all = words.into_iter().zip(&figures.settled);
        family(&mut encoder, "tidegate_state_settlements", help, all)?;
        let words = ["connected", "password", "unreachable", "refused"];
        let help = "Connections to Redis, by what came of them";
        let all = words.into_iter().zip(&figures.connects);
        family(&mut encoder, "tidegate_state_connects", help, all)
    }
}

fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    all: impl Iterator<Item = Named<'a>>,
) -> std::fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (result, count) in all {
        let count = ConstCounter::new(count.load(Relaxed));
        count.encode(family.encode_family(&[("result", result)])?)?;
    }
    Ok(())
}
