//! The SDK that the binary carries: its sources and the WIT, which `plugin new` lays beside a new plugin, so that the plugin fits
//! this very host and builds with nothing published. Manifest and lock file are derived from the workspace's own at run time:
//! they cannot fall out of step.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

include!(concat!(env!("OUT_DIR"), "/kit.rs"));

const WORKSPACE: &str = include_str!("../../../../Cargo.toml");
const MANIFEST: &str = include_str!("../../../../sdk/Cargo.toml");
const LOCK: &str = include_str!("../../../../Cargo.lock");

/// The files of the SDK's folder: relative path and text.
pub fn files() -> impl Iterator<Item = (&'static str, String)> {
    let sources = KIT.iter().map(|(path, text)| (*path, (*text).to_owned()));
    std::iter::once(("Cargo.toml", manifest())).chain(sources)
}

/// The version of a workspace dependency, as the workspace requires it.
pub fn dependency(name: &str) -> Value {
    workspace()["dependencies"][name].clone()
}

/// The Rust that the workspace needs.
pub fn rust_version() -> String {
    let version = &workspace()["package"]["rust-version"];
    version.as_str().expect("the workspace names it").to_owned()
}

/// The SDK's manifest with every `workspace = true` filled in.
fn manifest() -> String {
    let workspace = workspace();
    let mut manifest: Table = parse(MANIFEST);
    fill_in(&mut manifest, "package", &workspace["package"]);
    fill_in_dependencies(&mut manifest, &workspace["dependencies"]);
    // The SDK's own lints are the workspace's affair.
    manifest.remove("lints");
    manifest.remove("dev-dependencies");
    // Its examples stay behind.
    manifest.remove("example");
    format!(
        "# The SDK of tidegate {}; written by `tidegate plugin new`.\n{manifest}",
        env!("CARGO_PKG_VERSION")
    )
}

/// In this table and in those of targets.
fn fill_in_dependencies(manifest: &mut Table, dependencies: &Value) {
    fill_in(manifest, "dependencies", dependencies);
    let targets = manifest.get_mut("target").and_then(Value::as_table_mut);
    for (_, target) in targets.into_iter().flatten() {
        if let Some(target) = target.as_table_mut() {
            fill_in(target, "dependencies", dependencies);
        }
    }
}

/// Replaces each entry of a table that says `workspace = true` by the workspace's.
fn fill_in(manifest: &mut Table, table: &str, workspace: &Value) {
    let Some(entries) = manifest.get_mut(table).and_then(Value::as_table_mut) else {
        return;
    };
    for (name, entry) in entries.iter_mut() {
        if entry.get("workspace").is_some() {
            *entry = merged(&workspace[name.as_str()], entry);
        }
    }
}

/// The workspace's entry with what the crate adds to it (`features`, `optional`).
fn merged(workspace: &Value, own: &Value) -> Value {
    let extra: Table = own
        .as_table()
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != "workspace")
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if extra.is_empty() {
        return workspace.clone();
    }
    let mut table = match workspace {
        Value::Table(table) => table.clone(),
        version => Table::from_iter([("version".to_owned(), version.clone())]),
    };
    for (key, value) in extra {
        match (table.get_mut(&key), value) {
            (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
            (_, value) => drop(table.insert(key, value)),
        }
    }
    Value::Table(table)
}

/// A lock file for a crate that depends on the SDK alone (and on what is named besides): the versions that this binary was
/// built with, so that the crate builds on the same machine without the network.
pub fn lock(name: &str, besides: &[&str]) -> String {
    let lock: Table = parse(LOCK);
    let all: Vec<&Table> = lock["package"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_table)
        .collect();
    let own = Table::from_iter([
        ("name".to_owned(), Value::from(name)),
        ("version".to_owned(), Value::from("0.1.0")),
        (
            "dependencies".to_owned(),
            Value::from(own_dependencies(besides)),
        ),
    ]);
    let mut kept: Vec<&Table> = reachable(&all, besides);
    kept.push(&own);
    kept.sort_by_key(|package| (text(package, "name"), text(package, "version")));
    let mut out = format!("version = {}\n", lock["version"]);
    for package in kept {
        out += &format!("\n[[package]]\n{package}");
    }
    out
}

