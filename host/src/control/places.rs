//! What Prometheus is told of those who wait for a place at a server, and of retries that there was no leave or no room for.

use std::fmt::Error;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::generation::Running;
use super::servers::{family, labels};
use crate::config::checked::Pool;
use crate::upstream::{Crew, Server};

pub fn encode(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    limits(encoder, running)?;
    queued_at_servers(encoder, running)?;
    queued_at_pools(encoder, running)?;
    waits(encoder, running)?;
    wait_seconds(encoder, running)?;
    retries_refused(encoder, running)?;
    bodies_refused(encoder, running)
}

fn limits(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let help = "Requests that a server may have in flight: `max-connections`";
    let rows =
        limited(running).map(|server| (labels(server), ConstGauge::new(u64::from(server.limit()))));
    family(encoder, ("tidegate_server_limit", help, None), rows)
}

fn queued_at_servers(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let help = "Requests that wait for a place at this very server";
    let rows = limited(running).map(|server| {
        let length = server.crew().queue.length_at(server.slot());
        (labels(server), ConstGauge::new(length as u64))
    });
    family(
        encoder,
        ("tidegate_server_queued_requests", help, None),
        rows,
    )
}

fn queued_at_pools(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let help = "Requests that wait for a place at any server of the pool";
    let rows = queueing(running)
        .map(|(pool, crew)| (named(pool), ConstGauge::new(crew.queue.length() as u64)));
    family(encoder, ("tidegate_pool_queued_requests", help, None), rows)
}

fn waits(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let help = "Requests that have waited for a place, in vain or not";
    let rows = queueing(running)
        .map(|(pool, crew)| (named(pool), ConstCounter::new(crew.queue.waits().0)));
    family(encoder, ("tidegate_pool_queue_waits", help, None), rows)
}

fn wait_seconds(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let help = "How long they have waited, all together";
    let rows = queueing(running).map(|(pool, crew)| {
        let time = crew.queue.waits().1.as_secs_f64();
        (named(pool), ConstCounter::new(time))
    });
    let name = "tidegate_pool_queue_wait";
    family(encoder, (name, help, Some(&Unit::Seconds)), rows)
}

fn retries_refused(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let help = "Attempts that were not made, as `retry-budget` was used up";
    let budgeted = crews(running).filter(|(pool, _)| pool.retry.budget.is_some());
    let rows =
        budgeted.map(|(pool, crew)| (named(pool), ConstCounter::new(crew.retries_refused())));
    family(encoder, ("tidegate_retries_refused", help, None), rows)
}

fn bodies_refused(encoder: &mut DescriptorEncoder<'_>, running: &Running) -> Result<(), Error> {
    let help = "Bodies that were not kept for another attempt, as `retry-bodies` was used up";
    let keeping = crews(running).filter(|(pool, _)| pool.retry.body > 0);
    let rows = keeping.map(|(pool, crew)| (named(pool), ConstCounter::new(crew.bodies_refused())));
    let name = "tidegate_retry_bodies_refused";
    family(encoder, (name, help, None), rows)
}

fn named(pool: &Pool) -> [(&str, &str); 1] {
    [("pool", pool.name.as_str())]
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
