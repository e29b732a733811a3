//! Frames that cost their sender nothing and us work: PING and SETTINGS, which want an answer, PRIORITY, RST_STREAM, empty DATA,
//! WINDOW_UPDATE, and kinds that nobody knows. Each spends of a budget; what a connection is there for earns it back. HAProxy's
//! `tune.h2.fe.glitches-threshold` is of this kind.
//!
//! CONTINUATION floods are bounded by the h2 crate (a header list has a size, a header block a number of frames), and so are
//! streams that are reset before we have heard of them.

use crate::http::timers::Millis;

/// What a connection may spend at once; it begins with it.
const MOST: u32 = 2_000;
/// Earned by a request.
const A_REQUEST: u32 = 10;
/// Milliseconds in which one is earned for nothing: who asks now and then whether we are there may do so for days.
const FREE: Millis = 100;
/// Earned by this many bytes of a body, either way.
const BYTES: usize = 1_024;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;

/// Looks at the heads of frames as they pass by.
pub(super) struct Flood {
    head: [u8; 9],
    /// Bytes of the head that are there.
    have: usize,
    /// Bytes of the payload that are still to come.
    payload: usize,
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
    /// Behind the preface.
    pub fn new(now: Millis) -> Flood {
        Flood {
            clock: Clock(now),
            head: [0; 9],
            have: 0,
            payload: 0,
            budget: MOST,
            moved: 0,
        }
    }

    /// Bytes that have come. False: it is too much.
    pub fn read(&mut self, mut bytes: &[u8], now: Millis) -> bool {
        let free = self.clock.earned(now);
        self.earn(free);
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let taken = (self.head.len() - self.have).min(bytes.len());
            self.head[self.have..][..taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == self.head.len() {
                self.have = 0;
                self.frame();
            }
        }
        self.budget > 0
    }

    /// Bytes that were sent.
    pub fn wrote(&mut self, bytes: usize) {
        self.earn_by(bytes);
    }

    fn frame(&mut self) {
        let [a, b, c, kind, ..] = self.head;
        self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        match kind {
            HEADERS => self.earn(A_REQUEST),
            DATA if self.payload > 0 => self.earn_by(self.payload),
            CONTINUATION => {}
            _ => self.budget = self.budget.saturating_sub(1),
        }
    }

    fn earn_by(&mut self, bytes: usize) {
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
pub(super) struct Resets(u32, Clock);

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

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let [_, a, b, c] = (payload as u32).to_be_bytes();
        let mut bytes = vec![a, b, c, kind, 0, 0, 0, 0, 1];
        bytes.resize(9 + payload, 0xff);
        bytes
    }

    #[test]
    fn pings_are_counted_in_whatever_pieces_they_come() {
        let pings = frame(6, 8).repeat(MOST as usize);
        for size in [1, 7, 17, 4096, pings.len()] {
            let mut flood = Flood::new(7);
            let mut pieces = pings[..pings.len() - 17].chunks(size);
            assert!(pieces.all(|piece| flood.read(piece, 7)), "pieces of {size}");
            assert!(!flood.read(&frame(6, 8), 7));
            assert!(!flood.read(&frame(HEADERS, 5), 7_000), "it stays so");
        }
    }

    #[test]
    fn who_asks_and_sends_may_say_more() {
        let mut flood = Flood::new(7);
        for _ in 0..MOST {
            assert!(flood.read(&frame(HEADERS, 20), 7));
            assert!(flood.read(&frame(8, 4).repeat(10), 7));
        }
        for _ in 0..MOST * 10 {
            flood.wrote(BYTES);
            assert!(flood.read(&frame(8, 4), 7));
        }
    }

    #[test]
    fn who_only_shows_to_be_there_may_do_so_for_ever() {
        let mut flood = Flood::new(7);
        let beats = (1..).map(|beat| 7 + beat * FREE);
        let mut beats = beats.take(MOST as usize * 10);
        assert!(beats.all(|now| flood.read(&frame(6, 8), now)));
    }

    #[test]
    fn empty_data_is_no_data() {
        let mut flood = Flood::new(7);
        assert!(!flood.read(&frame(DATA, 0).repeat(MOST as usize), 7));
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
