//! What holds of the readers of heads, chunks and frames, whatever they are given. Used by the fuzz targets and by the test that
//! reads their corpus. A function returns when all is well and panics otherwise.
//!
//! The readers are held against a second opinion that shares no code with them: `plain` takes an accepted message apart by
//! its line ends, as the simplest of servers would.

mod chunks;
mod frames;
mod heads;
mod plain;

pub use chunks::chunked_body;
pub use frames::h2_frames;
pub use heads::{request_head, response_head};

/// Where bytes are split into reads to see that nothing depends on it.
#[derive(Clone, Copy, Debug)]
pub enum Splits {
    /// A few places that depend on the bytes: a fuzzer comes by often.
    Some,
    /// Everywhere.
    All,
}

impl Splits {
    fn of(self, bytes: &[u8]) -> Vec<usize> {
        match self {
            Splits::All => (0..=bytes.len()).collect(),
            Splits::Some => {
                let mut random = Random::of(bytes);
                (0..4).map(|_| random.below(bytes.len() + 1)).collect()
            }
        }
    }
}

/// In pieces of a few bytes each.
fn many(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut random, mut rest, mut pieces) = (Random::of(bytes), bytes, Vec::new());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((1 + random.below(7)).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// SplitMix64: the same numbers for the same seed, so that a finding can be repeated.
pub struct Random(pub u64);

impl Random {
    /// Seeded by the bytes themselves.
    fn of(bytes: &[u8]) -> Random {
        // FNV-1a.
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Random(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
    }

    /// From 0 to one less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % end.max(1) as u64) as usize
    }
}
