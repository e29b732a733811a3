//! The READMEs in `plugins/` keep their word: their examples are configurations that `tidegate check` takes, plugins configured
//! too, and the overview lists what the binary carries.
//!
//! An example may leave out the listener or the pool that it is not about; they are added here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate::shipped;

const POOL: &str = "\n[[pool]]\nname = \"app\"\nservers = [{ address = \"127.0.0.1:9001\" }]\n";

#[test]
fn every_example_is_a_configuration_that_check_takes() {
    let mut wrong = Vec::new();
    for name in shipped::names() {
        let examples = examples(&readme(name));
        if examples.is_empty() {
            wrong.push(format!("plugins/{name}/README.md has no example in TOML"));
        }
        for (number, example) in examples.iter().enumerate() {
            if let Err(problems) = check(&format!("{name}-{number}"), example) {
                wrong.push(format!("plugins/{name}/README.md:\n{example}\n{problems}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_overview_lists_what_the_binary_carries() {
    let overview = fs::read_to_string(plugins().join("README.md")).unwrap();
    let listed: Vec<&str> = overview
        .lines()
        .filter_map(|line| line.strip_prefix("| [")?.split(']').next())
        .collect();
    for name in shipped::names() {
        assert!(listed.contains(&name), "plugins/README.md lacks {name}");
    }
    for name in listed {
        assert!(shipped::get(name).is_some(), "plugins/README.md: {name}");
    }
}

/// What stands between the fences that open with `toml`, each made whole.
fn examples(text: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match &mut open {
            None if line == "```toml" => open = Some(String::new()),
            None => {}
            Some(_) if line == "```" => examples.extend(open.take().map(whole)),
            Some(example) => *example += &format!("{line}\n"),
        }
    }
    examples
}

fn whole(mut example: String) -> String {
    if !example.contains("[[pool]]") {
        example += POOL;
    }
    if !example.contains("[[listener]]") {
        let (_, pool) = example.split_once("[[pool]]").expect("it has one now");
        let name = pool.lines().find(|line| line.starts_with("name = "));
        let listener = "\n[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:8080\"\n";
        let pool = name.expect("a pool has a name").replacen("name", "pool", 1);
        example = format!("{example}{listener}{pool}\n");
    }
    example
}

/// What the built `tidegate check` says against it.
fn check(name: &str, example: &str) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("shipped")
        .join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("tidegate.toml"), example).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("check")
        .current_dir(&folder)
        // Compiled plugins stay from run to run.
        .env(
            "XDG_CACHE_HOME",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
        )
        .env_remove("CACHE_DIRECTORY")
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn readme(name: &str) -> String {
    // That there is one is the house's own test.
    fs::read_to_string(plugins().join(name).join("README.md")).unwrap_or_default()
}

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins")
}
