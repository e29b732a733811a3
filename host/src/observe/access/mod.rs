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
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;

use crate::config::checked::Log;

use self::ring::Hall;
use self::sink::Sink;

pub use self::date::now;
pub use self::format::{Entry, Formatter, Lines};
pub use self::ring::Worker;

/// How long the process's end waits at most.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// The writer thread, and how to reach it. The thread ends, with all written, when this and every [`Worker`] are gone.
pub struct Access {
    hall: Arc<Hall>,
    lines: Arc<ArcSwap<Lines>>,
}

impl Access {
    /// None: the access log is off.
    pub fn start(log: &Log) -> io::Result<Option<Access>> {
        let Some(sink) = Sink::open(&log.access)? else {
            return Ok(None);
        };
        Access::to(sink, Lines::of(log)).map(Some)
    }

    fn to(sink: Sink, lines: Lines) -> io::Result<Access> {
        let hall = writer::start(sink)?;
        let lines = Arc::new(ArcSwap::from_pointee(lines));
        Ok(Access { hall, lines })
    }

    /// Lines are as this configuration wants them from here on; the target stays what it is.
    pub fn follow(&self, log: &Log) {
        if !self.lines.load().are_of(log) {
            self.lines.store(Arc::new(Lines::of(log)));
        }
    }

    /// A worker's end of the log.
    pub fn worker(self: &Arc<Self>) -> Worker {
        Worker::new(self.clone(), ring::ROOM)
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(collect::Lines(self.hall.clone())));
    }

    pub fn flush(&self) {
        if !self.hall.flush(FLUSH_WAIT) {
            tracing::warn!("the access log's target takes nothing more: its last lines are lost");
        }
    }

    pub fn reopen(&self) {
        self.hall.reopen();
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.hall.close();
    }
}

#[cfg(test)]
mod tests;