fn own_dependencies(besides: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = besides.iter().map(|name| (*name).to_owned()).collect();
    names.push("tidegate-sdk".into());
    names.sort();
    names
}

/// The SDK and all that it stands on.
fn reachable<'a>(all: &[&'a Table], besides: &[&str]) -> Vec<&'a Table> {
    let mut by_name: BTreeMap<&str, Vec<&'a Table>> = BTreeMap::new();
    for package in all {
        by_name
            .entry(text(package, "name"))
            .or_default()
            .push(package);
    }
    let mut seen = BTreeSet::new();
    let mut kept = Vec::new();
    let mut open: Vec<&str> = besides.to_vec();
    open.push("tidegate-sdk");
    while let Some(reference) = open.pop() {
        // `NAME`, or `NAME VERSION` where there are several.
        let (name, version) = reference.split_once(' ').unwrap_or((reference, ""));
        let versions = by_name.get(name).into_iter().flatten();
        for package in
            versions.filter(|package| version.is_empty() || text(package, "version") == version)
        {
            if seen.insert((name, text(package, "version"))) {
                kept.push(*package);
                let needs = package.get("dependencies").and_then(Value::as_array);
                open.extend(needs.into_iter().flatten().filter_map(Value::as_str));
            }
        }
    }
    kept
}

fn text<'a>(package: &'a Table, key: &str) -> &'a str {
    package.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn workspace() -> Table {
    let mut root: Table = parse(WORKSPACE);
    match root.remove("workspace") {
        Some(Value::Table(workspace)) => workspace,
        _ => unreachable!("the root manifest is a workspace's"),
    }
}

fn parse(text: &str) -> Table {
    text.parse().expect("cargo has read it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_stands_alone_with_the_workspaces_versions() {
        let manifest = manifest();
        assert!(!manifest.contains("workspace"), "{manifest}");
        let manifest: Table = parse(&manifest);
        assert_eq!(manifest["package"]["name"].as_str(), Some("tidegate-sdk"));
        assert_eq!(
            manifest["package"]["version"].as_str(),
            Some(env!("CARGO_PKG_VERSION"))
        );
        for name in ["serde", "serde_json", "wit-bindgen"] {
            assert_eq!(manifest["dependencies"][name], dependency(name), "{name}");
        }
    }

    #[test]
    fn the_kit_holds_sources_and_wit() {
        let paths: Vec<&str> = files().map(|(path, _)| path).collect();
        for path in [
            "Cargo.toml",
            "src/lib.rs",
            "wit/worlds.wit",
            "wit/types.wit",
        ] {
            assert!(paths.contains(&path), "{path} is not in {paths:?}");
        }
    }

    #[test]
    fn the_lock_holds_what_is_needed_and_no_more() {
        let lock: Table = parse(&lock("x", &["serde"]));
        let names: Vec<&str> = lock["package"]
            .as_array()
            .unwrap()
            .iter()
            .map(|package| text(package.as_table().unwrap(), "name"))
            .collect();
        for name in [
            "x",
            "serde",
            "serde_core",
            "serde_json",
            "tidegate-sdk",
            "wit-bindgen",
        ] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        assert!(!names.contains(&"wasmtime"));
    }

    #[test]
    fn a_dependency_keeps_what_the_crate_adds() {
        let workspace: Value = Table::from_iter([("version".to_owned(), Value::from("1"))]).into();
        let own: Table = parse("workspace = true\nfeatures = [\"derive\"]");
        assert_eq!(
            merged(&workspace, &own.clone().into()),
            parse("version = \"1\"\nfeatures = [\"derive\"]").into()
        );
        assert_eq!(
            merged(&Value::from("1"), &own.into()),
            parse("version = \"1\"\nfeatures = [\"derive\"]").into()
        );
    }
}
