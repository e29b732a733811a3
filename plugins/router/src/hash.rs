//! The hash of the index's maps. Their keys come from the configuration alone, so nobody outside can choose keys that collide,
//! and a sandbox has no randomness to seed a keyed hash with: a multiply and a rotate for eight bytes are enough.

use std::collections::HashMap as Map;
use std::hash::{BuildHasherDefault, Hasher};

pub type HashMap<K, V> = Map<K, V, BuildHasherDefault<Mix>>;

#[derive(Default)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    // A product's high bits are the well mixed ones, and the map takes its bucket from the low.
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}
