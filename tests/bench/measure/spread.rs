//! How evenly connections are spread over workers.

use std::time::Duration;

use tidegate_tests::within;

use super::{Place, Sample};
use crate::load::held;

pub fn sample(place: &Place, connections: u32, workers: u32) -> Result<Sample, String> {
    let held = held::at_once(place.proxy.port(), connections)?;
    let mut last = Vec::new();
    // Counters may follow the connections by a moment; earlier connections of ours may be going.
    let counted = within(PATIENCE, || {
        last = match place.proxy.spread(workers) {
            Ok(spread) => spread,
            Err(words) => return Some(Err(words)),
        };
        (last.iter().sum::<u64>() == held.len() as u64).then_some(Ok(()))
    });
    counted.unwrap_or_else(|| Err(format!("{connections} connections became {last:?}")))?;
    let busiest = last.iter().copied().max().unwrap_or(0);
    Ok(Sample {
        figure: busiest as f64 / held.len() as f64,
        details: vec![],
        failures: 0,
    })
}

const PATIENCE: Duration = Duration::from_secs(5);
