//! The README, followed from its first command to the last of its tutorial, and compared with what the binary says.

use std::process::Command;

use tidegate_tests::{Block, Collector, Document, Origin, Proxy, Story, root, site, tidegate};

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
fn every_metric_is_listed_and_every_listed_metric_exists() {
    let text = readme();
    let table = section(&text, "## Metrics");
    let (origin, collector) = (Origin::named("a"), Collector::start());
    let proxy = Proxy::start(with_all_told(&origin, &collector));
    proxy.get("/");
    let scraped = proxy.metrics().text;
    let families: Vec<&str> = scraped
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    for family in &families {
        assert!(
            table.contains(&format!("`{family}")),
            "{family} is not in the README"
        );
    }
    for name in table
        .split('`')
        .filter(|word| word.starts_with("tidegate_") && !word.contains("NAME"))
    {
        assert!(
            name == "tidegate_" || families.contains(&name),
            "{name} is no metric; there are {families:?}"
        );
    }
}

#[test]
fn every_key_of_the_access_log_is_listed() {
    let text = readme();
    let table = section(&text, "## Access log");
    let (origin, collector) = (Origin::named("a"), Collector::start());
    let proxy = Proxy::start(with_all_told(&origin, &collector));
    proxy.get("/");
    let line = &proxy.access_log(1)[0];
    let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
    for key in &keys {
        assert!(
            table.contains(&format!("`{key}`")),
            "{key} is not in the README"
        );
    }
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    for word in rows
        .filter_map(|row| row.split(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
    {
        assert!(
            keys.iter().any(|key| *key == word),
            "{word} is no key; there are {keys:?}"
        );
    }
}

/// A site that tells all that metrics and access log can tell.
fn with_all_told(origin: &Origin, collector: &Collector) -> String {
    let headers = "request-headers = [\"accept\"]\nresponse-headers = [\"content-type\"]\n";
    format!("[log]\naccess = \"stdout\"\nformat = \"json\"\n{headers}")
        + &collector.section("")
        + &site("round-robin", &[origin])
}

#[test]
fn every_shipped_plugin_is_listed() {
    let text = readme();
    let table = section(&text, "## Shipped plugins");
    for entry in std::fs::read_dir(root().join("plugins"))
        .expect("plugins")
        .map(|entry| entry.expect("an entry"))
    {
        if !entry.path().is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(
            table.contains(&format!("[{name}](plugins/{name})")),
            "{name}"
        );
    }
}

#[test]
fn the_sdks_sample_compiles_for_wasm() {
    let text = readme();
    let sample = Document::parse(section(&text, "## SDK"));
    let sample = sample
        .blocks
        .iter()
        .find(|block| block.language == "rust")
        .expect("a sample");
    let mut story = Story::new();
    let build = "tidegate plugin new sample --role router\ncp lib.rs sample/src/lib.rs\ntidegate plugin build sample -o sample.wasm\n";
    std::fs::write(story.folder().join("lib.rs"), &sample.text).expect("a file can be written");
    story.follow(&Document {
        blocks: vec![Block {
            language: "sh".into(),
            text: build.into(),
            line: sample.line,
        }],
    });
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
