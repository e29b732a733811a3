//! The last generations, each with all that it takes to run it again: the configuration as it was read, and every plugin's
//! code, whatever has become of the files since.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use time::OffsetDateTime;

use crate::base::ids::Generation;
use crate::config::Config;
use crate::config::edits::Edits;

use super::draft::{hex, named_hash};
use super::generation::{Running, Upload};
use super::shared::rfc3339;

/// Generations that are kept, the one that runs included.
const MOST: usize = 10;

#[derive(Default)]
pub struct History(VecDeque<Past>);

/// A generation that every worker has run.
#[derive(Clone)]
pub struct Past {
    generation: Generation,
    at: OffsetDateTime,
    what: String,
    by: String,
    /// What the file said.
    pub written: Arc<Config>,
    pub edits: Edits,
    /// Those of the configuration that came of both, in its order.
    plugins: Vec<Code>,
}

#[derive(Clone)]
struct Code {
    name: String,
    sha256: [u8; 32],
    wasm: Arc<[u8]>,
}

/// As `/api/v1/history` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryEntry {
    pub generation: u64,
    /// RFC 3339, UTC.
    pub at: String,
    /// What brought it: `start`, `reload`, `plugin NAME`, `rollback to N`, `weight POOL/SERVER N`, `add POOL/SERVER` or
    /// `remove POOL/SERVER`.
    pub what: String,
    /// Who asked for it.
    pub by: String,
    /// Whether it is the one that runs.
    pub running: bool,
    pub plugins: Vec<CodeEntry>,
}

#[derive(Clone, Debug, Serialize)]
pub struct CodeEntry {
    pub name: String,
    pub sha256: String,
}

impl History {
    /// `running` is the newest now.
    pub fn remember(&mut self, what: &str, by: &str, running: &Running) {
        let code = |plugin: &super::generation::RunningPlugin| Code {
            name: plugin.name.clone(),
            sha256: plugin.artifact.sha256(),
            wasm: plugin.wasm.clone(),
        };
        self.0.push_front(Past {
            generation: running.generation,
            at: OffsetDateTime::now_utc(),
            what: what.to_owned(),
            by: by.to_owned(),
            written: running.written.clone(),
            edits: running.edits.clone(),
            plugins: running.plugins.iter().map(code).collect(),
        });
        self.0.truncate(MOST);
    }

    pub fn find(&self, generation: Generation) -> Option<&Past> {
        self.0.iter().find(|past| past.generation == generation)
    }

    /// The numbers that can be gone back to, the newest first.
    pub fn generations(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|past| past.generation.0)
    }

    /// The newest first; none of them runs while names or a servers file have brought another since.
    pub fn entries(&self, running: Generation) -> Vec<HistoryEntry> {
        let entries = self.0.iter();
        entries
            .map(|past| past.entry(past.generation == running))
            .collect()
    }
}

impl Past {
    /// The plugins whose code is no longer what the configuration names, as uploads instead of that. Blocks: reads files.
    pub fn uploads(&self) -> HashMap<String, Upload> {
        let mut uploads = HashMap::new();
        for (plugin, code) in self.written.plugins.iter().zip(&self.plugins) {
            // A file that is gone since is no hindrance: what was in it is known.
            let instead_of = named_hash(plugin).ok();
            if instead_of != Some(code.sha256) {
                let wasm = code.wasm.clone();
                uploads.insert(plugin.name.clone(), Upload { wasm, instead_of });
            }
        }
        uploads
    }

    fn entry(&self, running: bool) -> HistoryEntry {
        let plugin = |code: &Code| CodeEntry {
            name: code.name.clone(),
            sha256: hex(&code.sha256),
        };
        HistoryEntry {
            generation: self.generation.0,
            at: rfc3339(self.at),
            what: self.what.clone(),
            by: self.by.clone(),
            running,
            plugins: self.plugins.iter().map(plugin).collect(),
        }
    }
}
