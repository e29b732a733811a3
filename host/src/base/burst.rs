//! What may happen ten thousand times a second is told of once a burst.

use std::time::{Duration, Instant};

/// What comes closer than this to what was before it is the same burst.
const QUIET: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Burst(Option<Instant>);

impl Burst {
    pub const fn new() -> Burst {
        Burst(None)
    }

    /// It has happened again. True: there was none for a while, so that it is to be told.
    pub fn begins(&mut self, now: Instant) -> bool {
        let last = self.0.replace(now);
        last.is_none_or(|last| now.saturating_duration_since(last) > QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_told_of_once_however_long_it_lasts() {
        let mut burst = Burst::new();
        let start = Instant::now();
        assert!(burst.begins(start));
        let told = (1..30).filter(|second| burst.begins(start + Duration::from_secs(*second)));
        assert_eq!(told.count(), 0);
        let later = start + Duration::from_secs(29) + QUIET + Duration::from_millis(1);
        assert!(burst.begins(later), "after a while without");
    }
}
