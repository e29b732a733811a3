//! What Prometheus is told of each server: whether it is up, its probes, its comings and goings.

use std::fmt::Error;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::generation::Running;
use super::shared::Shared;
use crate::upstream::{Server, Vitals};

/// Weak: the registry lives in the handle that also holds the state.
pub struct Servers(pub Weak<Shared>);

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Servers")
    }
}

impl Collector for Servers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Some(running) = self.0.upgrade().and_then(|shared| shared.running()) else {
            return Ok(());
        };
        up(&mut encoder, &running)?;
        in_flight(&mut encoder, &running)?;
        probes(&mut encoder, &running)?;
        probe_duration(&mut encoder, &running)?;
        transitions(&mut encoder, &running)?;
        ejections(&mut encoder, &running)?;
        super::places::encode(&mut encoder, &running)
    }
}

fn up(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let help = "1 unless probes or failed requests speak against the server";
    let servers = running.servers.iter().flatten();
    let rows = servers.map(|server| {
        let up = u64::from(server.vitals.is_healthy());
        (labels(server), ConstGauge::new(up))
    });
    family(encoder, ("tidegate_server_up", help, None), rows)
}

fn in_flight(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let help = "Requests at the server that have not ended; in tcp mode connections";
    let rows = running.servers.iter().flatten().map(|server| {
        let now = u64::from(server.inflight());
        (labels(server), ConstGauge::new(now))
    });
    let name = "tidegate_server_requests_in_flight";
    family(encoder, (name, help, None), rows)
}

fn probes(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let results: [(&str, Count); 2] = [
        ("passed", |vitals| &vitals.counts.probes_passed),
        ("failed", |vitals| &vitals.counts.probes_failed),
    ];
    let servers = probed(running);
    counters(
        encoder,
        ("tidegate_server_probes", "Probes"),
        "result",
        &results,
        servers,
    )
}

fn probe_duration(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let name = "tidegate_server_probe_duration_seconds";
    let help = "How long the last probe took";
    let rows = probed(running).filter_map(|server| {
        let took = server.vitals.last_probe()?.took.as_secs_f64();
        Some((labels(server), ConstGauge::new(took)))
    });
    family(encoder, (name, help, None), rows)
}

fn transitions(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let to: [(&str, Count); 2] = [
        ("up", |vitals| &vitals.counts.went_up),
        ("down", |vitals| &vitals.counts.went_down),
    ];
    let what = (
        "tidegate_server_transitions",
        "How often probes found the server up again, or down",
    );
    counters(encoder, what, "to", &to, probed(running))
}

fn ejections(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let why: [(&str, Count); 1] = [("requests", |vitals| &vitals.counts.ejections)];
    let pools = running.config.pools.iter().zip(&running.servers);
    let watched = pools.filter(|(pool, _)| pool.passive.is_some());
    let servers = watched.flat_map(|(_, servers)| servers).map(|s| &**s);
    let what = (
        "tidegate_server_ejections",
        "How often the server was taken out for the requests that it failed",
    );
    counters(encoder, what, "reason", &why, servers)
}

type Count = fn(&Vitals) -> &AtomicU64;

/// A family of counters: for each server one a value of the label.
fn counters<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    label: &'static str,
    values: &[(&'static str, Count)],
    servers: impl Iterator<Item = &'a Server>,
) -> Result<(), Error> {
    let rows = servers.flat_map(|server| {
        let [pool, name] = labels(server);
        values.iter().map(move |(value, count)| {
            let count = count(&server.vitals).load(Relaxed);
            ([pool, name, (label, *value)], ConstCounter::new(count))
        })
    });
    family(encoder, (name, help, None), rows)
}

/// One metric of several things, with the labels that tell them apart.
pub(super) fn family<L: EncodeLabelSet, M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<&Unit>),
    rows: impl Iterator<Item = (L, M)>,
) -> Result<(), Error> {
    let mut family = encoder.encode_descriptor(name, help, unit, M::TYPE)?;
    for (labels, metric) in rows {
        metric.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Of the pools that have probes.
fn probed(running: &Running) -> impl Iterator<Item = &Server> {
    let pools = running.config.pools.iter().zip(&running.servers);
    let probed = pools.filter(|(pool, _)| pool.health.is_some());
    probed
        .flat_map(|(_, servers)| servers)
        .map(|server| &**server)
}

pub fn labels(server: &Server) -> [(&str, &str); 2] {
    let identity = server.identity();
    [("pool", &identity.pool), ("server", &identity.name)]
}
