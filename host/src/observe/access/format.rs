//! A line in the format that the configuration names.

use std::time::Duration;

use crate::base::event::RequestEnded;
use crate::config::checked::AccessFormat;

use super::date::Dates;
use super::{combined, httplog, json};

/// Writes lines, on one worker.
pub struct Formatter {
    format: AccessFormat,
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

impl Formatter {
    pub fn new(format: AccessFormat) -> Formatter {
        Formatter::with(format, Dates::new(format))
    }

    pub fn with(format: AccessFormat, dates: Dates) -> Formatter {
        Formatter { format, dates }
    }

    /// Appends one line, its end included.
    pub fn line(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        match self.format {
            AccessFormat::Json => json::line(out, &mut self.dates, entry),
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
