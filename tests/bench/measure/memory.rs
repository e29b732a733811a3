//! Resident memory for each idle connection.

use super::{Place, Sample};
use crate::load::{held, wrk};

/// After a second of load, so that what the proxy needs at all is there already.
pub fn sample(place: &Place, connections: u32) -> Result<Sample, String> {
    let port = place.proxy.port();
    wrk::run(port, wrk::Ask::plain("/1k"), 16, 1, place.bench.cpus.load())?;
    let before = place.proxy.running.resident();
    let held = held::in_turn(port, connections)?;
    let grown = place.proxy.running.resident().saturating_sub(before);
    Ok(Sample {
        figure: grown as f64 / held.len() as f64,
        details: vec![("resident_before_kb", before as f64 / 1024.0)],
        failures: 0,
    })
}
