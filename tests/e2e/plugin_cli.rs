//! `tidegate plugin` and the other commands where they say no, and what `inspect` and a failed case show. From `plugin new` to a
//! served request is the story of `authoring`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tidegate_tests::{shipped, tidegate};

#[test]
fn inspect_tells_what_a_file_is() {
    let folder = folder();
    fs::write(folder.path().join("router.wasm"), shipped("router")).unwrap();
    let output = run(folder.path(), &["plugin", "inspect", "router.wasm"]);
    let words = text(&output.stdout);
    assert!(words.contains("roles     router\n"), "{words}");
    let output = run(
        folder.path(),
        &["plugin", "inspect", "--json", "router.wasm"],
    );
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["roles"], serde_json::json!(["router"]));
    assert_eq!(json["kind"], "module");
    assert_eq!(json["size"], shipped("router").len());
    assert!(
        words.contains(json["sha256"].as_str().expect("a text")),
        "{words}"
    );
    let imports = json["imports"].as_array().expect("a list");
    let ours = |name: &serde_json::Value| {
        name.as_str()
            .is_some_and(|name| name.starts_with("tidegate:plugin/"))
    };
    assert!(imports.iter().all(ours), "{imports:?}");
}

#[test]
fn a_case_that_fails_says_what_was_expected_and_what_came() {
    let folder = folder();
    let cases = "[[server]]\nname = \"a\"\n[[server]]\nname = \"b\"\n\n[[case]]\nname = \"right\"\nexpect = { picks = [\"a\"] }\n\n\
                 [[case]]\nname = \"wrong\"\nexpect = { picks = [\"b\"] }\n";
    fs::write(folder.path().join("first.wasm"), shipped("first")).unwrap();
    fs::write(folder.path().join("cases.toml"), cases).unwrap();
    let output = run(folder.path(), &["plugin", "test", "first.wasm"]);
    let words = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("ok    right\n"), "{words}");
    assert!(words.contains("FAIL  wrong"), "{words}");
    assert!(words.contains("cases.toml:10"), "the case's place: {words}");
    assert!(
        words.contains("expected  [\"b\"]") && words.contains("got       [\"a\"]"),
        "{words}"
    );
    assert!(words.contains("2 cases, 1 passed, 1 failed"), "{words}");
}

#[test]
fn what_is_given_wrongly_is_one_clear_error() {
    let folder = folder();
    fs::write(folder.path().join("garbage.wasm"), "no wasm at all").unwrap();
    let refused = |arguments: &[&str], words: &str| {
        let output = run(folder.path(), arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            said.contains(words),
            "{arguments:?} does not say {words:?}: {said}"
        );
    };
    refused(
        &["plugin", "new", "By Tenant", "--role", "router"],
        "lower-case",
    );
    refused(
        &["plugin", "new", "x", "--role", "router", "--path", "."],
        "not empty",
    );
    refused(&["plugin", "build"], "holds no Cargo.toml");
    refused(&["plugin", "inspect", "garbage.wasm"], "garbage.wasm");
    refused(&["plugin", "inspect", "missing.wasm"], "missing.wasm");
    refused(&["plugin", "test", "garbage.wasm"], "no cases.toml");
    refused(
        &["plugin", "bench", "garbage.wasm", "--config", "{"],
        "--config",
    );
    refused(&["check", "-c", "missing.toml"], "missing.toml");
    refused(
        &["ctl", "--admin", "https://127.0.0.1:1", "status"],
        "--admin",
    );
    assert_eq!(
        run(folder.path(), &["plugin", "new", "x"]).status.code(),
        Some(2),
        "no --role"
    );
    assert_eq!(run(folder.path(), &["fly"]).status.code(), Some(2));
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(tidegate())
        .current_dir(folder)
        .args(arguments)
        .env("NO_COLOR", "1")
        .env("XDG_CACHE_HOME", folder)
        .output()
        .expect("the binary runs")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
