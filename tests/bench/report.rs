//! The table, and the same as JSON: medians and spreads, each as a ratio to HAProxy in the same round.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::measure::{Outcome, Row};

pub struct Report {
    scenarios: Vec<serde_json::Value>,
}

impl Report {
    pub fn new() -> Report {
        println!(
            "{:12} {:10} {:>22} {:>9} {:>16} {:>10} {:>8}",
            "scenario", "proxy", "/ haproxy (spread)", "/ nginx", "median", "p99 µs", "failed"
        );
        Report {
            scenarios: Vec::new(),
        }
    }

    pub fn add(&mut self, outcome: Outcome) {
        let base = |name: &str| outcome.rows.iter().find(|row| row.name == name);
        let mut rows = Vec::new();
        for row in &outcome.rows {
            let to_haproxy = base("haproxy").map(|peer| ratios(row, peer));
            let to_nginx = base("nginx").map(|peer| ratios(row, peer));
            let shown = |r: &Option<Vec<f64>>| {
                r.as_ref()
                    .map_or("-".into(), |r| format!("{:.2}", median(r)))
            };
            let spread = to_haproxy.as_ref().map_or(String::new(), |r| {
                format!(" ({:.2}..{:.2})", least(r), most(r))
            });
            println!(
                "{:12} {:10} {:>22} {:>9} {:>10.1} {:>5} {:>10.0} {:>8}",
                outcome.scenario,
                row.name,
                shown(&to_haproxy) + &spread,
                shown(&to_nginx),
                median(&row.figures),
                if outcome.unit.starts_with("CPU") {
                    "µs"
                } else {
                    "B"
                },
                median(&row.p99_us),
                row.failures
            );
            rows.push(json!({
                "proxy": row.name,
                "figures": row.figures,
                "to_haproxy": to_haproxy,
                "to_nginx": to_nginx,
                "p99_us": row.p99_us,
                "failures": row.failures,
            }));
        }
        outcome
            .skipped
            .iter()
            .for_each(|why| println!("{:12} skipped: {why}", outcome.scenario));
        self.scenarios.push(json!({
            "scenario": outcome.scenario, "what": outcome.what, "unit": outcome.unit, "rows": rows, "skipped": outcome.skipped,
        }));
    }

    pub fn save(self, path: PathBuf) -> Result<(), String> {
        let folder = path.parent().ok_or("a folder is meant")?;
        fs::create_dir_all(folder).map_err(|e| e.to_string())?;
        let text = serde_json::to_string_pretty(&self.scenarios).map_err(|e| e.to_string())?;
        fs::write(&path, text).map_err(|e| e.to_string())
    }
}

fn ratios(row: &Row, peer: &Row) -> Vec<f64> {
    row.figures
        .iter()
        .zip(&peer.figures)
        .map(|(ours, theirs)| ours / theirs)
        .collect()
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn least(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}
