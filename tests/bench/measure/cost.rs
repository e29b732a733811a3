//! CPU time per request.

use super::{Place, Sample};
use crate::load::{handshakes, wrk};

/// A second of load before anything is counted: connections to servers are made in it, and memory is touched. `fresh`: each
/// request comes on a connection of its own.
pub fn sample(place: &Place, connections: u32, path: &str, fresh: bool) -> Result<Sample, String> {
    let seconds = place.bench.seconds;
    load(place, connections, path, fresh, 1)?;
    let accepted = place.origin.accepted()?;
    let before = place.proxy.running.cpu_ns();
    let load = load(place, connections, path, fresh, seconds)?;
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
) -> Result<wrk::Load, String> {
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
