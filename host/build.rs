//! Compiles the shipped plugins in `plugins/` for wasm32 and writes the table that `src/shipped.rs` embeds; then packs the
//! SDK and the WIT, which `tidegate plugin new` lays beside a new plugin.
//!
//! The nested cargo has a target folder of its own, `target/plugins`, shared by all profiles: the plugins are the same in
//! each, and the outer cargo holds the lock of its own.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

/// Variables that the outer cargo, or the user for its sake, sets for the host's own compilation.
const OUTER_ONLY: &[&str] = &[
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_TARGET_DIR",
    "MAKEFLAGS",
    "RUSTC",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
        .parent()
        .expect("host lies in the workspace")
        .to_owned();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for input in ["plugins", "sdk", "wit", "Cargo.lock", "host/build.rs"] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    let plugins = shipped_plugins(&root.join("plugins"));
    let built = compile(&root, &target_folder(&out), &plugins);
    write(&out.join("shipped.rs"), &table(&plugins, &built));
    write(&out.join("kit.rs"), &kit(&root));
}

/// The folders of `plugins/`, each a crate `tidegate-plugin-NAME`, sorted.
fn shipped_plugins(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|e| stop(&format!("{}: {e}", folder.display())));
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// `target/plugins`, found from `target/<profile>/build/<package>/out`.
fn target_folder(out: &Path) -> PathBuf {
    out.ancestors()
        .nth(4)
        .expect("OUT_DIR lies four folders below the target folder")
        .join("plugins")
}

/// Compiles all plugins in one go; answers the folder that holds the `.wasm` files.
fn compile(root: &Path, target: &Path, plugins: &[String]) -> PathBuf {
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo.current_dir(root).args([
        "build",
        "--locked",
        "--profile",
        "plugin",
        "--target",
        TARGET,
    ]);
    cargo.arg("--target-dir").arg(target);
    for name in plugins {
        cargo.args(["--package", &format!("tidegate-plugin-{name}")]);
    }
    // What the outer cargo sets for the host (clippy's wrapper, flags, target) is not meant for the plugins.
    for name in OUTER_ONLY {
        cargo.env_remove(name);
    }
    let output = cargo
        .output()
        .unwrap_or_else(|e| stop(&format!("cargo could not be run: {e}")));
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        if words.contains("can't find crate for `core`")
            || words.contains("can't find crate for `std`")
        {
            stop(&format!(
                "the shipped plugins need the {TARGET} target, which is not installed.\nRun: rustup target add wasm32-wasip2 {TARGET}"
            ));
        }
        stop(&format!("the shipped plugins do not compile:\n{words}"));
    }
    target.join(TARGET).join("plugin")
}

fn table(plugins: &[String], built: &Path) -> String {
    let mut text = String::from("static SHIPPED: &[(&str, &[u8])] = &[\n");
    for name in plugins {
        let wasm = built.join(format!("tidegate_plugin_{}.wasm", name.replace('-', "_")));
        writeln!(text, "    ({name:?}, include_bytes!({wasm:?})),").expect("a string takes it");
    }
    text + "];\n"
}

/// The files that a plugin crate needs to be built without the network's help: the SDK, with the WIT inside.
fn kit(root: &Path) -> String {
    let mut text = String::from("pub static KIT: &[(&str, &str)] = &[\n");
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    collect(&root.join("sdk/src"), "src", &mut files);
    collect(&root.join("wit"), "wit", &mut files);
    files.sort();
    for (name, path) in files {
        writeln!(text, "    ({name:?}, include_str!({path:?})),").expect("a string takes it");
    }
    text + "];\n"
}

fn collect(folder: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|e| stop(&format!("{}: {e}", folder.display())));
    for entry in entries.filter_map(Result::ok) {
        let (path, file) = (entry.path(), entry.file_name());
        let name = format!("{name}/{}", file.to_string_lossy());
        if path.is_dir() {
            collect(&path, &name, files);
        } else if path.extension().is_some_and(|e| e == "rs" || e == "wit") {
            files.push((name, path));
        }
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| stop(&format!("{}: {e}", path.display())));
}

/// Ends the build with one clear error.
fn stop(words: &str) -> ! {
    for line in words.lines() {
        println!("cargo::error={line}");
    }
    std::process::exit(1)
}
