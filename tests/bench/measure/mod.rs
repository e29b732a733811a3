//! Rounds: every contestant once in each, on its own, in an order that changes.

mod cost;
mod latency;
mod memory;
mod order;
mod others;
mod spread;
mod swaps;

use std::time::Duration;

use others::Others;

use crate::contestant::origin::Origin;
use crate::contestant::{Contestant, Program, Proxy};
use crate::figures::median;
use crate::machine::Cpus;
use crate::scenario::{Kind, Scenario, Variant};

/// What all scenarios share.
pub struct Bench {
    pub contestants: Vec<Contestant>,
    pub cpus: Cpus,
    pub rounds: usize,
    /// How long each contestant is measured in each round.
    pub seconds: u32,
}

/// What one scenario gave.
#[derive(Default)]
pub struct Outcome {
    pub rows: Vec<Row>,
    /// Who took no part, and why.
    pub skipped: Vec<String>,
    /// Requests a second that were offered in each round, where that was laid down.
    pub rates: Vec<f64>,
    /// p99 of the origin at that rate, with no proxy between, microseconds.
    pub floors: Vec<f64>,
    /// What other programs had of the processors, for each sample.
    pub others_percent: Vec<f64>,
}

/// One contestant with one variant: a sample a round.
pub struct Row {
    pub proxy: String,
    pub variant: &'static str,
    pub samples: Vec<Sample>,
}

pub struct Sample {
    /// In the scenario's unit.
    pub figure: f64,
    /// What else was seen, by name and unit; the same names in each sample of a scenario.
    pub details: Vec<(&'static str, f64)>,
    pub failures: u64,
}

/// A contestant with a variant.
type Entry<'a> = (&'a Contestant, &'a Variant);

pub fn run(bench: &Bench, scenario: &Scenario) -> Result<Outcome, String> {
    let servers = scenario.variants.iter().map(|v| v.setup.servers).max();
    let origin = Origin::start(servers.unwrap_or(1), &bench.cpus)?;
    let (entries, skipped) = bench.entries(scenario);
    let mut outcome = Outcome {
        rows: entries.iter().map(Row::new).collect(),
        skipped,
        ..Outcome::default()
    };
    for round in 0..scenario.kind.rounds(bench.rounds) {
        eprintln!("{}: round {}", scenario.name, round + 1);
        let rate = rate(bench, &entries, scenario, &origin)?;
        if let Some((rate, floor)) = rate {
            outcome.rates.push(rate);
            outcome.floors.push(floor);
        }
        for at in order::of(entries.len(), round) {
            let (contestant, variant) = entries[at];
            let proxy = contestant.start(&variant.setup, &origin, &bench.cpus)?;
            let place = Place {
                bench,
                proxy: &proxy,
                origin: &origin,
                rate: rate.map_or(0.0, |(rate, _)| rate),
            };
            let others = Others::look(&place);
            let named = |words| format!("{}, {}: {words}", contestant.name, variant.name);
            let sample = place.sample(&scenario.kind, variant).map_err(named)?;
            outcome.others_percent.push(others.percent(&place));
            outcome.rows[at].samples.push(sample);
        }
    }
    Ok(outcome)
}

/// Requests a second that this round offers to all, where the scenario lays that down, and the origin's p99 at that rate.
fn rate(
    bench: &Bench,
    entries: &[Entry],
    scenario: &Scenario,
    origin: &Origin,
) -> Result<Option<(f64, f64)>, String> {
    let connections = match scenario.kind {
        Kind::Latency { connections } | Kind::Swap { connections } => connections,
        _ => return Ok(None),
    };
    // The first: HAProxy where it takes part.
    let Some((contestant, variant)) = entries.first() else {
        return Ok(None);
    };
    let proxy = contestant.start(&variant.setup, origin, &bench.cpus)?;
    let rate = latency::half_of_maximum(&proxy, connections, bench.cpus.load())?;
    let floor = latency::floor(bench, origin, connections, rate)?;
    Ok(Some((rate, floor)))
}

impl Bench {
    fn entries<'a>(&'a self, scenario: &'a Scenario) -> (Vec<Entry<'a>>, Vec<String>) {
        let (mut entries, mut skipped) = (Vec::new(), Vec::new());
        for variant in &scenario.variants {
            for contestant in &self.contestants {
                let peer = contestant.program != Program::Tidegate;
                match contestant.unfit(&variant.setup) {
                    _ if peer && !scenario.peers => {}
                    Some(why) => skipped.push(why),
                    None => entries.push((contestant, variant)),
                }
            }
        }
        (entries, skipped)
    }

