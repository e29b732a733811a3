//! The way to other proxies, as the workers see it: a look-up that answers within its time or not at all, and writes that
//! nobody waits for. Redis itself is spoken to on a thread of its own, in `redis`.
//!
//! ```text
//!  worker                         the thread "state"
//!  look-up ──── bounded queue ───▶ GET, PTTL   in batches, one at a time
//!  write   ──── bounded queue ───▶ SET, EVAL   in batches, one at a time
//!  draw, sum ── what is owed ────▶ EVAL        at each tick
//! ```
//!
//! Whatever Redis does, a worker waits no longer than the look-up's time; and once the breaker is open, not at all.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};

use crate::config::checked::Shared;

use super::State;
use super::figures::{Asked, Figures, Wrote};
use super::redis;
use super::table::Table;

/// Look-ups that may wait for Redis; a further one is not made.
const LOOK_UPS: usize = 4_096;

/// Bytes of writes that may wait.
const BYTES: usize = 8 << 20;

/// Whether state is shared, and how. Looked at by every call that could share something.
#[derive(Default)]
pub struct Sharing {
    link: ArcSwapOption<Link>,
    pub(super) figures: Arc<Figures>,
    running: Mutex<Option<Running>>,
}

/// A thread that serves a link. It ends when `stop` is dropped.
struct Running {
    settings: Shared,
    _stop: oneshot::Sender<()>,
}

/// The ways to one Redis server.
pub(super) struct Link {
    timeout: Duration,
    prefix: String,
    look_ups: mpsc::Sender<LookUp>,
    writes: mpsc::Sender<Write>,
    /// Of the writes that wait.
    bytes: AtomicUsize,
    /// Redis does not answer, and is not asked.
    open: AtomicBool,
    pub(super) figures: Arc<Figures>,
}

/// The other end of the ways.
pub(super) struct Ends {
    pub(super) look_ups: mpsc::Receiver<LookUp>,
    pub(super) writes: mpsc::Receiver<Write>,
    pub(super) stop: oneshot::Receiver<()>,
}

pub(super) struct LookUp {
    pub(super) key: Vec<u8>,
    pub(super) answer: oneshot::Sender<Option<Found>>,
}

/// A value, and how long it has to live.
pub(super) struct Found {
    pub(super) value: Vec<u8>,
    pub(super) ttl_ms: u32,
}

pub(super) enum Write {
    Bind(Bind),
    Set {
        key: Vec<u8>,
        value: Vec<u8>,
        ttl_ms: u32,
    },
    Delete {
        key: Vec<u8>,
    },
}

/// A user's server.
pub(super) struct Bind {
    pub(super) table: Arc<Table>,
    /// In the table.
    pub(super) local: Vec<u8>,
    /// In Redis.
    pub(super) key: Vec<u8>,
    pub(super) server: String,
    pub(super) instead_of: InsteadOf,
    pub(super) ttl_ms: u32,
}

/// What a binding may replace. Two proxies that meet a user at the same time agree on what is first in Redis.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InsteadOf {
    Anything,
    Nothing,
    Server(String),
}

/// What kind of thing a key names.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Table,
    Value,
    Bucket,
    Sum,
}

impl Sharing {
    /// Shares by these settings from now on. Does not wait for Redis, and leaves what runs alone where nothing has changed.
    pub(super) fn set(&self, state: &Arc<State>, settings: Option<&Shared>) -> std::io::Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().map(|running| &running.settings) == settings {
            return Ok(());
        }
        self.link.store(None);
        *running = None;
        let Some(settings) = settings else {
            return Ok(());
        };
        let (stop, stopped) = oneshot::channel();
        let (link, ends) = Link::new(settings, self.figures.clone(), stopped);
        redis::start(link.clone(), ends, settings.clone(), state.clone())?;
        self.link.store(Some(link));
        *running = Some(Running {
            settings: settings.clone(),
            _stop: stop,
        });
        Ok(())
    }

    /// None: no state is shared.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.link.load_full()
    }

    pub(super) fn is_on(&self) -> bool {
        self.link.load().is_some()
    }

    /// Bytes of writes that wait for Redis.
    pub(super) fn waiting(&self) -> usize {
        let link = self.link.load();
        link.as_ref().map_or(0, |link| link.bytes.load(Relaxed))
    }

    /// Whether Redis is configured, and does not answer.
    pub(super) fn is_alone(&self) -> bool {
        self.link.load().as_ref().is_some_and(|link| link.is_open())
    }
}

