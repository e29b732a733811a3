//! `watch = true`: when the config file, or a file that it names, changes on disk, the config is read again.
//!
//! Folders are watched rather than files, because editors and builds replace a file by renaming another over it, and
//! orchestrators by moving a symbolic link: an event only prompts a look at each file's stamp. A burst of events is one
//! reload; a file caught half-written is refused as a candidate and read again at its next event.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::config::checked::PluginSource;

/// How long files must have been left alone before they are read.
const SETTLED: Duration = Duration::from_millis(100);

pub struct Watch {
    watcher: RecommendedWatcher,
    folders: HashSet<PathBuf>,
    files: HashMap<PathBuf, Stamp>,
    events: mpsc::Receiver<()>,
    /// There was an event, and no look since.
    due: bool,
}

/// When a file was last written, and how long it is; none while it is missing.
type Stamp = Option<(SystemTime, u64)>;

impl Watch {
    pub fn new() -> notify::Result<Watch> {
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if event.kind.is_access() {
                return;
            }
            // Full: a look is due already. Closed: the proxy is gone.
            let _ = sender.try_send(());
        })?;
        Ok(Watch {
            watcher,
            folders: HashSet::new(),
            files: HashMap::new(),
            events,
            due: false,
        })
    }

    /// Watches what `config` is made of, beside what was watched before: a file that a refused candidate named may be
    /// mended.
    pub fn follow(&mut self, config: &Config) {
        self.follow_files(files(config));
    }

    /// The same of these files, whose paths may be relative.
    pub fn follow_files(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        let files = files.into_iter();
        for file in files.filter_map(|file| std::path::absolute(file).ok()) {
            let folder = file.parent().map(Path::to_owned).unwrap_or_default();
            if self.folders.insert(folder.clone())
                && let Err(error) = self.watcher.watch(&folder, RecursiveMode::NonRecursive)
            {
                tracing::error!(folder = %folder.display(), %error, "changes here will not be noticed");
            }
            self.files
                .entry(file)
                .or_insert_with_key(|file| stamp(file));
        }
    }

    /// Resolves when a watched file has changed and been left alone since. Dropped before, it forgets nothing.
    pub async fn changed(&mut self) {
        loop {
            if !self.due && self.events.recv().await.is_none() {
                return std::future::pending().await;
            }
            self.due = true;
            self.settled().await;
            self.due = false;
            if self.look() {
                return;
            }
        }
    }

    /// Resolves once no watched file has changed for a while, whatever becomes of others in their folders: a log is written all the
    /// time.
    async fn settled(&mut self) {
        let mut before = self.stamps();
        loop {
            tokio::time::sleep(SETTLED).await;
            while self.events.try_recv().is_ok() {}
            let now = self.stamps();
            if now == before {
                return;
            }
            before = now;
        }
    }

    fn stamps(&self) -> Vec<Stamp> {
        self.files.keys().map(|file| stamp(file)).collect()
    }

    /// Whether any file is not as it was at the last look.
    fn look(&mut self) -> bool {
        let mut changed = false;
        for (file, known) in &mut self.files {
            let now = stamp(file);
            changed |= now != std::mem::replace(known, now);
        }
        changed
    }
}

fn stamp(file: &Path) -> Stamp {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn files(config: &Config) -> Vec<PathBuf> {
    let plugins = config
        .plugins
        .iter()
        .filter_map(|plugin| match &plugin.source {
            PluginSource::File { path, .. } => Some(path),
            PluginSource::Shipped(_) => None,
        });
    let listeners = config.listeners.iter();
    let pages = listeners.flat_map(|listener| &listener.error_pages);
    let pages = pages.map(|page| &page.path);
    let all = plugins.chain(pages).chain([&config.source.path]);
    all.cloned().collect()
}
