//! Bad configurations and their messages: each `tests/golden/NAME.toml` is refused with exactly what `NAME.err` says. After
//! a change of wording, `TIDEGATE_GOLDEN=write cargo test -p tidegate --test golden` writes the `.err` files anew; read the
//! difference before committing it.

use std::fs;
use std::path::{Path, PathBuf};

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
    let write = std::env::var_os("TIDEGATE_GOLDEN").is_some_and(|value| value == "write");
    let configs = files("toml");
    assert!(configs.len() >= 40, "only {} goldens", configs.len());
    let mut wrong = Vec::new();
    for config in configs {
        let expected = config.with_extension("err");
        let message = message(&config);
        if write {
            fs::write(&expected, &message).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != message {
            wrong.push(format!("{}: got\n{message}", config.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_message_belongs_to_a_config() {
    for message in files("err") {
        assert!(
            message.with_extension("toml").exists(),
            "{}",
            message.display()
        );
    }
}

/// What `tidegate check` would print, with the folder left out of the paths.
fn message(path: &Path) -> String {
    let Err(problems) = config::load(path, &SHIPPED) else {
        panic!("{} is accepted", path.display());
    };
    let text = problems.render(false).join("\n\n") + "\n";
    text.replace(&format!("{}/", folder().display()), "")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn files(extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}
