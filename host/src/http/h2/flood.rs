//! Frames that cost their sender nothing and us work: PING and SETTINGS, which want an answer, PRIORITY, RST_STREAM, empty DATA,
//! WINDOW_UPDATE, and kinds that nobody knows. Each spends of a budget; what a connection is there for earns it back. HAProxy's
//! `tune.h2.fe.glitches-threshold` is of this kind.
//!
//! CONTINUATION floods are bounded by the size of a header block and the number of its frames (`reader`).

use super::frame::{Head, kind};
use crate::http::timers::Millis;

/// What a connection may spend at once; it begins with it.
const MOST: u32 = 2_000;
/// Earned by a request.
const A_REQUEST: u32 = 10;
/// Milliseconds in which one is earned for nothing: who asks now and then whether we are there may do so for days.
const FREE: Millis = 100;
/// Earned by this many bytes of a body, either way.
const BYTES: usize = 1_024;

/// What a connection has left to spend.
pub struct Flood {
    budget: u32,
    /// Bytes that have not earned anything yet.
    moved: usize,
    clock: Clock,
}

/// What time has brought.
struct Clock(Millis);

impl Clock {
    fn earned(&mut self, now: Millis) -> u32 {
        let tokens = now.saturating_sub(self.0) / FREE;
        self.0 += tokens * FREE;
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }
}

impl Flood {
    pub fn new(now: Millis) -> Flood {
        Flood {
            clock: Clock(now),
            budget: MOST,
            moved: 0,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Millis) {
        let free = self.clock.earned(now);
        self.earn(free);
    }

    /// A frame has come. False: it is too much.
    pub fn frame(&mut self, head: &Head) -> bool {
        match head.kind {
            kind::HEADERS => self.earn(A_REQUEST),
            kind::DATA if head.length > 0 => self.wrote(head.length),
            kind::CONTINUATION => {}
            _ => self.budget = self.budget.saturating_sub(1),
        }
        self.budget > 0
    }

    /// Bytes have passed.
    pub fn wrote(&mut self, bytes: usize) {
        self.moved += bytes;
        self.earn((self.moved / BYTES) as u32);
        self.moved %= BYTES;
    }

    fn earn(&mut self, tokens: u32) {
        // Spent is spent: a flood does not end with the next request.
        if self.budget > 0 {
            self.budget = self.budget.saturating_add(tokens).min(MOST);
        }
    }
}

/// Streams that a client has reset before they were answered (CVE-2023-44487): each has cost us a request to a server, and
/// makes room for the next one at once. The same kind of budget, in requests.
pub struct Resets(u32, Clock);

/// More than a browser drops with a page.
const MOST_RESETS: u32 = 200;

impl Resets {
    pub fn new(now: Millis) -> Resets {
        Resets(MOST_RESETS, Clock(now))
    }

    /// A stream has ended. False: it is too much.
    pub fn ended(&mut self, by_reset: bool, now: Millis) -> bool {
        let earned = self.1.earned(now).saturating_add(u32::from(!by_reset));
        let left = self.0.saturating_add(earned).min(MOST_RESETS);
        self.0 = left.saturating_sub(u32::from(by_reset));
        self.0 > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Head {
        Head {
            length,
            kind,
            flags: 0,
            stream: 1,
        }
    }

    #[test]
    fn pings_are_counted() {
        let mut flood = Flood::new(7);
        let ping = frame(kind::PING, 8);
        assert!((1..MOST).all(|_| flood.frame(&ping)));
        assert!(!flood.frame(&ping));
        flood.tick(7_000);
        assert!(!flood.frame(&frame(kind::HEADERS, 5)), "it stays so");
    }

    #[test]
    fn who_asks_and_sends_may_say_more() {
        let mut flood = Flood::new(7);
        let update = frame(kind::WINDOW_UPDATE, 4);
        for _ in 0..MOST {
            assert!(flood.frame(&frame(kind::HEADERS, 20)));
            assert!((0..10).all(|_| flood.frame(&update)));
        }
        for _ in 0..MOST * 10 {
            flood.wrote(BYTES);
            assert!(flood.frame(&update));
        }
    }

    #[test]
    fn who_only_shows_to_be_there_may_do_so_for_ever() {
        let mut flood = Flood::new(7);
        for beat in 1..Millis::from(MOST) * 10 {
            flood.tick(7 + beat * FREE);
            assert!(flood.frame(&frame(kind::PING, 8)));
        }
    }

    #[test]
    fn empty_data_is_no_data() {
        let mut flood = Flood::new(7);
        let empty = frame(kind::DATA, 0);
        assert!(!(0..MOST).all(|_| flood.frame(&empty)));
    }

    #[test]
    fn resets_are_forgiven_to_those_who_wait_for_answers() {
        let mut resets = Resets::new(7);
        assert!((0..10_000).all(|turn| resets.ended(turn % 2 == 0, 7)));
        let mut resets = Resets::new(7);
        assert!((0..10_000).all(|turn| resets.ended(true, 7 + turn * FREE)));
        let mut resets = Resets::new(7);
        assert!((1..MOST_RESETS).all(|_| resets.ended(true, 7)));
        assert!(!resets.ended(true, 7));
    }
}
