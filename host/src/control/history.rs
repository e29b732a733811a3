//! The last generations, each with all that it takes to run it again: the configuration as it was read, and every plugin's
//! code, whatever has become of the files since.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;
use time::OffsetDateTime;

use crate::base::ids::Generation;
use crate::config::Config;

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
    pub config: Arc<Config>,
    /// By `config.plugins`.
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
    /// What brought it: `start`, `reload`, `plugin NAME` or `rollback to N`.
    pub what: String,
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
    pub fn remember(&mut self, what: &str, running: &Running) {
        let code = |plugin: &super::generation::RunningPlugin| Code {
            name: plugin.name.clone(),
            sha256: plugin.artifact.sha256(),
            wasm: plugin.wasm.clone(),
        };
        self.0.push_front(Past {
            generation: running.generation,
            at: OffsetDateTime::now_utc(),
            what: what.to_owned(),
            config: running.config.clone(),
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

    /// The newest first.
    pub fn entries(&self) -> Vec<HistoryEntry> {
        let entries = self.0.iter().enumerate();
        entries.map(|(at, past)| past.entry(at == 0)).collect()
    }
}

impl Past {
    /// The plugins whose code is no longer what the configuration names, as uploads instead of that. Blocks: reads files. Err: one
    /// that can't be read.
    pub fn uploads(&self) -> Result<HashMap<String, Upload>, String> {
        let mut uploads = HashMap::new();
        for (plugin, code) in self.config.plugins.iter().zip(&self.plugins) {
            let instead_of = named_hash(plugin)?;
            if instead_of != code.sha256 {
                let wasm = code.wasm.clone();
                uploads.insert(plugin.name.clone(), Upload { wasm, instead_of });
            }
        }
        Ok(uploads)
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
            running,
            plugins: self.plugins.iter().map(plugin).collect(),
        }
    }
}