    /// How long all of it takes, roughly.
    pub fn estimate(&self, scenarios: &[Scenario]) -> Duration {
        // Start, proof and end of a proxy.
        let around = 1.0;
        let seconds = f64::from(self.seconds);
        let of = |scenario: &Scenario| {
            let (a_round, an_entry) = match scenario.kind {
                Kind::Cost { .. } | Kind::Streams { .. } => (0.0, 1.0 + seconds),
                Kind::Memory { .. } => (0.0, 2.0),
                Kind::Latency { .. } | Kind::Swap { .. } => (4.5 + around, 0.5 + seconds),
                Kind::Spread { .. } => (0.0, 0.2),
            };
            let entries = self.entries(scenario).0.len() as f64;
            let rounds = scenario.kind.rounds(self.rounds) as f64;
            rounds * (a_round + entries * (an_entry + around))
        };
        Duration::from_secs_f64(scenarios.iter().map(of).sum())
    }
}

impl Outcome {
    /// Whether the load sees more than half of the best proxy's p99 without any proxy: ratios of such figures come to 1 by themselves.
    pub fn drowned(&self) -> bool {
        let medians = self.rows.iter().map(|row| median(&row.figures()));
        median(&self.floors) > medians.fold(f64::INFINITY, f64::min) / 2.0
    }

    pub fn row(&self, proxy: &str, variant: &str) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.proxy == proxy && row.variant == variant)
    }
}

impl Row {
    fn new((contestant, variant): &Entry) -> Row {
        Row {
            proxy: contestant.name.clone(),
            variant: variant.name,
            samples: Vec::new(),
        }
    }

    /// One a round.
    pub fn figures(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.figure).collect()
    }

    pub fn failures(&self) -> u64 {
        self.samples.iter().map(|sample| sample.failures).sum()
    }

    /// By name, one a round.
    pub fn details(&self) -> Vec<(&'static str, Vec<f64>)> {
        let names = self.samples.first().map(|sample| &sample.details);
        let of = |name: &'static str| {
            let all = self.samples.iter().flat_map(|sample| &sample.details);
            all.filter(|(own, _)| *own == name)
                .map(|(_, value)| *value)
                .collect()
        };
        names
            .into_iter()
            .flatten()
            .map(|(name, _)| (*name, of(name)))
            .collect()
    }
}

/// A started proxy in its round.
struct Place<'a> {
    bench: &'a Bench,
    proxy: &'a Proxy,
    origin: &'a Origin,
    rate: f64,
}

impl Place<'_> {
    fn sample(&self, kind: &Kind, variant: &Variant) -> Result<Sample, String> {
        match kind {
            Kind::Cost {
                connections,
                path,
                fresh,
            } => cost::sample(self, *connections, path, *fresh),
            Kind::Streams {
                connections,
                streams,
                path,
            } => cost::sample_of_streams(self, (*connections, *streams), path),
            Kind::Memory { connections } => memory::sample(self, *connections),
            Kind::Latency { connections } => latency::sample(self, *connections),
            Kind::Spread { connections } => {
                spread::sample(self, *connections, variant.setup.workers)
            }
            Kind::Swap { connections } => swaps::sample(self, *connections, variant.swap),
        }
    }
}
