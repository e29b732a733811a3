//! Bad configurations and their messages: each `tests/golden/NAME.toml` is refused with exactly what `NAME.err` says. After
//! a change of wording, `TIDEGATE_GOLDEN=write cargo test -p tidegate --test golden` writes the `.err` files anew; read the
//! difference before committing it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate::config;

/// A fixed list, so that the messages don't change with each new plugin.
const SHIPPED: [&str; 9] = [
    "consistent-hash",
    "headers",
    "https-redirect",
    "least-connections",
    "rewrite",
    "round-robin",
    "router",
    "security-headers",
    "weighted-round-robin",
];

#[test]
fn every_bad_config_gets_its_message() {
    let configs = files(&folder(), "toml");
    assert!(configs.len() >= 40, "only {} goldens", configs.len());
    compare(&configs, refusal);
}

/// What only a trial shows: plugins that can't be loaded, have another role, or refuse their settings.
#[test]
fn every_bad_plugin_gets_its_message() {
    compare(&files(&folder().join("built"), "toml"), verdict);
}

#[test]
fn every_message_belongs_to_a_config() {
    for folder in [folder(), folder().join("built")] {
        for message in files(&folder, "err") {
            let config = message.with_extension("toml");
            assert!(config.exists(), "{}", message.display());
        }
    }
}

fn compare(configs: &[PathBuf], message: fn(&Path) -> String) {
    let write = std::env::var_os("TIDEGATE_GOLDEN").is_some_and(|value| value == "write");
    let mut wrong = Vec::new();
    for config in configs {
        let expected = config.with_extension("err");
        let message = message(config);
        if write {
            fs::write(&expected, &message).unwrap();
        } else {
            let expected = fs::read_to_string(&expected).unwrap_or_default();
            if expected != message {
                let config = config.display();
                wrong.push(format!("{config}: expected\n{expected}\ngot\n{message}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Why the file is refused, with the folder left out of the paths.
fn refusal(path: &Path) -> String {
    let Err(problems) = config::load(path, &SHIPPED) else {
        panic!("{} is accepted", path.display());
    };
    let text = problems.render(false).join("\n\n") + "\n";
    text.replace(&format!("{}/", folder().display()), "")
}

/// What the built `tidegate check` says.
fn verdict(path: &Path) -> String {
    // Compiled plugins stay from run to run.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["check", "-c"])
        .arg(path.file_name().unwrap())
        .current_dir(path.parent().unwrap())
        .env("XDG_CACHE_HOME", cache)
        .env_remove("CACHE_DIRECTORY")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", path.display());
    assert!(output.stdout.is_empty(), "{}", path.display());
    String::from_utf8(output.stderr).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}
