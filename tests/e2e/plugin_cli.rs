//! `tidegate plugin`: what `new` writes builds and passes its tests as it is, and the built file does what its cases say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tidegate_tests::{shipped, tidegate};

#[test]
fn a_new_router_works_from_end_to_end() {
    let plugin = New::plugin("by-tenant", "router");
    plugin.passes_its_own_tests();
    let shown = plugin.build(&[]);
    assert!(shown.contains("roles     router\n"), "{shown}");
    assert!(shown.contains("kind      module\n"), "{shown}");
    plugin.passes_its_cases();
    let figures = plugin.fine(&[
        "plugin",
        "bench",
        "by_tenant.wasm",
        "--cases",
        "cases.toml",
        "--time",
        "20",
    ]);
    assert!(figures.contains("router"), "{figures}");
}

#[test]
fn a_new_balancer_works_from_end_to_end() {
    let plugin = New::plugin("near", "balancer");
    plugin.passes_its_own_tests();
    let shown = plugin.build(&[]);
    assert!(shown.contains("roles     balancer\n"), "{shown}");
    plugin.passes_its_cases();
    let figures = plugin.fine(&[
        "plugin",
        "bench",
        "near.wasm",
        "--servers",
        "1000",
        "--time",
        "20",
    ]);
    assert!(figures.contains("balancer, 1000 servers"), "{figures}");
}

#[test]
fn a_new_filter_works_from_end_to_end() {
    let plugin = New::plugin("gate", "filter");
    plugin.passes_its_own_tests();
    let shown = plugin.build(&[]);
    assert!(
        shown.contains("roles     request-filter, response-filter\n"),
        "{shown}"
    );
    plugin.passes_its_cases();
    let figures = plugin.fine(&["plugin", "bench", "gate.wasm", "--time", "20"]);
    assert!(
        figures.contains("request-filter") && figures.contains("response-filter"),
        "{figures}"
    );
}

#[test]
fn both_wasm_targets_make_the_same_plugin() {
    let plugin = New::plugin("either", "router");
    let shown = plugin.build(&["--target", "wasm32-wasip2"]);
    assert!(shown.contains("kind      component\n"), "{shown}");
    plugin.passes_its_cases();
    let json = plugin.fine(&["plugin", "inspect", "--json", "either.wasm"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["roles"], serde_json::json!(["router"]));
    assert_eq!(json["kind"], "component");
    assert_eq!(json["sha256"].as_str().map(str::len), Some(64));
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

/// A crate that `plugin new` has just written. All of them lie below the target folder, each at its own fixed place, and share
/// what they are built from.
struct New {
    name: &'static str,
    folder: PathBuf,
}

impl New {
    fn plugin(name: &'static str, role: &str) -> New {
        let below = target().join("crates");
        let folder = below.join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&below).unwrap();
        let plugin = New { name, folder };
        let output = run(&below, &["plugin", "new", name, "--role", role]);
        plugin.need(&output);
        plugin
    }

    fn passes_its_own_tests(&self) {
        let output = Command::new(env!("CARGO"))
            .current_dir(&self.folder)
            .args(["test", "--quiet"])
            .env("CARGO_TARGET_DIR", target())
            .output()
            .expect("cargo runs");
        self.need(&output);
        assert!(
            text(&output.stdout).contains(" passed; 0 failed"),
            "{}",
            text(&output.stdout)
        );
    }

    fn build(&self, arguments: &[&str]) -> String {
        let file = self.file();
        let all = [&["plugin", "build", "-o", &file][..], arguments].concat();
        self.fine(&all)
    }

    fn passes_its_cases(&self) {
        let said = self.fine(&["plugin", "test", &self.file()]);
        assert!(said.contains(" 0 failed"), "{said}");
    }

    fn file(&self) -> String {
        format!("{}.wasm", self.name.replace('-', "_"))
    }

    fn fine(&self, arguments: &[&str]) -> String {
        let output = run(&self.folder, arguments);
        self.need(&output);
        text(&output.stdout)
    }

    fn need(&self, output: &Output) {
        assert!(
            output.status.success(),
            "{}: {}\n{}{}",
            self.name,
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
    }
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(tidegate())
        .current_dir(folder)
        .args(arguments)
        .env("NO_COLOR", "1")
        .env("CARGO_TARGET_DIR", target())
        .env("XDG_CACHE_HOME", target().join("cache"))
        .output()
        .expect("the binary runs")
}

fn target() -> PathBuf {
    let below = tidegate()
        .ancestors()
        .nth(2)
        .expect("target/<profile>/tidegate");
    below.join("tests-plugins")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
