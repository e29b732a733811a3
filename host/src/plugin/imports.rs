//! What a guest may ask of the host: `host`, `local-store` and `shared-store` of the WIT. Nothing here blocks or panics, and all that a
//! guest can make grow is bounded, here or in `state`.

use std::fmt::Write as _;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::Result;

use crate::state::Level;

use super::bindings::{host, local_store, shared_store};
use super::guest::Guest;
use super::limits::Refusal;

/// Bytes of a log line that are kept.
const LOG_LINE: usize = 4 << 10;

impl host::Host for Guest {
    fn log(&mut self, level: host::Level, message: String) -> Result<()> {
        self.say(level, &message);
        Ok(())
    }

    fn open_counter(&mut self, metric: String, labels: Vec<(String, String)>) -> Result<u32> {
        Ok(self.state.counters.open(metric, labels))
    }

    fn count(&mut self, counter: u32, delta: u64) -> Result<()> {
        match self.state.counters.count(counter, delta) {
            true => Ok(()),
            false => Err(Refusal(format!("it counts on {counter}, which it never opened")).into()),
        }
    }

    fn now_ms(&mut self) -> Result<u64> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Ok(since.map_or(0, |d| d.as_millis() as u64))
    }

    fn monotonic_us(&mut self) -> Result<u64> {
        let now = clock_gettime(ClockId::Monotonic);
        Ok(now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000)
    }

    fn random(&mut self) -> Result<u64> {
        Ok(self.random.next())
    }

    fn open_ticket(&mut self, name: String) -> Result<u32> {
        Ok(self.state.tickets.open(&name))
    }

    fn ticket(&mut self, ticket: u32) -> Result<u64> {
        self.state.tickets.take(ticket).ok_or_else(|| {
            Refusal(format!(
                "it takes from ticket {ticket}, which it never opened"
            ))
            .into()
        })
    }
}

impl local_store::Host for Guest {
    fn get(&mut self, key: Vec<u8>) -> Result<Option<Vec<u8>>> {
        Ok(self.state.local.get(&key))
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>, ttl_ms: Option<u32>) -> Result<bool> {
        Ok(self.state.local.set(&key, &value, ttl_ms))
    }

    fn add(&mut self, key: Vec<u8>, delta: i64, ttl_ms: Option<u32>) -> Result<i64> {
        Ok(self.state.local.add(&key, delta, ttl_ms))
    }

    fn compare_and_set(
        &mut self,
        key: Vec<u8>,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool> {
        let expected = expected.as_deref();
        Ok(self.state.local.compare_and_set(&key, expected, &value))
    }

    fn delete(&mut self, key: Vec<u8>) -> Result<()> {
        self.state.local.delete(&key);
        Ok(())
    }

    fn take_some(
        &mut self,
        key: Vec<u8>,
        per_second: f64,
        burst: u32,
        tokens: u32,
    ) -> Result<Option<local_store::Level>> {
        let level = self.state.local.take_some(&key, per_second, burst, tokens);
        Ok(level.map(said))
    }

    fn take(&mut self, key: Vec<u8>, per_second: f64, burst: u32) -> Result<Option<u32>> {
        Ok(self.state.local.take(&key, per_second, burst))
    }
}

impl shared_store::Host for Guest {
    fn take_some(
        &mut self,
        key: Vec<u8>,
        per_second: f64,
        burst: u32,
        tokens: u32,
    ) -> Result<Option<local_store::Level>> {
        let common = &self.state.common;
        let level = common.take_some(&key, per_second, burst, tokens);
        Ok(level.map(said))
    }

    fn add(&mut self, key: Vec<u8>, delta: i64, ttl_ms: Option<u32>) -> Result<i64> {
        Ok(self.state.common.add(&key, delta, ttl_ms))
    }

    fn get(&mut self, key: Vec<u8>) -> Result<Option<Vec<u8>>> {
        Ok(self.state.common.get(&key))
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>, ttl_ms: u32) -> Result<bool> {
        Ok(self.state.common.set(&key, &value, ttl_ms))
    }

    fn delete(&mut self, key: Vec<u8>) -> Result<()> {
        self.state.common.delete(&key);
        Ok(())
    }
}

fn said(level: Level) -> local_store::Level {
    local_store::Level {
        taken: level.taken,
        left: level.left,
        wait_ms: level.wait_ms,
        full_ms: level.full_ms,
    }
}

impl Guest {
    /// A line in the log under the plugin's name, within its budget.
    pub(super) fn say(&self, level: host::Level, message: &str) {
        if !self.state.lines.take() {
            return;
        }
        let plugin = &*self.name;
        let line = printable(message, LOG_LINE);
        match level {
            host::Level::Debug => tracing::debug!(target: "tidegate::plugin", plugin, "{line}"),
            host::Level::Info => tracing::info!(target: "tidegate::plugin", plugin, "{line}"),
            host::Level::Warn => tracing::warn!(target: "tidegate::plugin", plugin, "{line}"),
            host::Level::Error => tracing::error!(target: "tidegate::plugin", plugin, "{line}"),
        }
    }
}

/// The first bytes of a text, without control characters: a guest must not forge lines or drive a terminal. Those that
/// change the direction of text or hide are escaped too.
pub(super) fn printable(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len().min(most));
    for c in text.chars() {
        if line.len() + c.len_utf8() > most {
            break;
        }
        let hides = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        match c {
            '\t' => line.push(' '),
            c if c.is_control() || hides => {
                let _ = write!(line, "{}", c.escape_default());
            }
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_forge_another() {
        assert_eq!(printable("a\nb\x1b[31m\tü", 99), "a\\nb\\u{1b}[31m ü");
        assert_eq!(printable("\u{202e}x", 99), "\\u{202e}x");
        assert_eq!(printable(&"ü".repeat(5_000), LOG_LINE).len(), LOG_LINE);
    }
}
