//! What Prometheus is told of those who wait for a place at a server, and of retries that there was no leave for.

use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::generation::Running;
use crate::config::checked::Pool;
use crate::upstream::{Crew, Server};

pub fn encode(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    limits(encoder, running)?;
    queued_at_servers(encoder, running)?;
    queued_at_pools(encoder, running)?;
    waits(encoder, running)?;
    wait_seconds(encoder, running)?;
    retries_refused(encoder, running)
}

fn limits(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let kind = ConstGauge::new(0u64).metric_type();
    let help = "Requests that a server may have in flight: `max-connections`";
    let mut family = encoder.encode_descriptor("tidegate_server_limit", help, None, kind)?;
    for server in limited(running) {
        let limit = ConstGauge::new(u64::from(server.limit()));
        limit.encode(family.encode_family(&super::servers::labels(server))?)?;
    }
    Ok(())
}

fn queued_at_servers(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let kind = ConstGauge::new(0u64).metric_type();
    let help = "Requests that wait for a place at this very server";
    let name = "tidegate_server_queued_requests";
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for server in limited(running) {
        let length = server.crew().queue.length_at(server.slot());
        let length = ConstGauge::new(length as u64);
        length.encode(family.encode_family(&super::servers::labels(server))?)?;
    }
    Ok(())
}

fn queued_at_pools(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let kind = ConstGauge::new(0u64).metric_type();
    let help = "Requests that wait for a place at any server of the pool";
    let name = "tidegate_pool_queued_requests";
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (pool, crew) in queueing(running) {
        let length = ConstGauge::new(crew.queue.length() as u64);
        length.encode(family.encode_family(&[("pool", pool.name.as_str())])?)?;
    }
    Ok(())
}

fn waits(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let kind = ConstCounter::new(0u64).metric_type();
    let help = "Requests that have waited for a place, in vain or not";
    let mut family = encoder.encode_descriptor("tidegate_pool_queue_waits", help, None, kind)?;
    for (pool, crew) in queueing(running) {
        let count = ConstCounter::new(crew.queue.waits().0);
        count.encode(family.encode_family(&[("pool", pool.name.as_str())])?)?;
    }
    Ok(())
}

fn wait_seconds(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let kind = ConstCounter::new(0.0).metric_type();
    let (name, help) = (
        "tidegate_pool_queue_wait",
        "How long they have waited, all together",
    );
    let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
    for (pool, crew) in queueing(running) {
        let time = ConstCounter::new(crew.queue.waits().1.as_secs_f64());
        time.encode(family.encode_family(&[("pool", pool.name.as_str())])?)?;
    }
    Ok(())
}

fn retries_refused(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let kind = ConstCounter::new(0u64).metric_type();
    let help = "Attempts that were not made, as `retry-budget` was used up";
    let mut family = encoder.encode_descriptor("tidegate_retries_refused", help, None, kind)?;
    for (pool, crew) in crews(running).filter(|(pool, _)| pool.retry.budget.is_some()) {
        let count = ConstCounter::new(crew.retries_refused());
        count.encode(family.encode_family(&[("pool", pool.name.as_str())])?)?;
    }
    Ok(())
}

fn limited(running: &Running) -> impl Iterator<Item = &Server> {
    let servers = running.servers.iter().flatten().map(|server| &**server);
    servers.filter(|server| server.limit() > 0)
}

fn queueing(running: &Running) -> impl Iterator<Item = (&Pool, &Crew)> {
    let limited = |pool: &Pool| pool.servers.iter().any(|server| server.max_connections > 0);
    crews(running).filter(move |(pool, _)| limited(pool))
}

fn crews(running: &Running) -> impl Iterator<Item = (&Pool, &Crew)> {
    let pools = running.config.pools.iter().zip(&running.servers);
    pools.filter_map(|(pool, servers)| Some((pool, &**servers.first()?.crew())))
}
