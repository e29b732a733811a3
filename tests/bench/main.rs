//! Measures Tidegate against its peers, HAProxy and nginx as Debian has them, and against other builds of itself.
//!
//! What counts is a ratio within a round, never an absolute figure: contestants take turns on the same processor, each round in
//! another order, so that a machine that slows down slows them all. README.md beside this file tells how to read the table.
//! Every run is bounded in time and talks to loopback addresses only.
//!
//! `scenario` says what is measured and which goals it has, `contestant` how each proxy is set up, `load` and `measure` how a
//! figure comes about, `report` and `table` what is made of the figures. A new scenario is an entry in `scenario::all`; one that
//! needs another protocol is a field of `Setup` and a load beside the others.

mod contestant;
mod figures;
mod goal;
mod load;
mod machine;
mod measure;
mod options;
mod process;
mod report;
mod scenario;
mod soak;
mod table;

use std::path::Path;
use std::process::ExitCode;

use contestant::origin;
use machine::Cpus;
use measure::Bench;
use options::Options;
use report::Report;
use scenario::Scenario;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((role, words)) if role == origin::ROLE => origin::serve(words),
        _ => Options::parse(words.into_iter()).and_then(|options| run(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("bench: {words}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if options.list {
        scenario::all()
            .iter()
            .for_each(|scenario| println!("{:14} {}", scenario.name, scenario.what));
        return Ok(());
    }
    machine::raise_file_limit();
    if let Some(seconds) = options.soak {
        return soak::run(&options.proxies[0], seconds);
    }
    let chosen = scenario::chosen(&options.only)?;
    let (contestants, missing) = contestant::all(options)?;
    let bench = Bench {
        contestants,
        cpus: Cpus::found()?,
        rounds: options.rounds,
        seconds: options.seconds,
    };
    let mut report = Report::new(&bench, &missing);
    let minutes = bench.estimate(&chosen).as_secs().div_ceil(60);
    println!("{minutes} minutes at most, roughly");
    let failed = measured(&bench, &chosen, &mut report);
    report.close(Path::new("tests/bench/out/result.json"))?;
    match failed {
        0 => Ok(()),
        count => Err(format!("{count} scenarios could not be measured")),
    }
}

/// One that fails does not take the others along. Answers how many failed.
fn measured(bench: &Bench, scenarios: &[Scenario], report: &mut Report) -> usize {
    let mut failed = 0;
    for scenario in scenarios {
        match measure::run(bench, scenario) {
            Ok(outcome) => report.add(scenario, &outcome),
            Err(words) => {
                failed += 1;
                report.failed(scenario, &words);
            }
        }
    }
    failed
}
