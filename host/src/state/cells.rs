//! Numbers that every worker adds to without a lock, found by index. They never move: storage grows by chunks, each twice
//! the one before, so a reader needs no more than two loads.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

const FIRST: usize = 16;
const CHUNKS: usize = 14;

/// Room for 262,128 cells.
#[derive(Default)]
pub(super) struct Cells {
    chunks: [OnceLock<Box<[Cell]>>; CHUNKS],
}

/// A cache line of its own, so that two busy numbers do not slow each other.
#[derive(Default)]
#[repr(align(64))]
struct Cell(AtomicU64);

impl Cells {
    /// The cell of that index if `make` was called for it, or for one of its chunk.
    pub(super) fn at(&self, index: u32) -> Option<&AtomicU64> {
        let (chunk, offset) = place(index);
        let cells = self.chunks.get(chunk)?.get()?;
        Some(&cells[offset].0)
    }

    /// The cell of that index, made when it is new.
    pub(super) fn make(&self, index: u32) -> Option<&AtomicU64> {
        let (chunk, offset) = place(index);
        let cells = self.chunks.get(chunk)?.get_or_init(|| {
            let size = FIRST << chunk;
            std::iter::repeat_with(Cell::default).take(size).collect()
        });
        Some(&cells[offset].0)
    }
}

/// Chunk `i` holds the indexes from `FIRST * (2^i - 1)`.
fn place(index: u32) -> (usize, usize) {
    let from_first = index as usize + FIRST;
    let chunk = (from_first / FIRST).ilog2() as usize;
    (chunk, from_first - (FIRST << chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn every_index_has_a_cell_of_its_own() {
        let cells = Cells::default();
        for index in 0..5_000 {
            cells.make(index).unwrap().store(u64::from(index), Relaxed);
        }
        for index in 0..5_000 {
            assert_eq!(cells.at(index).unwrap().load(Relaxed), u64::from(index));
        }
        assert!(cells.at(200_000).is_none(), "never made");
        assert!(cells.at(u32::MAX).is_none());
        assert!(cells.make(u32::MAX).is_none());
        assert!(cells.make(262_127).is_some());
    }
}
