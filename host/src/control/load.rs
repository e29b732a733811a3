//! What the worker threads take of the processors, as the kernel counts it (`/proc/self/task/*/schedstat`): a worker that is busy
//! all the time carries what it can, and one that waits for a processor has to share it.

use std::fmt::Error;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

use super::servers::family;

/// By worker: time on a processor, and time in which it could have been, but had none. Empty where the kernel doesn't count it.
fn of_workers() -> Vec<(usize, Duration, Duration)> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let one = |task: std::io::Result<fs::DirEntry>| {
        let task = task.ok()?.path();
        let name = fs::read_to_string(task.join("comm")).ok()?;
        let worker = name.trim_end().strip_prefix("worker-")?.parse().ok()?;
        let (ran, waited) = times(&fs::read_to_string(task.join("schedstat")).ok()?)?;
        Some((worker, ran, waited))
    };
    let mut all: Vec<_> = tasks.filter_map(one).collect();
    all.sort_unstable();
    all
}

/// Two of its three numbers, which are nanoseconds.
fn times(schedstat: &str) -> Option<(Duration, Duration)> {
    let mut numbers = schedstat.split_whitespace().map_while(|n| n.parse().ok());
    let (ran, waited) = (numbers.next()?, numbers.next()?);
    Some((Duration::from_nanos(ran), Duration::from_nanos(waited)))
}

#[derive(Debug)]
pub struct Load;

impl Collector for Load {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let all = of_workers();
        let help = "Time that the worker was on a processor; a second a second is all there is";
        let what = ("tidegate_worker_cpu", help, Some(&Unit::Seconds));
        let rows = all.iter().map(|(worker, ran, _)| (worker, ran));
        seconds(&mut encoder, what, rows)?;
        let help = "Time that the worker had something to do, and no processor to do it on";
        let what = ("tidegate_worker_cpu_wait", help, Some(&Unit::Seconds));
        let rows = all.iter().map(|(worker, _, waited)| (worker, waited));
        seconds(&mut encoder, what, rows)
    }
}

fn seconds<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    what: (&str, &str, Option<&Unit>),
    rows: impl Iterator<Item = (&'a usize, &'a Duration)>,
) -> Result<(), Error> {
    let rows = rows.map(|(worker, time)| {
        let labels = [("worker", worker.to_string())];
        (labels, ConstCounter::new(time.as_secs_f64()))
    });
    family(encoder, what, rows)
}

/// How much of the time the workers have had nothing to do (HAProxy's `Idle_pct`), of late.
#[derive(Default)]
pub struct Idle(Mutex<Option<Seen>>);

struct Seen {
    at: Instant,
    ran: Duration,
    percent: u32,
}

impl Idle {
    /// To be called about once a second.
    pub fn tick(&self) {
        let all = of_workers();
        let at = Instant::now();
        let ran: Duration = all.iter().map(|(_, ran, _)| *ran).sum();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let percent = seen.as_ref().map_or(100, |before| {
            let passed = (at - before.at).as_secs_f64() * all.len().max(1) as f64;
            let busy: f64 = ran.saturating_sub(before.ran).as_secs_f64() / passed.max(1e-9);
            (100.0 - 100.0 * busy).clamp(0.0, 100.0).round() as u32
        });
        *seen = Some(Seen { at, ran, percent });
    }

    pub fn percent(&self) -> u32 {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().map_or(100, |seen| seen.percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedstat_has_nanoseconds() {
        let told = times("1500000000 250000000 7\n");
        let expected = (Duration::from_millis(1500), Duration::from_millis(250));
        assert_eq!(told, Some(expected));
        assert_eq!(times("nonsense"), None);
    }
}
