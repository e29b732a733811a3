//! Measures Tidegate against its peers: HAProxy and nginx as Debian has them.
//!
//! The figure that counts is the proxy's CPU time per request, as a ratio to HAProxy's in the same round. The proxy is
//! pinned to one processor, load and origin to another; contestants take turns within a round, so that a machine that
//! slows down slows them all. Every run is bounded in time and talks to 127.0.0.1 only.

mod contestant;
mod load;
mod measure;
mod report;
mod scenario;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("bench: {words}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    proxy: PathBuf,
    rounds: usize,
    seconds: u32,
    only: Vec<String>,
    list: bool,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            proxy: "target/dist/tidegate".into(),
            rounds: 9,
            seconds: 3,
            only: Vec::new(),
            list: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--proxy" => options.proxy = value()?.into(),
                "--rounds" => options.rounds = bounded(&value()?, 1, 100)?,
                "--seconds" => options.seconds = bounded(&value()?, 1, 30)? as u32,
                "--list" => options.list = true,
                flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}")),
                name => options.only.push(name.to_owned()),
            }
        }
        Ok(options)
    }
}

fn bounded(word: &str, least: usize, most: usize) -> Result<usize, String> {
    word.parse()
        .ok()
        .filter(|n| (least..=most).contains(n))
        .ok_or(format!("{word}: a number from {least} to {most} is meant"))
}

fn run(options: &Options) -> Result<(), String> {
    let all = scenario::all();
    if options.list {
        all.iter()
            .for_each(|scenario| println!("{:14} {}", scenario.name, scenario.what));
        return Ok(());
    }
    if let Some(unknown) = options
        .only
        .iter()
        .find(|name| !all.iter().any(|s| s.name == **name))
    {
        return Err(format!("there is no scenario {unknown}; --list shows them"));
    }
    let chosen = all
        .iter()
        .filter(|s| options.only.is_empty() || options.only.iter().any(|n| n == s.name));
    let mut report = report::Report::new();
    for scenario in chosen {
        report.add(measure::run(
            scenario,
            options.rounds,
            options.seconds,
            &options.proxy,
        )?);
    }
    report.save(PathBuf::from("tests/bench/out/result.json"))
}
