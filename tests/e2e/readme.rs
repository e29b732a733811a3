//! The README, followed from its first command to the last of its tutorial, and compared with what the binary says.

use std::process::Command;

use tidegate_tests::{Document, Story, root, tidegate};

#[test]
fn the_first_run_and_the_tutorial_work_as_written() {
    let text = readme();
    let mut story = Story::new();
    story.follow(&Document::parse(section(&text, "## First run")));
    story.follow(&Document::parse(section(
        &text,
        "## A plugin of your own, put live",
    )));
}

#[test]
fn every_command_is_listed_and_every_listed_command_exists() {
    let text = readme();
    let table = section(&text, "## Command line");
    for command in commands(&[]) {
        assert!(
            table.contains(&format!("`tidegate {command}")),
            "`tidegate {command}` is not in the README"
        );
    }
    for line in table
        .lines()
        .filter_map(|line| line.strip_prefix("| `tidegate "))
    {
        let words: Vec<&str> = line
            .split(' ')
            .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()))
            .collect();
        let output = Command::new(tidegate())
            .args(&words)
            .arg("--help")
            .output()
            .expect("the binary runs");
        assert!(output.status.success(), "tidegate {}", words.join(" "));
    }
}

#[test]
fn links_lead_somewhere() {
    let text = readme();
    for target in text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
    {
        if let Some(anchor) = target.strip_prefix('#') {
            let found = text
                .lines()
                .filter(|line| line.starts_with('#'))
                .any(|line| slug(line) == anchor);
            assert!(found, "no heading for #{anchor}");
        } else if !target.starts_with("http") {
            let path = root().join(target.split('#').next().unwrap_or(target));
            assert!(path.exists(), "{target} is not there");
        }
    }
}

/// The commands that `--help` lists, with those below them.
fn commands(above: &[&str]) -> Vec<String> {
    let output = Command::new(tidegate())
        .args(above)
        .arg("--help")
        .output()
        .expect("the binary runs");
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some((_, list)) = help.split_once("Commands:\n") else {
        return vec![above.join(" ")];
    };
    list.lines()
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .flat_map(|name| commands(&[above, &[name]].concat()))
        .collect()
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("a README")
}

/// From this heading to the next of its rank.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no {heading:?}"))
        + 1;
    let rest = &text[start..];
    rest[3..].find("\n## ").map_or(rest, |end| &rest[..end + 3])
}

/// GitHub's anchor of a heading.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-')
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
