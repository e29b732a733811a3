//! `tidegate plugin build`: cargo in release for a wasm target, then one `.wasm` that this host takes. A core module stays one:
//! the host makes it a component when it loads it, which takes a millisecond.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::super::Host;
use super::super::arguments::{Build, Target};
use super::super::terminal::{Failure, failed, print};
use super::{inspect, load, runtime};

pub fn build(host: &Host, flags: &Build) -> Result<(), Failure> {
    let target = flags.target.name();
    let manifest = flags.dir.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Failure::new(format!(
            "{} holds no Cargo.toml; name the plugin's folder (tidegate plugin build DIR), or make one with tidegate \
             plugin new",
            flags.dir.display()
        )));
    }
    need_target(&flags.dir, target)?;
    let built = compile(&flags.dir, target)?;
    let output = match &flags.output {
        Some(output) => output.clone(),
        None => PathBuf::from(built.file_name().expect("cargo names a file")),
    };
    // Looked at before it is put where a proxy may be watching.
    let (runtime, _) = runtime(host)?;
    let artifact = load(&runtime, &built)?;
    place(&built, &output)?;
    print(&format!(
        "file      {}\n{}",
        output.display(),
        inspect::as_text(&artifact)
    ))
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Target::Unknown => "wasm32-unknown-unknown",
            Target::Wasip2 => "wasm32-wasip2",
        }
    }
}

/// Asks the compiler that cargo will use in that folder.
fn need_target(dir: &Path, target: &str) -> Result<(), Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .current_dir(dir)
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .map_err(|error| no_rust("rustc", &error))?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && folder.is_dir() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the compiler has no target {target}. Run: rustup target add {target}"
    )))
}

fn no_rust(tool: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!(
        "{tool} could not be run: {error}; install Rust from https://rustup.rs"
    ))
}

/// Runs cargo, whose progress and errors go to the terminal; answers the `.wasm` that it made.
fn compile(dir: &Path, target: &str) -> Result<PathBuf, Failure> {
    let output = Command::new("cargo")
        .current_dir(dir)
        .args(["build", "--release", "--lib", "--target", target])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| no_rust("cargo", &error))?;
    if !output.status.success() {
        return Err(Failure::new(
            "the plugin does not compile; see cargo's words above",
        ));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    match &wasm_files(&messages)[..] {
        [one] => Ok(one.clone()),
        [] => Err(Failure::new(
            "cargo made no .wasm; a plugin's Cargo.toml needs [lib] crate-type = [\"cdylib\", \"rlib\"]",
        )),
        several => Err(Failure::new(format!(
            "cargo made {} .wasm files; name the folder of one plugin (tidegate plugin build DIR)",
            several.len()
        ))),
    }
}

/// The files of the cdylibs among cargo's messages, one JSON object a line.
fn wasm_files(messages: &str) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .flat_map(|message| match &message["filenames"] {
            Value::Array(files) => files.clone(),
            _ => Vec::new(),
        })
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect()
}

/// Beside its place first, then moved there: who watches sees the old file or the new one, never half of one.
fn place(built: &Path, output: &Path) -> Result<(), Failure> {
    let folder = output
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let doing = || format!("write {}", output.display());
    let bytes = fs::read(built).map_err(failed(format_args!("read {}", built.display())))?;
    let fresh = tempfile::Builder::new()
        .prefix(".tidegate-build-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(failed(doing()))?;
    fs::write(fresh.path(), bytes).map_err(failed(doing()))?;
    fresh.persist(output).map_err(failed(doing()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wasm_is_found_among_cargos_messages() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"filenames\":[\"/t/libserde.rlib\"]}\n",
            "warning: words\n",
            "{\"reason\":\"compiler-artifact\",\"filenames\":[\"/t/by_tenant.wasm\",\"/t/libby_tenant.rlib\"]}\n",
            "{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        assert_eq!(wasm_files(messages), [PathBuf::from("/t/by_tenant.wasm")]);
    }
}
