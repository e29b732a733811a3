//! Traces: a span of each sampled request and one of its call to a server, for a collector that speaks OTLP over HTTP in JSON.
//!
//! ```text
//! worker 0: spans as JSON ─┐
//! worker n: spans as JSON ─┴─> queue ─> thread: batches ─> POST to the collector
//! ```
//!
//! A worker writes the spans of a request that has ended, and queues them; where there is no room they are dropped and counted.
//! The thread gathers for a while, so that it is woken once a batch. There is none before the first configuration that wants traces.
//!
//! The libraries of OpenTelemetry were weighed (opentelemetry, -sdk, -otlp, -proto, -http, with prost, tonic's types or reqwest): they keep a
//! span as an object with a context of its own from a request's start, and bring a second HTTP client. What there is to say is
//! known when a request ends, and the proxy has a client.

mod batch;
mod collect;
mod export;
mod span;

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::base::event::RequestEnded;
use crate::config::checked::Tracing;

use self::batch::MOST_SPANS;
use self::export::Exporter;

/// How long the process's end waits at most.
const FLUSH_WAIT: Duration = Duration::from_secs(2);
/// Bytes of spans that may wait.
const MOST_BYTES: usize = 16 << 20;

/// The queue, the thread behind it, and how to reach that.
pub struct Traces {
    queue: Arc<Queue>,
    reports: UnboundedSender<Report>,
    thread: Mutex<Thread>,
}

struct Thread {
    settings: Option<Arc<Tracing>>,
    /// None: it runs.
    reports: Option<UnboundedReceiver<Report>>,
    orders: Option<UnboundedSender<Order>>,
}

/// The spans of one request, a comma between them.
pub struct Report {
    json: Vec<u8>,
    spans: usize,
}

enum Order {
    /// None: no more spans will come.
    Follow(Option<Arc<Tracing>>),
    /// Sends all that waits, and tells when it has.
    Flush(blocking::Sender<()>),
}

/// What workers and the thread share.
#[derive(Default)]
struct Queue {
    /// Spans, and bytes of them.
    waiting: AtomicUsize,
    bytes: AtomicUsize,
    /// Spans that may wait; 0: none was ever wanted.
    room: AtomicUsize,
    /// There is a batch.
    enough: Notify,
    exported: AtomicU64,
    /// Dropped: there was no room; they could not be exported; the collector would not have them.
    full: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
}

impl Traces {
    pub fn new() -> Traces {
        let (sender, receiver) = unbounded_channel();
        Traces {
            queue: Arc::default(),
            reports: sender,
            thread: Mutex::new(Thread {
                settings: None,
                reports: Some(receiver),
                orders: None,
            }),
        }
    }

    /// Spans go where this configuration says from here on. The error: there is no thread to be had.
    pub fn follow(&self, settings: Option<&Arc<Tracing>>) -> io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.settings.as_ref() == settings {
            return Ok(());
        }
        if let Some(settings) = settings {
            self.queue.room.store(settings.queue, Relaxed);
            thread.run(&self.queue)?;
        }
        thread.settings = settings.cloned();
        thread.order(Order::Follow(settings.cloned()));
        Ok(())
    }

    /// A worker's end.
    pub fn worker(&self) -> Worker {
        Worker {
            queue: self.queue.clone(),
            reports: self.reports.clone(),
        }
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(collect::Spans(self.queue.clone())));
    }

    /// Waits until the spans so far are exported, two seconds at most.
    pub fn flush(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, told) = blocking::channel();
        if thread.order(Order::Flush(done)) && told.recv_timeout(FLUSH_WAIT).is_err() {
            tracing::warn!("the collector of traces takes nothing more: the last spans are lost");
        }
    }
}

impl Thread {
    fn run(&mut self, queue: &Arc<Queue>) -> io::Result<()> {
        if self.orders.is_some() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let Some(reports) = self.reports.take() else {
            return Ok(());
        };
        let (sender, orders) = unbounded_channel();
        let queue = queue.clone();
        thread::Builder::new()
            .name("trace-export".into())
            .spawn(move || runtime.block_on(Exporter::new(queue, reports, orders).run()))?;
        self.orders = Some(sender);
        Ok(())
    }

    /// False: there is no thread.
    fn order(&self, order: Order) -> bool {
        let orders = self.orders.as_ref();
        orders.is_some_and(|orders| orders.send(order).is_ok())
    }
}

/// A worker's end of the queue.
pub struct Worker {
    queue: Arc<Queue>,
    reports: UnboundedSender<Report>,
}

impl Worker {
    /// Queues the spans of a request that is sampled; drops them when there is no room.
    pub fn write(&self, request: &RequestEnded<'_>) {
        let Some(trace) = request.trace.filter(|trace| trace.sampled) else {
            return;
        };
        let queue = &self.queue;
        // Not even written where they would find no room.
        let room = queue.room.load(Relaxed);
        if queue.waiting.load(Relaxed) + 2 > room || queue.bytes.load(Relaxed) > MOST_BYTES {
            queue.full.fetch_add(span::count(request), Relaxed);
            return;
        }
        let report = span::report(request, &trace);
        let before = queue.waiting.fetch_add(report.spans, Relaxed);
        queue.bytes.fetch_add(report.json.len(), Relaxed);
        let after = before + report.spans;
        // The thread ends with the process.
        let _ = self.reports.send(report);
        if before / MOST_SPANS != after / MOST_SPANS {
            queue.enough.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
