//! Plugins in `/metrics`: what the host counts of them, and what they count themselves.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::state::State;

use super::shared::{BOUNDS_NS, Cause, Ledger, Role, Totals};

pub(super) struct PluginMetrics {
    pub(super) ledger: Arc<Ledger>,
    pub(super) state: Arc<State>,
}

impl std::fmt::Debug for PluginMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PluginMetrics")
    }
}

type Labels = Vec<(String, String)>;

impl Collector for PluginMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let all = self.ledger.all();
        calls(&mut encoder, &all)?;
        gauges(&mut encoder, &all)?;
        self.own(&mut encoder)?;
        self.refused(&mut encoder)
    }
}

type All = [(Arc<str>, Totals)];

fn calls(encoder: &mut DescriptorEncoder<'_>, all: &All) -> Result<(), Error> {
    let by_role = |of: fn(&Totals) -> &[u64; Role::ALL.len()]| {
        move |totals: &Totals| Role::ALL.map(|r| ("role", r.name(), of(totals)[r as usize]))
    };
    let calls = by_role(|totals| &totals.calls);
    counters(
        encoder,
        all,
        "tidegate_plugin_calls",
        "Calls of plugins",
        calls,
    )?;
    let repeated =
        |totals: &Totals| Role::REPEATABLE.map(|r| ("role", r.name(), totals.repeated[r as usize]));
    let help = "Answers of pure plugins that were given again without a call";
    let name = "tidegate_plugin_answers_repeated";
    counters(encoder, all, name, help, repeated)?;
    let failures =
        |totals: &Totals| Cause::ALL.map(|c| ("cause", c.name(), totals.failures[c as usize]));
    let help = "Calls that failed";
    counters(encoder, all, "tidegate_plugin_failures", help, failures)?;
    durations(encoder, all)
}

/// Of the roles that a plugin was called in.
fn durations(encoder: &mut DescriptorEncoder<'_>, all: &All) -> Result<(), Error> {
    let mut family = encoder.encode_descriptor(
        "tidegate_plugin_call_duration",
        "Time in a call of a plugin, of one call in 64",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    let bounds = || BOUNDS_NS.iter().map(|bound| *bound as f64 / 1e9);
    for (plugin, totals) in all {
        for role in Role::ALL {
            let timed = totals.timed[role as usize];
            let count: u64 = timed.iter().sum();
            if count == 0 {
                continue;
            }
            let buckets: Vec<_> = bounds().chain([f64::INFINITY]).zip(timed).collect();
            let seconds = totals.nanos[role as usize] as f64 / 1e9;
            let labels = labels(plugin, [("role", role.name())]);
            let mut series = family.encode_family(&labels)?;
            series.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
        }
    }
    Ok(())
}

/// One counter family, with one more label than the plugin's name.
fn counters<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    all: &All,
    name: &str,
    help: &str,
    series: impl Fn(&Totals) -> [(&'static str, &'static str, u64); N],
) -> Result<(), Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (plugin, totals) in all {
        for (label, value, count) in series(totals) {
            let labels = labels(plugin, [(label, value)]);
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn gauges(encoder: &mut DescriptorEncoder<'_>, all: &All) -> Result<(), Error> {
    type Reading = fn(&Totals) -> usize;
    let gauges: [(&str, &str, Reading); 2] = [
        (
            "tidegate_plugin_instances",
            "Plugin instances that exist now",
            |t| t.instances,
        ),
        (
            "tidegate_plugin_quarantined_workers",
            "Workers on which the plugin is quarantined",
            |t| t.quarantined,
        ),
    ];
    for (name, help, reading) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (plugin, totals) in all {
            let labels = labels(plugin, []);
            let value = reading(totals) as u64;
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

impl PluginMetrics {
    /// What plugins count themselves: a family a name, over all plugins that use it.
    fn own(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut families: BTreeMap<String, Vec<(Labels, u64)>> = BTreeMap::new();
        for (plugin, state) in self.state.all() {
            for series in state.counters.all() {
                let mut labels = series.labels;
                labels.insert(0, ("plugin".to_owned(), plugin.clone()));
                let family = families.entry(series.metric).or_default();
                family.push((labels, series.count));
            }
        }
        for (name, series) in families {
            let help = "Counted by the plugin itself";
            let name = format!("tidegate_plugin_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            for (labels, count) in series {
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn refused(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let all = self.state.all();
        let help = "What plugins counted under wrong names or beyond 1000 series";
        let name = "tidegate_plugin_counters_refused";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (plugin, state) in &all {
            let count = ConstCounter::new(state.counters.refused());
            count.encode(family.encode_family(&labels(plugin, []))?)?;
        }
        let help = "Log lines of plugins over 100 a second";
        let name = "tidegate_plugin_log_lines_dropped";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (plugin, state) in &all {
            let count = ConstCounter::new(state.lines.dropped());
            count.encode(family.encode_family(&labels(plugin, []))?)?;
        }
        Ok(())
    }
}

fn labels<const N: usize>(plugin: &str, more: [(&str, &str); N]) -> Labels {
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    std::iter::once(own(("plugin", plugin)))
        .chain(more.map(own))
        .collect()
}
