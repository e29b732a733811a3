//! The access log: a line for each request, in one of three formats.
//!
//! ```text
//! worker 0: format ─> ring ─┐
//! worker 1: format ─> ring ─┼─> writer thread ─> standard output, standard error, or a file
//! worker n: format ─> ring ─┘
//! ```
//!
//! A worker formats its line into a buffer that it keeps, and copies it into a ring of bytes of its own, which is without locks
//! and bounded. What it pays beyond the formatting is that copy and one fence: no allocation, and, while requests keep coming,
//! no system call. For the writer looks by itself, every [`writer::PAUSE`], as long as it finds something; once it finds
//! nothing it sleeps, and the next line wakes it at once. So under load lines are gathered into large writes, and a lone line
//! is there at once.
//!
//! When a ring is full (the disk hangs, the pipe's reader has stopped) its lines are dropped and counted.
//!
//! Each target has a thread and rings of its own. With another target in the configuration a worker's next line goes into a new
//! ring; what the old one holds is for the old thread, which ends, its file closed, once no worker can add to it and all is
//! written. So no line is lost, and a target that hangs keeps nobody from changing it.

mod collect;
mod combined;
pub mod date;
mod format;
mod httplog;
mod json;
mod ring;
mod sink;
pub mod text;
mod writer;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;

use crate::config::checked::{AccessTarget, Log};

use self::ring::{Counts, Hall};
use self::sink::Sink;

pub use self::date::now;
pub use self::format::{Entry, Formatter, Lines};
pub use self::ring::Worker;

/// How long the process's end waits at most.
const FLUSH_WAIT: Duration = Duration::from_secs(2);
/// Targets that are written to at one time: the one in force, and former ones that hang.
const MOST_TARGETS: usize = 8;

/// The access log: what lines are like and where they go, as the configuration in force has it.
pub struct Access {
    lines: Arc<ArcSwap<Lines>>,
    counts: Arc<Counts>,
    /// Of targets whose threads may still run.
    halls: Mutex<Vec<Arc<Hall>>>,
}

/// What lines go to, with the thread that writes it. The thread ends, with all written, once this is gone.
pub struct Target {
    at: AccessTarget,
    hall: Arc<Hall>,
}

/// An access log that is ready to be put in force. Dropped instead, it closes what it has opened.
pub struct Prepared(Arc<Lines>);

/// The target that was in force before: to be dropped once no worker goes by the former configuration any more. What is queued
/// for it is still written, and it is closed.
#[must_use = "workers may still write to it"]
pub struct Former(Option<Arc<Target>>);

impl Default for Access {
    fn default() -> Access {
        Access {
            lines: Arc::new(ArcSwap::from_pointee(Lines::off())),
            counts: Arc::default(),
            halls: Mutex::default(),
        }
    }
}

impl Access {
    /// Opens what this configuration names, unless lines go there already. The error names the file. Blocks.
    pub fn prepare(&self, log: &Log) -> io::Result<Prepared> {
        let now = self.lines.load_full();
        if now.are_of(log) {
            return Ok(Prepared(now));
        }
        let target = match now.target() {
            Some(target) if target.at == log.access.value => Some(target.clone()),
            _ => self.open(&log.access.value)?,
        };
        Ok(Prepared(Arc::new(Lines::of(log, target))))
    }

    /// Lines are as prepared from here on, and go where it says.
    pub fn adopt(&self, prepared: Prepared) -> Former {
        let Prepared(lines) = prepared;
        let before = self.lines.swap(lines.clone());
        match (before.target(), lines.target()) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => Former(None),
            (old, _) => Former(old.cloned()),
        }
    }

    /// A worker's end of the log.
    pub fn worker(&self) -> Worker {
        Worker::new(self.lines.clone(), ring::ROOM)
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(collect::Lines(self.counts.clone())));
    }

    /// Of former targets too, all together in that time.
    pub fn flush(&self) {
        if !self.flush_in(FLUSH_WAIT) {
            tracing::warn!("the access log's target takes nothing more: its last lines are lost");
        }
    }

    /// Opens the path of the target in force anew.
    pub fn reopen(&self) {
        if let Some(target) = self.lines.load().target() {
            target.hall.reopen();
        }
    }

    fn flush_in(&self, most: Duration) -> bool {
        let halls = self.halls().clone();
        let end = Instant::now() + most;
        // All are asked before one is waited for: it may hang.
        let asked: Vec<u64> = halls.iter().map(|hall| hall.flush()).collect();
        let asked = halls.iter().zip(asked);
        let late = asked.filter(|(hall, asked)| !hall.has_flushed(*asked, end));
        late.count() == 0
    }

    fn open(&self, at: &AccessTarget) -> io::Result<Option<Arc<Target>>> {
        let mut halls = self.halls();
        halls.retain(|hall| !hall.is_over());
        if halls.len() >= MOST_TARGETS && *at != AccessTarget::Off {
            let hang = "former targets hang: they take nothing of what was queued for them";
            return Err(io::Error::other(hang));
        }
        let Some(sink) = Sink::open(at)? else {
            return Ok(None);
        };
        let target = self.start(sink, at.clone())?;
        halls.push(target.hall.clone());
        Ok(Some(target))
    }

    fn start(&self, sink: Sink, at: AccessTarget) -> io::Result<Arc<Target>> {
        let hall = writer::start(sink, self.counts.clone())?;
        Ok(Arc::new(Target { at, hall }))
    }

    fn halls(&self) -> MutexGuard<'_, Vec<Arc<Hall>>> {
        self.halls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.hall.close();
    }
}

impl Drop for Former {
    fn drop(&mut self) {
        if let Some(target) = &self.0 {
            target.hall.close();
        }
    }
}

#[cfg(test)]
mod tests;
