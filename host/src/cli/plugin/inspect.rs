//! `tidegate plugin inspect`: what a `.wasm` is.

use crate::plugin::{Artifact, Kind};

use super::super::Host;
use super::super::arguments::Inspect;
use super::super::terminal::{Failure, print, shown, size};
use super::{hex, load, runtime};

pub fn inspect(host: &Host, flags: &Inspect) -> Result<(), Failure> {
    let (runtime, _) = runtime(host)?;
    let artifact = load(&runtime, &flags.file)?;
    if flags.json {
        let text = serde_json::to_string_pretty(&as_json(&artifact)).expect("plain JSON");
        return print(&format!("{text}\n"));
    }
    print(&as_text(&artifact))
}

/// Also what `plugin build` shows of what it made.
pub fn as_text(artifact: &Artifact) -> String {
    let imports: Vec<String> = artifact.imports().iter().map(|name| shown(name)).collect();
    let imports = match &imports[..] {
        [] => "none".to_owned(),
        names => names.join("\n          "),
    };
    format!(
        "roles     {}\nwit       tidegate:plugin@{}\nkind      {}\nsize      {} ({} bytes)\nsha256    {}\nimports   {imports}\n",
        artifact.roles(),
        shown(artifact.wit_version()),
        kind(artifact),
        size(artifact.size()),
        artifact.size(),
        hex(&artifact.sha256()),
    )
}

fn as_json(artifact: &Artifact) -> serde_json::Value {
    let roles = artifact.roles().to_string();
    serde_json::json!({
        "roles": roles.split(", ").filter(|role| !role.is_empty()).collect::<Vec<_>>(),
        "wit": artifact.wit_version(),
        "kind": kind(artifact),
        "size": artifact.size(),
        "sha256": hex(&artifact.sha256()),
        "imports": artifact.imports(),
    })
}

fn kind(artifact: &Artifact) -> &'static str {
    match artifact.kind() {
        Kind::Module => "module",
        Kind::Component => "component",
    }
}
