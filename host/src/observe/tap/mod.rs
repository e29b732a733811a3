//! Requests followed live: who taps is told of each request that ended and that is one of those asked for, with what every plugin
//! decided about it.
//!
//! ```text
//! worker 0: terms ─> line ─┐             ┌─> reader of tap 1
//! worker n: terms ─> line ─┴─> its queue ┴─> reader of tap 2
//! ```
//!
//! While nobody taps, a request costs one look at [`Followed`] as it begins. While somebody does, its steps are kept, and as it ends
//! each tap's terms are looked at on its worker, before anything is written out. A tap's queue is bounded: what finds no room is
//! dropped, counted, and told of in the stream, so that a slow reader never holds up a worker.

mod collect;
mod terms;
#[cfg(test)]
mod tests;
mod write;

use std::cell::RefCell;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use crate::base::event::RequestEnded;
use crate::base::trail::Followed;

use self::write::Writer;

pub use self::terms::{Asked, Terms, is_plugin};

/// Taps at one time.
pub const MOST_TAPS: usize = 8;
/// Lines, and bytes of them, that wait for one reader.
const MOST_LINES: usize = 4096;
const MOST_BYTES: usize = 4 << 20;
/// A buffer that a long line has made longer than this is cut back to it.
const BUFFER: usize = 16 << 10;

/// All that are open.
#[derive(Default)]
pub struct Taps {
    open: ArcSwap<Vec<Tap>>,
    followed: Arc<Followed>,
    /// Held by whoever opens or closes one.
    changing: Mutex<()>,
    next: AtomicU64,
    dropped: AtomicU64,
}

/// A worker's end of one.
#[derive(Clone)]
struct Tap {
    id: u64,
    terms: Arc<Terms>,
    queue: mpsc::Sender<Bytes>,
    load: Arc<Load>,
}

/// Of one tap's queue.
#[derive(Default)]
struct Load {
    bytes: AtomicUsize,
    /// Lines that found no room, and were not told of yet.
    dropped: AtomicU64,
}

/// The reader's end of a tap. Dropping it closes the tap.
pub struct Reader {
    taps: Arc<Taps>,
    id: u64,
    queue: mpsc::Receiver<Bytes>,
    load: Arc<Load>,
}

/// On one worker.
pub struct Worker {
    taps: Arc<Taps>,
    writer: RefCell<Writer>,
}

impl Taps {
    /// None: there are [`MOST_TAPS`] already.
    pub fn open(self: &Arc<Self>, terms: Terms) -> Option<Reader> {
        let (queue, lines) = mpsc::channel(MOST_LINES);
        let id = self.next.fetch_add(1, Relaxed);
        let load = Arc::<Load>::default();
        let tap = Tap {
            id,
            terms: Arc::new(terms),
            queue,
            load: load.clone(),
        };
        let opened = self.change(|taps| {
            let room = taps.len() < MOST_TAPS;
            if room {
                taps.push(tap);
            }
            room
        });
        opened.then(|| Reader {
            taps: self.clone(),
            id,
            queue: lines,
            load,
        })
    }

    /// Ends them all: the process does.
    pub fn close(&self) {
        self.change(Vec::clear);
    }

    pub fn worker(self: &Arc<Self>) -> Worker {
        Worker {
            taps: self.clone(),
            writer: RefCell::new(Writer::new()),
        }
    }

    pub fn followed(&self) -> Arc<Followed> {
        self.followed.clone()
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.register_collector(Box::new(collect::Figures(self.clone())));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Tap>) -> T) -> T {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taps = Vec::clone(&self.open.load());
        let result = change(&mut taps);
        let any = !taps.is_empty();
        self.open.store(Arc::new(taps));
        self.followed.set(any);
        result
    }
}

impl Worker {
    pub fn followed(&self) -> Arc<Followed> {
        self.taps.followed()
    }

    /// Tells those that want to know. Nobody followed when a request without a trail began.
    #[inline]
    pub fn write(&self, request: &RequestEnded<'_>) {
        if request.closely.is_some() {
            self.tell(request);
        }
    }

    fn tell(&self, request: &RequestEnded<'_>) {
        let Some(closely) = &request.closely else {
            return;
        };
        let taps = self.taps.open.load();
        let mut line = None;
        for tap in taps.iter() {
            if !tap.terms.want(request, closely) {
                continue;
            }
            let line: &Bytes = line.get_or_insert_with(|| {
                let mut writer = self.writer.borrow_mut();
                Bytes::copy_from_slice(writer.line(request, closely))
            });
            if !tap.offer(line) {
                self.taps.dropped.fetch_add(1, Relaxed);
            }
        }
        if line.is_some() {
            self.writer.borrow_mut().shrink(BUFFER);
        }
    }
}

impl Tap {
    /// False: there is no room.
    fn offer(&self, line: &Bytes) -> bool {
        let before = self.load.bytes.fetch_add(line.len(), Relaxed);
        if before < MOST_BYTES && self.queue.try_send(line.clone()).is_ok() {
            return true;
        }
        self.load.bytes.fetch_sub(line.len(), Relaxed);
        self.load.dropped.fetch_add(1, Relaxed);
        false
    }
}

impl Reader {
    /// The next line. None: the process ends.
    pub async fn next(&mut self) -> Option<Bytes> {
        let line = self.queue.recv().await?;
        self.load.bytes.fetch_sub(line.len(), Relaxed);
        Some(line)
    }

    /// A line that is there already.
    pub fn more(&mut self) -> Option<Bytes> {
        let line = self.queue.try_recv().ok()?;
        self.load.bytes.fetch_sub(line.len(), Relaxed);
        Some(line)
    }

    /// Lines that were dropped since this was asked last.
    pub fn dropped(&self) -> u64 {
        self.load.dropped.swap(0, Relaxed)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.taps
            .change(|taps| taps.retain(|tap| tap.id != self.id));
    }
}
