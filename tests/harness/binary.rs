//! Finds the binary under test, and builds it when it is missing or older than its sources: `cargo test -p tidegate-tests`
//! does not build another package's binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lies in the workspace")
        .to_owned()
}

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Has that binary be the one under test, in `target/PROFILE` as any other.
pub fn take_binary(path: &Path) -> std::io::Result<()> {
    let path = fs::canonicalize(path)?;
    let taken = BINARY.get_or_init(|| path.clone());
    assert_eq!(*taken, path, "one is under test already");
    Ok(())
}

/// The `tidegate` binary of the profile that the tests were built with.
pub fn tidegate() -> &'static Path {
    BINARY.get_or_init(|| {
        // target/<profile>/deps/e2e-<hash>
        let test = std::env::current_exe().expect("the test has a path");
        let folder = test
            .ancestors()
            .nth(2)
            .expect("cargo puts tests two folders down")
            .to_owned();
        let binary = folder.join("tidegate");
        if modified(&binary) < newest_source() {
            build(&folder);
        }
        assert!(binary.is_file(), "{} was not built", binary.display());
        binary
    })
}

fn build(folder: &Path) {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let target = folder
        .parent()
        .expect("a profile's folder lies in the target folder");
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args([
            "build",
            "--locked",
            "--package",
            "tidegate",
            "--profile",
            profile,
            "--target-dir",
        ])
        .arg(target)
        .output()
        .expect("cargo can be run");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn newest_source() -> Option<SystemTime> {
    let root = root();
    let mut newest = modified(&root.join("Cargo.lock"));
    for folder in ["host/src", "plugins", "sdk/src", "wit"] {
        visit(&root.join(folder), &mut newest);
    }
    newest
}

fn visit(folder: &Path, newest: &mut Option<SystemTime>) {
    for entry in fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let path = entry.path();
        if path.is_dir() {
            visit(&path, newest);
        } else if path
            .extension()
            .is_some_and(|e| e == "rs" || e == "toml" || e == "wit")
        {
            *newest = (*newest).max(modified(&path));
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}
