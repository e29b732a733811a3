//! What is made of the figures: ratios within rounds, what became of the goals, and all of it as JSON. `table` prints it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::figures::{least, median, most, ratios};
use crate::goal::{Goal, Judged};
use crate::machine;
use crate::measure::{Bench, Outcome, Row};
use crate::scenario::Scenario;
use crate::table;

pub struct Report {
    head: Value,
    scenarios: Vec<Value>,
    judged: Vec<Judged>,
}

/// What rows are held against.
pub enum Base<'a> {
    /// Another contestant, with the same variant.
    Contestant(&'a str),
    /// The same contestant, with another variant.
    Variant(&'a str),
}

impl Report {
    /// Prints who takes part, and where.
    pub fn new(bench: &Bench, missing: &[String]) -> Report {
        let machine = machine::words();
        println!("{machine}\n{}", bench.cpus.words());
        for contestant in &bench.contestants {
            println!("{:10} {}", contestant.name, contestant.version);
        }
        missing.iter().for_each(|words| println!("{words}"));
        println!("{} rounds of {} s", bench.rounds, bench.seconds);
        let contestants: Vec<Value> = bench
            .contestants
            .iter()
            .map(|c| json!({ "name": c.name, "version": c.version }))
            .collect();
        Report {
            head: json!({
                "machine": machine, "processors": bench.cpus.words(), "rounds": bench.rounds, "seconds": bench.seconds,
                "contestants": contestants, "missing": missing,
            }),
            scenarios: Vec::new(),
            judged: Vec::new(),
        }
    }

    pub fn add(&mut self, scenario: &Scenario, outcome: &Outcome) {
        let bases = bases(scenario, outcome);
        let judged = judged(scenario, outcome);
        table::print(scenario, outcome, &bases, &judged);
        let rows = outcome.rows.iter();
        let rows: Vec<Value> = rows.map(|row| row_json(row, outcome, &bases)).collect();
        let goals: Vec<Value> = judged.iter().map(Judged::json).collect();
        self.scenarios.push(json!({
            "scenario": scenario.name,
            "what": scenario.what,
            "unit": scenario.kind.unit(),
            "offered_per_second": outcome.rates,
            "p99_without_proxy_us": outcome.floors,
            "others_percent": outcome.others_percent,
            "rows": rows,
            "goals": goals,
            "skipped": outcome.skipped,
        }));
        self.judged.extend(judged);
    }

    pub fn failed(&mut self, scenario: &Scenario, words: &str) {
        println!(
            "\n{}: {}\n  not measured: {words}",
            scenario.name, scenario.what
        );
        self.scenarios
            .push(json!({ "scenario": scenario.name, "what": scenario.what, "error": words }));
    }

    /// Prints the sum of the goals and writes the JSON.
    pub fn close(self, path: &Path) -> Result<(), String> {
        let count = |met| self.judged.iter().filter(|j| j.met() == met).count();
        println!(
            "\ngoals: {} met, {} missed, {} not judged",
            count(Some(true)),
            count(Some(false)),
            count(None)
        );
        for missed in self.judged.iter().filter(|j| j.met() == Some(false)) {
            println!("  {}", missed.words());
        }
        let mut all = self.head;
        all["scenarios"] = self.scenarios.into();
        let text = serde_json::to_string_pretty(&all).map_err(|e| e.to_string())?;
        let folder = path.parent().ok_or("a file in a folder is meant")?;
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(path, text))
            .map_err(|e| format!("{}: {e}", path.display()))
    }
}

/// The peers and other builds, and the first of several variants.
fn bases<'a>(scenario: &Scenario, outcome: &'a Outcome) -> Vec<Base<'a>> {
    let mut names: Vec<&str> = Vec::new();
    for row in &outcome.rows {
        if row.proxy != "tidegate" && !names.contains(&row.proxy.as_str()) {
            names.push(&row.proxy);
        }
    }
    let mut bases: Vec<Base> = names.into_iter().map(Base::Contestant).collect();
    if let [first, _, ..] = scenario.variants.as_slice() {
        bases.push(Base::Variant(first.name));
    }
    bases
}

impl<'a> Base<'a> {
    pub fn name(&self) -> &'a str {
        match self {
            Base::Contestant(name) | Base::Variant(name) => name,
        }
    }

    /// What this row is held against.
    pub fn of<'b>(&self, outcome: &'b Outcome, row: &Row) -> Option<&'b Row> {
        match self {
            Base::Contestant(name) => outcome.row(name, row.variant),
            Base::Variant(name) => outcome.row(&row.proxy, name),
        }
    }
}

fn judged(scenario: &Scenario, outcome: &Outcome) -> Vec<Judged> {
    let of = |(goal, row): (&Goal, &Row)| goal.judge(outcome, row);
    scenario
        .variants
        .iter()
        .filter_map(|variant| Some((variant, outcome.row("tidegate", variant.name)?)))
        .flat_map(|(variant, row)| variant.goals.iter().map(move |goal| (goal, row)))
        .map(of)
        .collect()
}

fn row_json(row: &Row, outcome: &Outcome, bases: &[Base]) -> Value {
    let figures = row.figures();
    let ratios: serde_json::Map<String, Value> = bases
        .iter()
        .filter_map(|base| Some((base.name(), base.of(outcome, row)?)))
        .map(|(name, base)| {
            let all = ratios(&figures, &base.figures());
            let told = json!({ "median": median(&all), "least": least(&all), "most": most(&all), "rounds": all });
            (name.to_owned(), told)
        })
        .collect();
    let details: serde_json::Map<String, Value> = row
        .details()
        .into_iter()
        .map(|(name, values)| (name.to_owned(), json!(values)))
        .collect();
    json!({
        "variant": row.variant, "proxy": row.proxy, "median": median(&figures), "rounds": figures, "ratios": ratios,
        "details": details, "failures": row.failures(),
    })
}
