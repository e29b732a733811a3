//! How many lines a plugin may log: so many a second, over all workers. What is over is counted, not kept.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

pub const LINES_A_SECOND: u32 = 100;

pub struct Lines {
    start: Instant,
    /// The second since `start` in the upper half, the lines in it in the lower.
    window: AtomicU64,
    dropped: AtomicU64,
}

impl Lines {
    /// Takes a line from this second's budget. False: there is none left, and the line is counted as dropped.
    pub fn take(&self) -> bool {
        self.take_at(self.start.elapsed().as_secs() as u32)
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// For lines that are dropped for another reason.
    pub fn drop_one(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    fn take_at(&self, second: u32) -> bool {
        let taken = self.window.fetch_update(Relaxed, Relaxed, |window| {
            let (now, lines) = ((window >> 32) as u32, window as u32);
            match now == second {
                true if lines >= LINES_A_SECOND => None,
                true => Some(window + 1),
                false => Some(u64::from(second) << 32 | 1),
            }
        });
        if taken.is_err() {
            self.drop_one();
        }
        taken.is_ok()
    }
}

impl Default for Lines {
    fn default() -> Lines {
        Lines {
            start: Instant::now(),
            window: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_budget() {
        let lines = Lines::default();
        let taken = (0..250).filter(|_| lines.take_at(7)).count();
        assert_eq!((taken, lines.dropped()), (100, 150));
        assert!(lines.take_at(8));
    }
}
