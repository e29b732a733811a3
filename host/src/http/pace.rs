//! The rate that a client must keep on average while it is waited for, one body at a time.
//!
//! As Apache's `RequestReadTimeout … MinRate` and Kestrel's `MinRequestBodyDataRate`: a client that sends a byte now and then
//! never exceeds a timeout between two bytes, and holds its connection, and often one to a server, for hours. What counts
//! is the time in which nobody but the client could have gone on.

use std::time::{Duration, Instant};

/// The shortest wait: a deadline of zero would be none.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);

/// What is asked of a client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Floor {
    /// Bytes a second; 0: none.
    pub rate: u64,
    /// A client that was waited for less than this is not judged.
    pub grace: Duration,
}

/// How a client has kept to it within one body.
#[derive(Default)]
pub(super) struct Pace {
    waited: Duration,
    /// It is waited for.
    since: Option<Instant>,
    moved: u64,
}

impl Floor {
    pub(super) fn is_set(&self) -> bool {
        self.rate > 0
    }
}

impl Pace {
    /// The client is waited for from now on. How long it may be; zero: it is too slow.
    pub fn wait(&mut self, floor: Floor, now: Instant) -> Duration {
        self.since = Some(now);
        floor.allows(self.moved).saturating_sub(self.waited)
    }

    /// It has moved so many bytes, and is waited for no longer.
    pub fn moved(&mut self, bytes: u64, now: Instant) {
        self.moved += bytes;
        if let Some(since) = self.since.take() {
            self.waited += now - since;
        }
    }
}

impl Floor {
    /// How long that many bytes may take.
    fn allows(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).max(self.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Floor = Floor {
        rate: 100,
        grace: Duration::from_secs(5),
    };

    /// Runs a client that takes so many seconds for so many bytes, again and again. None: it is never too slow.
    fn too_slow_after(steps: &[(u64, u64)]) -> Option<Duration> {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let begun = now;
        for (seconds, bytes) in steps {
            let (left, takes) = (pace.wait(FLOOR, now), Duration::from_secs(*seconds));
            if left < takes {
                return Some(now - begun + left);
            }
            now += takes;
            pace.moved(*bytes, now);
        }
        None
    }

    #[test]
    fn nobody_is_judged_before_the_grace_is_over() {
        assert_eq!(too_slow_after(&[(3600, 0)]), Some(FLOOR.grace));
        assert_eq!(too_slow_after(&[(4, 1), (3600, 0)]), Some(FLOOR.grace));
    }

    #[test]
    fn the_average_counts() {
        let a_little_faster = [(1, 120); 1000];
        assert_eq!(too_slow_after(&a_little_faster), None);
        let at_half = [(1, 50); 1000];
        assert_eq!(too_slow_after(&at_half), Some(FLOOR.grace));
        let with_a_pause = [(1, 2000), (15, 0), (1, 2000)];
        assert_eq!(too_slow_after(&with_a_pause), None);
        let ever_slower = [(1, 2000), (60, 0)];
        assert_eq!(too_slow_after(&ever_slower), Some(Duration::from_secs(20)));
    }

    #[test]
    fn time_in_which_it_is_not_waited_for_does_not_count() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.wait(FLOOR, start);
        pace.moved(10, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(pace.wait(FLOOR, later), FLOOR.grace);
    }

    #[test]
    fn any_number_of_bytes_is_a_time() {
        assert!(Floor { rate: 1, ..FLOOR }.allows(u64::MAX) > Duration::from_secs(1 << 32));
        assert_eq!(FLOOR.allows(1000), Duration::from_secs(10));
    }
}
