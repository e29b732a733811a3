//! `tidegate plugin test`: runs the cases of a file against a built `.wasm`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::plugin::PrepareError;

use super::super::Host;
use super::super::arguments::Test;
use super::super::terminal::{Failure, Progress, print, shown};
use super::cases::{self, Case, Cases};
use super::drive::Play;
use super::stage::{Refusal, Setup, Stage};
use super::{load, runtime};

pub fn test(host: &Host, flags: &Test) -> Result<(), Failure> {
    // What the plugin logs is shown, and why a call failed.
    (host.start_log)("info");
    let file = cases_file(flags)?;
    let (cases, text) = cases::read(&file)?;
    if cases.cases.is_empty() {
        return Err(Failure::new(format!("{} has no [[case]]", file.display())));
    }
    let progress = Progress::new("compiling the plugin");
    let (runtime, live) = runtime(host)?;
    let artifact = load(&runtime, &flags.file)?;
    drop(progress);
    let stage = Stage {
        runtime,
        live,
        artifact,
    };
    let mut wrong = 0;
    for (number, case) in cases.cases.iter().enumerate() {
        let problems = run(&stage, &cases, number, case.get_ref());
        let line = text[..case.span().start].matches('\n').count() + 1;
        wrong += usize::from(!problems.is_empty());
        print(&verdict(case.get_ref(), &problems, &file, line))?;
    }
    let total = cases.cases.len();
    let plural = if total == 1 { "" } else { "s" };
    print(&format!(
        "\n{total} case{plural}, {} passed, {wrong} failed\n",
        total - wrong
    ))?;
    if wrong > 0 {
        Err(Failure::silent())
    } else {
        Ok(())
    }
}

fn cases_file(flags: &Test) -> Result<PathBuf, Failure> {
    if let Some(file) = &flags.cases {
        return Ok(file.clone());
    }
    let beside = flags.file.with_file_name("cases.toml");
    let here = PathBuf::from("cases.toml");
    let found = [beside, here].into_iter().find(|file| file.is_file());
    found.ok_or_else(|| {
        Failure::new(format!(
            "there is no cases.toml beside {} or in this folder; name one: tidegate plugin test FILE.wasm CASES.toml",
            flags.file.display()
        ))
    })
}

/// What is wrong with one case; nothing when it passes.
fn run(stage: &Stage, cases: &Cases, number: usize, case: &Case) -> Vec<String> {
    let settings = case.settings.as_ref().unwrap_or(&cases.settings);
    let servers = case.servers.as_ref().unwrap_or(&cases.servers);
    let name = format!("case-{}", number + 1);
    let setup = Setup::of_cases(cases, name, settings, servers);
    let actor = match (stage.actor(&setup), &case.refused) {
        (Ok(actor), None) => actor,
        (Ok(_), Some(words)) => {
            return vec![difference(
                "refused",
                &format!("{words:?}"),
                "the settings were taken",
            )];
        }
        (Err(Refusal::Plugin(error)), words) => return refused(&error, words.as_deref()),
        (Err(Refusal::Given(failure)), _) => return vec![failure.to_string()],
    };
    let mut play = Play::new(actor, stage.artifact.roles());
    let steps = case.steps();
    let mut problems = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let at = if steps.len() > 1 {
            format!("step {}: ", index + 1)
        } else {
            String::new()
        };
        match play.ask(step) {
            Ok(got) => problems.extend(
                step.expect
                    .differences(&got)
                    .into_iter()
                    .map(|d| format!("{at}{}", difference(d.key, &d.expected, &d.got))),
            ),
            Err(failure) => problems.push(format!("{at}{failure}")),
        }
    }
    problems
}

fn refused(error: &PrepareError, words: Option<&str>) -> Vec<String> {
    let came = error.to_string();
    match words {
        Some(words) if matches!(error, PrepareError::Settings(_)) && came.contains(words) => {
            Vec::new()
        }
        Some(words) => vec![difference(
            "refused",
            &format!("words that contain {words:?}"),
            &came,
        )],
        None => vec![came],
    }
}

fn difference(key: &str, expected: &str, got: &str) -> String {
    format!("{key}\n  expected  {expected}\n  got       {got}")
}

fn verdict(case: &Case, problems: &[String], file: &Path, line: usize) -> String {
    if problems.is_empty() {
        return format!("ok    {}\n", shown(&case.name));
    }
    let mut out = format!("FAIL  {}  ({}:{line})\n", shown(&case.name), file.display());
    for line in problems.iter().flat_map(|problem| problem.lines()) {
        let _ = writeln!(out, "      {}", shown(line));
    }
    out
}
