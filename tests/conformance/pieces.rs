//! Ways to send the same bytes. However they come, what comes of them is the same.

use std::io;
use std::time::{Duration, Instant};

use tidegate_tests::Client;

pub type Manner<'a> = &'a dyn Fn(&mut Client, &[u8]) -> io::Result<()>;

/// About as long as a reader that sleeps takes to wake up.
const PAUSE: Duration = Duration::from_micros(20);

pub fn at_once(client: &mut Client, bytes: &[u8]) -> io::Result<()> {
    client.write(bytes)
}

/// Each byte by itself.
pub fn by_bytes(client: &mut Client, bytes: &[u8]) -> io::Result<()> {
    bytes.chunks(1).try_for_each(|piece| write(client, piece))
}

/// In pieces of random lengths, often short ones.
pub fn at_random(seed: u64) -> impl Fn(&mut Client, &[u8]) -> io::Result<()> {
    move |client, bytes| {
        let (mut random, mut rest) = (Random(seed), bytes);
        while !rest.is_empty() {
            let most = 1 << (random.next() % 12);
            let length = 1 + random.next() as usize % most;
            let (piece, behind) = rest.split_at(length.min(rest.len()));
            write(client, piece)?;
            rest = behind;
        }
        Ok(())
    }
}

/// The socket sends at once (TCP_NODELAY), and whoever reads has time to read it by itself.
fn write(client: &mut Client, piece: &[u8]) -> io::Result<()> {
    client.write(piece)?;
    pause();
    Ok(())
}

pub fn pause() {
    let begun = Instant::now();
    while begun.elapsed() < PAUSE {
        std::hint::spin_loop();
    }
}

/// SplitMix64: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}
