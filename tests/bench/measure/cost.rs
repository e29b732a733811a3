//! CPU time per request.

use std::time::Instant;

use super::{Place, Sample};
use crate::load::wrk::Load;
use crate::load::{h2load, handshakes, wrk};

/// `fresh`: each request comes on a connection of its own.
pub fn sample(place: &Place, connections: u32, path: &str, fresh: bool) -> Result<Sample, String> {
    let seconds = place.bench.seconds;
    let run = |seconds| load(place, connections, path, fresh, seconds);
    of(place, || run(1), |_| run(seconds))
}

/// Over HTTP/2, with so many streams at a time on each connection.
pub fn sample_of_streams(
    place: &Place,
    (connections, streams): (u32, u32),
    path: &str,
) -> Result<Sample, String> {
    let (port, cpu) = (place.proxy.port(), place.bench.cpus.load());
    let host = place.proxy.http2_host();
    let run = |requests| h2load::run(host, port, path, (connections, streams), requests, cpu);
    of(
        place,
        || run(WARM_REQUESTS),
        |rate| run(((rate * f64::from(place.bench.seconds)) as u64).max(WARM_REQUESTS)),
    )
}

/// Some second's worth.
const WARM_REQUESTS: u64 = 20_000;

/// A second of load, or so, before anything is counted: connections to servers are made in it, and memory is touched. The load that
/// counts is told how many requests a second that was.
fn of(
    place: &Place,
    warm: impl FnOnce() -> Result<Load, String>,
    load: impl FnOnce(f64) -> Result<Load, String>,
) -> Result<Sample, String> {
    let begun = Instant::now();
    let rate = warm()?.requests as f64 / begun.elapsed().as_secs_f64();
    let accepted = place.origin.accepted()?;
    let (begun, before) = (Instant::now(), place.proxy.running.cpu_ns());
    let load = load(rate)?;
    let took = begun.elapsed().as_secs_f64();
    let spent = place.proxy.running.cpu_ns() - before;
    // Asking for it is a connection too.
    let opened = place.origin.accepted()? - accepted - 1;
    let requests = load.requests as f64;
    Ok(Sample {
        figure: spent as f64 / 1e3 / requests,
        details: vec![
            ("requests_per_second", requests / took),
            ("opened_per_1000", opened as f64 * 1e3 / requests),
        ],
        failures: load.failures,
    })
}

fn load(
    place: &Place,
    connections: u32,
    path: &str,
    fresh: bool,
    seconds: u32,
) -> Result<Load, String> {
    let (port, cpu) = (place.proxy.port(), place.bench.cpus.load());
    let authority = place.proxy.authority();
    match authority.filter(|_| fresh) {
        Some(authority) => handshakes::run(&handshakes::Plan {
            port,
            authority,
            path,
            clients: connections,
            seconds,
            cpu,
        }),
        None => {
            let tls = authority.is_some();
            wrk::run(port, wrk::Ask { path, tls }, connections, seconds, cpu)
        }
    }
}