impl Link {
    fn new(
        settings: &Shared,
        figures: Arc<Figures>,
        stop: oneshot::Receiver<()>,
    ) -> (Arc<Link>, Ends) {
        let (look_ups, asked) = mpsc::channel(LOOK_UPS);
        let (writes, written) = mpsc::channel(settings.queue);
        let link = Link {
            timeout: settings.timeout,
            prefix: settings.prefix.clone(),
            look_ups,
            writes,
            bytes: AtomicUsize::new(0),
            // Until it has answered once.
            open: AtomicBool::new(true),
            figures,
        };
        let ends = Ends {
            look_ups: asked,
            writes: written,
            stop,
        };
        (Arc::new(link), ends)
    }

    /// None: Redis is not asked now. Else an answer within the look-up's time; none then: it has none, or gave none.
    pub(super) fn look_up(
        self: Arc<Self>,
        key: Vec<u8>,
    ) -> Option<impl Future<Output = Option<Found>>> {
        let (answer, answered) = oneshot::channel();
        if self.is_open() || self.look_ups.try_send(LookUp { key, answer }).is_err() {
            self.figures.asked(Asked::Skipped);
            return None;
        }
        Some(async move {
            match tokio::time::timeout(self.timeout, answered).await {
                Ok(Ok(found)) => found,
                // Its sender was dropped as the breaker opened.
                Ok(Err(_)) => {
                    self.figures.asked(Asked::Failed);
                    None
                }
                Err(_) => {
                    self.figures.asked(Asked::Timeout);
                    None
                }
            }
        })
    }

    /// False: Redis does not answer, or too much waits for it. The write is dropped then.
    pub(super) fn write(&self, write: Write) -> bool {
        let size = write.size();
        let fits = |waiting: usize| (waiting + size <= BYTES).then_some(waiting + size);
        let taken = !self.is_open() && self.bytes.fetch_update(Relaxed, Relaxed, fits).is_ok();
        if taken && self.writes.try_send(write).is_ok() {
            return true;
        }
        if taken {
            self.bytes.fetch_sub(size, Relaxed);
        }
        self.figures.wrote(Wrote::Dropped, 1);
        false
    }

    /// A write waits no longer.
    pub(super) fn took(&self, write: &Write) {
        self.bytes.fetch_sub(write.size(), Relaxed);
    }

    /// Under which name a plugin's key stands in Redis. Names have no line break.
    pub(super) fn key(&self, kind: Kind, plugin: &str, key: &[u8]) -> Vec<u8> {
        let parts = [
            self.prefix.as_bytes(),
            kind.word().as_bytes(),
            b":",
            plugin.as_bytes(),
            b"\n",
            key,
        ];
        parts.concat()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// Nobody serves it any more, by request.
    pub(super) fn end(&self) {
        self.open.store(true, Relaxed);
    }

    pub(super) fn set_open(&self, open: bool) {
        if !self.open.swap(open, Relaxed) && open {
            self.figures.opened();
        }
    }
}

impl Write {
    fn size(&self) -> usize {
        match self {
            Write::Bind(bind) => bind.local.len() + bind.key.len() + bind.server.len() + 64,
            Write::Set { key, value, .. } => key.len() + value.len() + 64,
            Write::Delete { key } => key.len() + 64,
        }
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Table => "table",
            Kind::Value => "value",
            Kind::Bucket => "bucket",
            Kind::Sum => "sum",
        }
    }
}
