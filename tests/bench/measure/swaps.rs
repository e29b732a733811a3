//! Latency and failures while a plugin on the path is swapped.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use tidegate_tests::variant;

use super::{Place, Sample, latency};
use crate::contestant::{own_plugin, swap};
use crate::figures::{median, most};
use crate::load::paced;
use crate::machine;
use crate::scenario::Swap;

const EVERY: Duration = Duration::from_millis(100);

/// A swap that is refused is a failure as a request is.
pub fn sample(place: &Place, connections: u32, kind: Swap) -> Result<Sample, String> {
    let plan = latency::plan(place, connections);
    let over = AtomicBool::new(false);
    let (paced, swapped) = std::thread::scope(|scope| {
        let swapping = scope.spawn(|| swap_until(&over, place, kind));
        let paced = paced::run(&plan);
        over.store(true, Relaxed);
        (paced, swapping.join().expect("swapping does not panic"))
    });
    let mut sample = latency::told(&paced?, place.rate);
    let Swapped { times, refused } = swapped?;
    sample.failures += refused;
    if !times.is_empty() {
        sample.details.extend([
            ("swaps", times.len() as f64),
            ("swap_ms", median(&times)),
            ("longest_swap_ms", most(&times)),
        ]);
    }
    Ok(sample)
}

#[derive(Default)]
struct Swapped {
    /// How long each took, milliseconds.
    times: Vec<f64>,
    refused: u64,
}

/// A swap that is due while another is under way is left out.
fn swap_until(over: &AtomicBool, place: &Place, kind: Swap) -> Result<Swapped, String> {
    machine::pin(place.bench.cpus.load())?;
    let (wasm, mut swapped, start) = (own_plugin()?, Swapped::default(), Instant::now());
    // Another number in each run, so that no cache of compiled plugins has seen it.
    let unseen = SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_nanos() as u32;
    for turn in 1.. {
        let number = match kind {
            Swap::None => break,
            Swap::Known => turn % 2,
            Swap::Fresh => unseen.wrapping_add(turn),
        };
        let due = start + EVERY * turn;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if over.load(Relaxed) {
            break;
        }
        if due.elapsed() > EVERY {
            continue;
        }
        let begun = Instant::now();
        match swap(place.proxy.admin().address(), &variant(&wasm, number)) {
            Ok(()) => swapped.times.push(begun.elapsed().as_secs_f64() * 1e3),
            Err(words) => {
                eprintln!("{words}");
                swapped.refused += 1;
            }
        }
    }
    Ok(swapped)
}
