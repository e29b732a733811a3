//! Latency at a rate that all are offered alike.

use std::time::Duration;

use super::{Place, Sample};
use crate::contestant::Proxy;
use crate::figures::quantile;
use crate::load::paced::{self, Paced, Plan};
use crate::load::wrk;

pub const WARM: Duration = Duration::from_millis(500);

pub fn sample(place: &Place, connections: u32) -> Result<Sample, String> {
    Ok(told(&paced::run(&plan(place, connections))?))
}

/// Half of what the proxy can do, in requests a second.
pub fn half_of_maximum(proxy: &Proxy, connections: u32, cpu: usize) -> Result<f64, String> {
    wrk::run(proxy.port(), "/1k", connections, 1, cpu)?;
    let load = wrk::run(proxy.port(), "/1k", connections, 2, cpu)?;
    match load.requests {
        0 => Err("no request was answered, so that there is no rate".into()),
        requests => Ok(requests as f64 / 2.0 / 2.0),
    }
}

pub fn plan(place: &Place, connections: u32) -> Plan<'static> {
    Plan {
        port: place.proxy.port(),
        path: "/1k",
        connections,
        rate: place.rate,
        warm: WARM,
        time: Duration::from_secs(u64::from(place.bench.seconds)),
        cpu: place.bench.cpus.load(),
    }
}

pub fn told(paced: &Paced) -> Sample {
    let at = |share| quantile(&paced.latencies_us, share);
    Sample {
        figure: at(0.99),
        details: vec![("p50_us", at(0.5)), ("p99.9_us", at(0.999))],
        failures: paced.failures,
    }
}
