//! `tidegate check` and `tidegate schema` as an operator calls them. The goldens hold the messages; here they come through the
//! binary, with its exit codes.

use std::fs;
use std::process::Command;

use tidegate_tests::{Document, Origin, Setup, listener, pool, root, shipped, site, tidegate};

#[test]
fn a_good_config_is_fine() {
    let origin = Origin::named("a");
    let (code, _, errors) = Setup::new(site("round-robin", &[&origin])).run("check");
    assert_eq!(code, 0, "{errors}");
}

#[test]
fn every_golden_says_through_the_binary_what_it_holds() {
    let folder = root().join("tests/golden");
    let mut seen = 0;
    for entry in fs::read_dir(&folder)
        .expect("goldens")
        .map(|entry| entry.expect("an entry").path())
    {
        let Ok(expected) = fs::read_to_string(entry.with_extension("err")) else {
            continue;
        };
        if entry.extension().is_none_or(|e| e != "toml") || !expected.starts_with("error") {
            continue;
        }
        let output = Command::new(tidegate())
            .current_dir(&folder)
            .args(["check", "-c"])
            .arg(entry.file_name().expect("a name"))
            .env("NO_COLOR", "1")
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{}: {said}", entry.display());
        let first = expected.lines().next().expect("an error has a line");
        assert!(
            said.contains(first),
            "{}: expected {first:?} in\n{said}",
            entry.display()
        );
        seen += 1;
    }
    assert!(seen > 10, "only {seen} goldens");
}

#[test]
fn plugins_are_loaded_and_configured_too() {
    let origin = Origin::named("a");
    let config = "[[plugin]]\nname = \"gone\"\npath = \"gone.wasm\"\n\
                  [[plugin]]\nname = \"broken\"\npath = \"broken.wasm\"\n\
                  [[plugin]]\nname = \"wrong-setting\"\nshipped = \"rewrite\"\nconfig = { strip-prefixx = \"/a\" }\n\
                  [[plugin]]\nname = \"wrong-role\"\nshipped = \"first\"\n"
        .to_owned()
        + &listener("web", "pool = \"app\"\nfilters = [\"gone\", \"broken\", \"wrong-setting\", \"wrong-role\"]")
        + &pool("app", "", &[&origin]);
    let (code, _, said) = Setup::new(config)
        .file("broken.wasm", "no wasm")
        .run("check");
    assert_eq!(code, 1);
    for words in [
        "gone.wasm",
        "broken.wasm",
        "strip-prefixx",
        "wrong-role",
        "tidegate.toml:",
    ] {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
    assert!(said.matches("^").count() >= 4, "a caret each:\n{said}");
}

#[test]
fn every_config_that_the_readme_shows_is_valid() {
    let mut seen = 0;
    for block in Document::read(&root().join("README.md")).blocks {
        // The tutorial's is run by the tutorial's test, with its plugin.
        if block.language != "toml" || !block.text.contains("[[listener]]") {
            continue;
        }
        let (code, _, said) = Setup::exactly(&block.text).run("check");
        assert_eq!(code, 0, "line {}\n{said}", block.line);
        seen += 1;
    }
    assert!(seen >= 1);
}

#[test]
fn a_pinned_hash_must_fit() {
    let origin = Origin::named("a");
    let config = format!(
        "[[plugin]]\nname = \"own\"\npath = \"own.wasm\"\nsha256 = \"{}\"\n",
        "0".repeat(64)
    ) + &site("own", &[&origin]);
    let (code, _, said) = Setup::new(config)
        .file("own.wasm", shipped("first"))
        .run("check");
    assert_eq!(code, 1);
    assert!(
        said.contains("sha256") || said.contains("SHA-256"),
        "{said}"
    );
}

#[test]
fn run_refuses_what_check_refuses() {
    let setup =
        Setup::new("[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:0\"\npool = \"nowhere\"\n");
    let (check, _, checked) = setup.run("check");
    let (run, _, ran) = setup.run("run");
    assert_eq!((check, run), (1, 1));
    assert!(
        checked.contains("nowhere") && ran.contains("nowhere"),
        "{checked}\n{ran}"
    );
}

#[test]
fn a_missing_file_and_wrong_usage_have_their_exit_codes() {
    let call = |arguments: &[&str]| {
        Command::new(tidegate())
            .args(arguments)
            .output()
            .expect("the binary runs")
    };
    let missing = call(&["check", "-c", "/nowhere/tidegate.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere/tidegate.toml"));
    assert_eq!(call(&["no-such-command"]).status.code(), Some(2));
    assert_eq!(call(&["run", "--no-such-flag"]).status.code(), Some(2));
    assert_eq!(call(&["--version"]).status.code(), Some(0));
}

#[test]
fn the_schema_is_json_and_knows_the_sections() {
    let output = Command::new(tidegate())
        .arg("schema")
        .output()
        .expect("the binary runs");
    let schema: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("the schema is JSON");
    for section in [
        "proxy", "admin", "log", "plugin", "listener", "route", "pool",
    ] {
        assert!(schema["properties"].get(section).is_some(), "{section}");
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(tidegate())
            .args(["completions", shell])
            .output()
            .expect("the binary runs");
        assert!(
            output.status.success() && output.stdout.len() > 500,
            "{shell}"
        );
    }
}
