//! Latency at a rate that all are offered alike.

use std::time::Duration;

use super::{Bench, Place, Sample};
use crate::contestant::Proxy;
use crate::contestant::origin::Origin;
use crate::figures::{median, quantile};
use crate::load::paced::{self, Paced, Plan};
use crate::load::wrk;

const WARM: Duration = Duration::from_millis(500);
const GRACE: Duration = Duration::from_secs(2);

pub fn sample(place: &Place, connections: u32) -> Result<Sample, String> {
    let paced = paced::run(&plan(place, connections))?;
    Ok(told(&paced, place.rate))
}

/// What the load sees of the origin with no proxy between, at that rate: this much of a p99 is the machine's.
pub fn floor(bench: &Bench, origin: &Origin, connections: u32, rate: f64) -> Result<f64, String> {
    let plan = Plan {
        port: origin.running.port().number(),
        path: "/1k",
        connections,
        rate,
        warm: WARM,
        time: Duration::from_secs(1),
        grace: GRACE,
        cpu: bench.cpus.load(),
    };
    Ok(told(&paced::run(&plan)?, rate).figure)
}

/// Half of what the proxy can do, in requests a second.
pub fn half_of_maximum(proxy: &Proxy, connections: u32, cpu: usize) -> Result<f64, String> {
    wrk::run(proxy.port(), wrk::Ask::plain("/1k"), connections, 1, cpu)?;
    let load = wrk::run(proxy.port(), wrk::Ask::plain("/1k"), connections, 2, cpu)?;
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
        grace: GRACE,
        cpu: place.bench.cpus.load(),
    }
}

pub fn told(paced: &Paced, rate: f64) -> Sample {
    let sorted = sorted(&paced.latencies_us);
    Sample {
        figure: quantile(&sorted, 0.99),
        details: vec![
            ("p50_us", quantile(&sorted, 0.5)),
            ("p99.9_us", quantile(&sorted, 0.999)),
            ("calm_p99_us", calm_p99(&paced.latencies_us, rate)),
            ("unsent", paced.unsent as f64),
        ],
        failures: paced.failures,
    }
}

/// The median of the p99 of each quarter of a second. A machine that stands still for a moment spoils one or two of them, and the
/// p99 of the whole.
fn calm_p99(latencies_us: &[f64], rate: f64) -> f64 {
    let quarter = (rate / 4.0).max(1.0) as usize;
    let p99s: Vec<f64> = latencies_us
        .chunks(quarter)
        .map(|window| quantile(&sorted(window), 0.99))
        .collect();
    median(&p99s)
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stall_spoils_the_p99_and_not_the_calm_one() {
        // Two seconds at 400 a second, with a stall of 50 ms.
        let mut latencies_us = vec![200.0; 800];
        latencies_us[300..320].fill(40_000.0);
        let paced = Paced {
            latencies_us,
            failures: 0,
            unsent: 0,
        };
        let sample = told(&paced, 400.0);
        assert_eq!(sample.figure, 40_000.0);
        assert!(sample.details.contains(&("calm_p99_us", 200.0)));
    }
}
