//! The table: a block for each scenario, as soon as it is measured.

use crate::figures::{least, median, most, ratios};
use crate::goal::Judged;
use crate::measure::{Outcome, Row};
use crate::report::Base;
use crate::scenario::Scenario;

pub fn print(scenario: &Scenario, outcome: &Outcome, bases: &[Base], judged: &[Judged]) {
    println!("\n{}: {}", scenario.name, scenario.what);
    println!("{}", scenario.kind.unit());
    if !outcome.rates.is_empty() {
        println!(
            "{:.0} requests a second offered; with no proxy between, p99 {} ({}..{})",
            median(&outcome.rates),
            shown(median(&outcome.floors)),
            shown(least(&outcome.floors)),
            shown(most(&outcome.floors))
        );
    }
    header(bases);
    for row in &outcome.rows {
        row_line(row, outcome, bases);
    }
    for why in &outcome.skipped {
        println!("  skipped: {why}");
    }
    for words in doubts(outcome) {
        println!("  note: {words}");
    }
    for judged in judged {
        println!("  goal: {}", judged.words());
    }
}

/// Why this run says less than it seems to.
fn doubts(outcome: &Outcome) -> Vec<String> {
    let mut doubts = Vec::new();
    let others = median(&outcome.others_percent);
    if others > QUIET {
        doubts.push(format!(
            "other programs had {others:.0} % of the processors: latencies say little, costs are too high"
        ));
    }
    if outcome.drowned() {
        doubts.push("with no proxy between, p99 is more than half of the best proxy's: it is the machine's more than theirs".into());
    }
    let reopening = outcome.rows.iter().filter(|row| reopened(row));
    doubts.extend(
        reopening.map(|row| format!("{} does not keep its connections to servers", row.proxy)),
    );
    doubts
}

/// Percent of the processors; a machine that does nothing else has one or two.
const QUIET: f64 = 5.0;

const NAME: usize = 14;
const RATIO: usize = 19;

fn header(bases: &[Base]) {
    print!("  {:NAME$} {:10} {:>9}", "", "proxy", "median");
    for base in bases {
        print!(" {:>RATIO$}", format!("/ {}", base.name()));
    }
    println!(" {:>6}", "failed");
}

fn row_line(row: &Row, outcome: &Outcome, bases: &[Base]) {
    let figures = row.figures();
    print!(
        "  {:NAME$} {:10} {:>9}",
        row.variant,
        row.proxy,
        shown(median(&figures))
    );
    for base in bases {
        print!(" {:>RATIO$}", ratio_words(row, base.of(outcome, row)));
    }
    print!(" {:>6} ", row.failures());
    for (name, values) in row.details() {
        print!(" {name} {}", shown(median(&values)));
    }
    println!();
}

/// More than one connection to a server for five requests.
fn reopened(row: &Row) -> bool {
    row.details()
        .iter()
        .any(|(name, values)| *name == "opened_per_1000" && median(values) > 200.0)
}

fn ratio_words(row: &Row, base: Option<&Row>) -> String {
    match base {
        None => "-".to_owned(),
        Some(base) if std::ptr::eq(base, row) => "1".to_owned(),
        Some(base) => {
            let all = ratios(&row.figures(), &base.figures());
            format!(
                "{:.2} ({:.2}..{:.2})",
                median(&all),
                least(&all),
                most(&all)
            )
        }
    }
}

/// Three digits that count.
fn shown(figure: f64) -> String {
    match figure.abs() {
        big if big >= 100.0 => format!("{figure:.0}"),
        middle if middle >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
