//! Rounds: every contestant once in each, in turn.

use std::fs;
use std::path::Path;

use crate::contestant::{self, Contestant, Running};
use crate::load;
use crate::scenario::{Kind, Scenario};

/// What one scenario gave.
pub struct Outcome {
    pub scenario: &'static str,
    pub what: &'static str,
    pub unit: &'static str,
    pub rows: Vec<Row>,
    pub skipped: Vec<String>,
}

/// One contestant: a figure a round.
pub struct Row {
    pub name: &'static str,
    pub figures: Vec<f64>,
    pub p99_us: Vec<f64>,
    pub failures: u64,
}

pub fn run(
    scenario: &Scenario,
    rounds: usize,
    seconds: u32,
    proxy: &Path,
) -> Result<Outcome, String> {
    let origin = contestant::origin()?;
    let (present, missing): (Vec<_>, Vec<_>) = Contestant::ALL
        .into_iter()
        .partition(|c| c.missing(scenario.logic).is_none());
    let skipped = missing
        .iter()
        .filter_map(|c| c.missing(scenario.logic))
        .collect();
    let mut rows: Vec<Row> = present
        .iter()
        .map(|c| Row {
            name: c.name(),
            figures: Vec::new(),
            p99_us: Vec::new(),
            failures: 0,
        })
        .collect();
    let unit = match scenario.kind {
        Kind::Throughput { .. } => "CPU µs a request",
        Kind::Idle { .. } => "bytes a connection",
    };
    // Memory does not vary from round to round as time does.
    let rounds = if matches!(scenario.kind, Kind::Idle { .. }) {
        rounds.min(3)
    } else {
        rounds
    };
    for round in 1..=rounds {
        eprintln!("{}: round {round} of {rounds}", scenario.name);
        for (contestant, row) in present.iter().zip(&mut rows) {
            let running = contestant.start(scenario.logic, origin.port, proxy)?;
            one(scenario, &running, seconds, row)?;
        }
    }
    Ok(Outcome {
        scenario: scenario.name,
        what: scenario.what,
        unit,
        rows,
        skipped,
    })
}

fn one(scenario: &Scenario, running: &Running, seconds: u32, row: &mut Row) -> Result<(), String> {
    match scenario.kind {
        Kind::Throughput { connections, path } => {
            load::wrk(running.port, path, connections, 1)?;
            let before = cpu_ns(running);
            let load = load::wrk(running.port, path, connections, seconds)?;
            let spent = cpu_ns(running) - before;
            row.figures.push(spent as f64 / 1e3 / load.requests as f64);
            row.p99_us.push(load.p99_us);
            row.failures += load.failures;
        }
        Kind::Idle { connections } => {
            load::wrk(running.port, "/1k", 16, 1)?;
            let before = resident(running);
            let held = load::idle(running.port, connections)?;
            let grown = resident(running).saturating_sub(before);
            row.figures.push(grown as f64 / held.len() as f64);
        }
    }
    Ok(())
}

/// User and system time of all threads, nanoseconds, as the scheduler counts it.
fn cpu_ns(running: &Running) -> u64 {
    running
        .pids()
        .iter()
        .flat_map(|pid| threads(*pid))
        .filter_map(|path| {
            let text = fs::read_to_string(path.join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

fn threads(pid: u32) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"));
    entries
        .map(|list| list.filter_map(|e| Some(e.ok()?.path())).collect())
        .unwrap_or_default()
}

/// Resident bytes.
fn resident(running: &Running) -> u64 {
    let of = |pid: &u32| -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    running.pids().iter().filter_map(of).sum()
}
