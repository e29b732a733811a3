//! The thread that writes: the only one that may wait for a disk or for a pipe's reader.
//!
//! A target that fails (ENOSPC, EPIPE) costs the lines that it was given, which are counted, and is tried again with the next
//! ones. The log tells of a burst of failures once, and once when it is over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use rtrb::Consumer;

use super::ring::{Counts, Hall};
use super::sink::Sink;

/// How long lines gather while they keep coming. A ring holds what a worker says in many times as long.
pub const PAUSE: Duration = Duration::from_millis(5);
/// Bytes written at one time at most, so that a ring has room again before all of it has been written.
const PIECE: usize = 64 << 10;
/// Troubles are told this far apart at least.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Starts the thread.
pub fn start(sink: Sink, counts: Arc<Counts>) -> io::Result<Arc<Hall>> {
    let hall = Arc::new(Hall::counting(counts));
    let mut writer = Writer::new(hall.clone(), sink);
    let thread = thread::Builder::new()
        .name("access-log".into())
        .spawn(move || {
            let hall = writer.hall.clone();
            writer.run();
            // Its file is closed by then.
            drop(writer);
            hall.end();
        })?;
    hall.set_writer(thread.thread().clone());
    // It may have gone to sleep before it could be woken.
    thread.thread().unpark();
    Ok(hall)
}

struct Writer {
    hall: Arc<Hall>,
    sink: Sink,
    rings: Vec<Consumer<u8>>,
    /// The last write failed.
    failing: bool,
    failure_told: Option<Instant>,
    /// Lines without room of which the log has told.
    full_told: u64,
    full_told_at: Option<Instant>,
}

impl Writer {
    fn new(hall: Arc<Hall>, sink: Sink) -> Writer {
        Writer {
            full_told: hall.counts.full(),
            hall,
            sink,
            rings: Vec::new(),
            failing: false,
            failure_told: None,
            full_told_at: None,
        }
    }

    /// Until the hall is closed and empty.
    fn run(&mut self) {
        loop {
            // Before the rings are read: what was queued before the order is then in what is read after it.
            let closed = self.hall.is_closed();
            let orders = self.hall.orders();
            if orders.reopen {
                self.reopen();
            }
            self.rings.extend(self.hall.newcomers());
            let busy = self.drain();
            self.hall.obeyed(orders);
            self.tell_of_full_rings();
            match (busy, closed) {
                (true, _) => thread::park_timeout(PAUSE),
                (false, true) => return,
                (false, false) => self.sleep(),
            }
        }
    }

    /// Orders, newcomers and the end unpark always; a worker does so when told that the writer sleeps.
    fn sleep(&self) {
        if self.hall.is_quiet(&self.rings) {
            thread::park();
        }
        self.hall.awake();
    }

    /// Writes what the rings hold now; whether there was anything.
    fn drain(&mut self) -> bool {
        let mut rings = std::mem::take(&mut self.rings);
        let mut busy = false;
        for ring in &mut rings {
            busy |= self.drain_one(ring);
        }
        // The second look is for what came between the worker's last line and its end.
        rings.retain(|ring| !ring.is_abandoned() || !ring.is_empty());
        self.rings = rings;
        busy
    }

    /// Lines are pushed whole, so what a ring holds ends with a line. It is written in pieces, and the other rings have to
    /// wait until the last one: lines don't mix.
    fn drain_one(&mut self, ring: &mut Consumer<u8>) -> bool {
        let mut left = ring.slots();
        let busy = left > 0;
        let mut failed = false;
        while left > 0 {
            let Ok(chunk) = ring.read_chunk(left.min(PIECE)) else {
                break;
            };
            let (piece, _) = chunk.as_slices();
            let taken = piece.len();
            if failed {
                self.hall.counts.failed.fetch_add(lines(piece), Relaxed);
            } else {
                failed = !self.write(piece);
            }
            chunk.commit(taken);
            left -= taken;
        }
        busy
    }

    /// False: the target failed.
    fn write(&mut self, piece: &[u8]) -> bool {
        let counts = &self.hall.counts;
        match self.sink.write(piece) {
            Ok(()) => {
                counts.written.fetch_add(lines(piece), Relaxed);
                if self.failing {
                    self.failing = false;
                    tracing::info!(to = %self.sink, "the access log is written again");
                }
                true
            }
            Err((written, error)) => {
                counts.written.fetch_add(lines(&piece[..written]), Relaxed);
                counts.failed.fetch_add(lines(&piece[written..]), Relaxed);
                self.tell_of_failure(&error);
                false
            }
        }
    }

    fn reopen(&mut self) {
        match self.sink.reopen() {
            Ok(()) => tracing::debug!(to = %self.sink, "the access log is open anew"),
            Err(error) => tracing::error!(
                %error,
                "the access log can't be opened anew: the file that was open goes on"
            ),
        }
    }

    fn tell_of_failure(&mut self, error: &io::Error) {
        if !self.failing && is_due(&mut self.failure_told) {
            tracing::error!(
                %error,
                to = %self.sink,
                "the access log can't be written: lines are dropped and counted until it can"
            );
        }
        self.failing = true;
    }

    fn tell_of_full_rings(&mut self) {
        let full = self.hall.counts.full();
        if full > self.full_told && is_due(&mut self.full_told_at) {
            tracing::warn!(
                dropped = full - self.full_told,
                to = %self.sink,
                "the access log is written more slowly than requests come: lines were dropped"
            );
            self.full_told = full;
        }
    }
}

fn lines(piece: &[u8]) -> u64 {
    piece.iter().filter(|byte| **byte == b'\n').count() as u64
}

fn is_due(told: &mut Option<Instant>) -> bool {
    let due = told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
    if due {
        *told = Some(Instant::now());
    }
    due
}
