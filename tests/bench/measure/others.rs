//! How much of the processors other programs had meanwhile. They take turns with what is measured, which makes it slower and
//! its caches colder: a figure that others had a hand in says so.

use std::fs;
use std::time::Instant;

use super::Place;

/// A look at the clocks, for a later one to be held against.
pub struct Others {
    at: Instant,
    busy_ns: u64,
    own_ns: u64,
}

impl Others {
    pub fn look(place: &Place) -> Others {
        Others {
            at: Instant::now(),
            busy_ns: busy_ns(&place.bench.cpus.in_use()),
            own_ns: place.proxy.running.cpu_ns() + place.origin.running.cpu_ns() + bench_ns(),
        }
    }

    /// Since this look, in percent of the processors that the bench uses.
    pub fn percent(&self, place: &Place) -> f64 {
        let now = Others::look(place);
        let processors = place.bench.cpus.in_use().len() as f64;
        let busy = now.busy_ns.saturating_sub(self.busy_ns);
        let own = now.own_ns.saturating_sub(self.own_ns);
        let elapsed = (now.at - self.at).as_nanos() as f64 * processors;
        busy.saturating_sub(own) as f64 / elapsed * 100.0
    }
}

/// The kernel tells times to programs in hundredths of a second on all Linux that there is (`USER_HZ`).
const TICK_NS: u64 = 10_000_000;

/// User, nice, system, and what a hypervisor took.
fn busy_ns(cpus: &[usize]) -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let of = |cpu: &usize| {
        let name = format!("cpu{cpu} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&*name))?;
        let times: Vec<u64> = numbers(line);
        Some(
            [0, 1, 2, 7]
                .iter()
                .filter_map(|at| times.get(*at))
                .sum::<u64>()
                * TICK_NS,
        )
    };
    cpus.iter().filter_map(of).sum()
}

/// Of this process, and of the loads that it started and that have ended.
fn bench_ns() -> u64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in parentheses; utime, stime, cutime and cstime are the 14th to 17th of all (proc_pid_stat(5)).
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    let fields: Vec<&str> = after.split_whitespace().collect();
    let times = fields.get(11..15).unwrap_or_default();
    numbers(&times.join(" ")).iter().sum::<u64>() * TICK_NS
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}
