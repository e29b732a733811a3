//! CPU time per request.

use super::{Place, Sample};
use crate::load::wrk::Load;
use crate::load::{h2load, handshakes, wrk};

/// `fresh`: each request comes on a connection of its own.
pub fn sample(place: &Place, connections: u32, path: &str, fresh: bool) -> Result<Sample, String> {
    of(place, |seconds| {
        load(place, connections, path, fresh, seconds)
    })
}

/// Over HTTP/2, with so many streams at a time on each connection.
pub fn sample_of_streams(
    place: &Place,
    (connections, streams): (u32, u32),
    path: &str,
) -> Result<Sample, String> {
    let (port, cpu) = (place.proxy.port(), place.bench.cpus.load());
    let host = place.proxy.http2_host();
    of(place, |seconds| {
        h2load::run(host, port, path, (connections, streams), seconds, cpu)
    })
}

/// A second of load before anything is counted: connections to servers are made in it, and memory is touched.
fn of(place: &Place, load: impl Fn(u32) -> Result<Load, String>) -> Result<Sample, String> {
    let seconds = place.bench.seconds;
    load(1)?;
    let accepted = place.origin.accepted()?;
    let before = place.proxy.running.cpu_ns();
    let load = load(seconds)?;
    let spent = place.proxy.running.cpu_ns() - before;
    // Asking for it is a connection too.
    let opened = place.origin.accepted()? - accepted - 1;
    let requests = load.requests as f64;
    Ok(Sample {
        figure: spent as f64 / 1e3 / requests,
        details: vec![
            ("requests_per_second", requests / f64::from(seconds)),
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
