//! A line in the format that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use crate::base::event::RequestEnded;
use crate::config::checked::{AccessField, AccessFormat, AccessTarget, Log};

use super::Target;
use super::date::Dates;
use super::json::Columns;
use super::{combined, httplog, json};

/// What lines are like and where they go, worked out once a configuration.
pub struct Lines {
    format: AccessFormat,
    fields: Vec<AccessField>,
    columns: Columns,
    /// None: there are no lines.
    target: Option<Arc<Target>>,
}

/// Writes lines, on one worker.
pub struct Formatter {
    lines: Arc<Lines>,
    dates: Dates,
}

/// A request, and what the formats need beside it.
pub struct Entry<'a> {
    pub request: &'a RequestEnded<'a>,
    /// When it ended, since 1970.
    pub ended: Duration,
    /// Connections open at its listener on this worker.
    pub listener_connections: u64,
}

impl Lines {
    /// `fields` are those of the JSON format.
    pub fn new(format: AccessFormat, fields: &[AccessField]) -> Lines {
        Lines {
            format,
            fields: fields.to_vec(),
            columns: Columns::of(fields),
            target: None,
        }
    }

    pub fn of(log: &Log, target: Option<Arc<Target>>) -> Lines {
        Lines {
            target,
            ..Lines::new(log.format, &log.fields)
        }
    }

    /// None are written.
    pub fn off() -> Lines {
        Lines::new(AccessFormat::Json, &[])
    }

    pub fn target(&self) -> Option<&Arc<Target>> {
        self.target.as_ref()
    }

    /// Whether they are what this configuration wants.
    pub fn are_of(&self, log: &Log) -> bool {
        let at = self.target.as_ref().map(|target| &target.at);
        let same = at.unwrap_or(&AccessTarget::Off) == &log.access.value;
        same && self.format == log.format && self.fields == log.fields
    }
}

impl Formatter {
    pub fn new(lines: Arc<Lines>) -> Formatter {
        let dates = Dates::new(lines.format);
        Formatter::with(lines, dates)
    }

    pub fn with(lines: Arc<Lines>, dates: Dates) -> Formatter {
        Formatter { lines, dates }
    }

    /// Writes such lines from here on.
    pub fn follow(&mut self, lines: &Arc<Lines>) {
        if Arc::ptr_eq(&self.lines, lines) {
            return;
        }
        if self.lines.format != lines.format {
            self.dates = Dates::new(lines.format);
        }
        self.lines = lines.clone();
    }

    /// Appends one line, its end included.
    pub fn line(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        match self.lines.format {
            AccessFormat::Json => json::line(out, &mut self.dates, entry, &self.lines.columns),
            AccessFormat::Combined => combined::line(out, &mut self.dates, entry),
            AccessFormat::Httplog => httplog::line(out, &mut self.dates, entry),
        }
        out.push(b'\n');
    }
}

impl Entry<'_> {
    /// When the request's first byte came, since 1970.
    pub fn began(&self) -> Duration {
        self.ended.saturating_sub(self.request.times.total)
    }
}
