//! The misbehaving plugins of `tests/guests`, compiled when they are first asked for.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::root;

/// The `.wasm` of a guest: an example of `tests/guests`, or a `.wat` there.
pub fn guest(name: &str) -> Vec<u8> {
    let text = root().join(format!("tests/guests/{name}.wat"));
    if text.is_file() {
        return wat::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", text.display()));
    }
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    read(
        BUILT.get_or_init(|| build("wasm32-unknown-unknown", &["--examples"])),
        name,
    )
}

/// The same for wasm32-wasip2: a component that imports WASI.
pub fn guest_wasip2(name: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        build(
            "wasm32-wasip2",
            &["--example", "writer", "--example", "trap"],
        )
    });
    read(built, name)
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    let path = folder.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Answers the folder of the `.wasm` files. The target folder is theirs alone: the outer cargo holds the lock of its own.
fn build(target: &str, what: &[&str]) -> PathBuf {
    let folder = root().join("target/guests");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root())
        .args([
            "build",
            "--locked",
            "--release",
            "--package",
            "tidegate-guests",
        ])
        .args(["--target", target, "--target-dir"])
        .arg(&folder)
        .args(what);
    // What the outer cargo sets for its own build is not meant for the guests.
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        let outer = name.starts_with("CARGO_") && name != "CARGO_HOME";
        if outer || name.starts_with("RUSTC") || name == "RUSTFLAGS" {
            cargo.env_remove(&key);
        }
    }
    let output = cargo.output().expect("cargo can be run");
    assert!(
        output.status.success(),
        "the guests do not compile:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder.join(target).join("release/examples")
}
