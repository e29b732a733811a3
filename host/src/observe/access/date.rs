//! Dates as each format writes them, made once a second: the requests of a second share the text up to the seconds.
//!
//! JSON is in UTC. The formats taken over from HAProxy and nginx are in local time as theirs are. `jiff` knows the zone, since
//! `time` declines to in a process of several threads.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::checked::AccessFormat;

/// The date of the last line, up to the second.
pub struct Dates {
    format: AccessFormat,
    zone: TimeZone,
    second: Option<u64>,
    text: Vec<u8>,
}

impl Dates {
    pub fn new(format: AccessFormat) -> Dates {
        let zone = match format {
            AccessFormat::Json => TimeZone::UTC,
            AccessFormat::Combined | AccessFormat::Httplog => TimeZone::system(),
        };
        Dates::in_zone(format, zone)
    }

    pub fn in_zone(format: AccessFormat, zone: TimeZone) -> Dates {
        Dates {
            format,
            zone,
            second: None,
            text: Vec::new(),
        }
    }

    /// The date of that moment since 1970, without fractions of a second.
    pub fn text(&mut self, at: Duration) -> &[u8] {
        if self.second != Some(at.as_secs()) {
            self.second = Some(at.as_secs());
            self.text.clear();
            self.make(at.as_secs());
        }
        &self.text
    }

    fn make(&mut self, second: u64) {
        let pattern = match self.format {
            AccessFormat::Json => "%Y-%m-%dT%H:%M:%S",
            AccessFormat::Combined => "%d/%b/%Y:%H:%M:%S %z",
            AccessFormat::Httplog => "%d/%b/%Y:%H:%M:%S",
        };
        // A clock past the year 9999 is no reason to lose a line.
        let moment = Timestamp::from_second(second.cast_signed()).unwrap_or(Timestamp::MAX);
        let local = moment.to_zoned(self.zone.clone());
        self.text
            .extend_from_slice(local.strftime(pattern).to_string().as_bytes());
    }
}

/// Since 1970; zero while the clock stands before it.
pub fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
