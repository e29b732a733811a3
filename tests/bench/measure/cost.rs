//! CPU time per request.

use super::{Place, Sample};
use crate::load::wrk;

/// A second of load before anything is counted: connections to servers are made in it, and memory is touched.
pub fn sample(place: &Place, connections: u32, ask: wrk::Ask<'_>) -> Result<Sample, String> {
    let (port, cpu) = (place.proxy.port(), place.bench.cpus.load());
    let seconds = place.bench.seconds;
    wrk::run(port, ask, connections, 1, cpu)?;
    let accepted = place.origin.accepted()?;
    let before = place.proxy.running.cpu_ns();
    let load = wrk::run(port, ask, connections, seconds, cpu)?;
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
