//! The configuration file: read with its spans (`source`), as typed (`written`), checked and resolved (`check` makes
//! `checked`), and what is wrong with it (`problem`). Knows nothing of plugins' insides: whether a plugin has the role it
//! is used in, and takes its settings, is found when a candidate is built, and reported with the spans kept here.

use std::path::Path;
use std::sync::Arc;

pub mod checked;
pub mod problem;
pub mod source;

pub use checked::Config;
pub use problem::{Located, Problem, Problems, Span, color_for};
pub use source::Source;

/// Reads and checks the file; all its problems at once. `shipped` are the names of the plugins in the binary.
pub fn load(path: &Path, shipped: &[&str]) -> Result<Config, Problems> {
    match Source::read(path) {
        Ok(source) => parse(source, shipped),
        Err((source, problem)) => {
            let mut problems = Problems::new(Arc::new(source));
            problems.push(problem);
            Err(problems)
        }
    }
}

/// Checks a text; all its problems at once, but a syntax error alone.
pub fn parse(source: Source, shipped: &[&str]) -> Result<Config, Problems> {
    let _ = shipped;
    let source = Arc::new(source);
    let mut problems = Problems::new(Arc::clone(&source));
    if let Err(problem) = source.parse() {
        problems.push(problem);
    }
    problems.push(Problem::of_file(
        "not checked yet",
        "wait for the config branch",
    ));
    Err(problems)
}

/// The JSON Schema (2020-12) of the file as typed.
pub fn schema() -> serde_json::Value {
    serde_json::json!({})
}

/// What the shipped `router` is configured with: `{"routes": [...]}`.
pub fn router_settings(_config: &Config) -> serde_json::Value {
    serde_json::json!({})
}
