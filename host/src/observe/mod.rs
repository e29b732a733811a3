//! Metrics, access log, traces and taps: the listeners to the data path's events.
//!
//! Each has a part on each worker: cells of numbers that a scrape sums up (`metrics`), a ring of finished lines that one
//! thread writes out (`access`), the end of a queue of finished spans that another one exports (`traces`). So a request takes no lock
//! and waits for nobody, whatever becomes of the disk, of the collector or of whoever scrapes.
//!
//! What a worker pays for a request, `request_started` and `request_ended` together, medians of 200 rounds of 500 (from
//! `tests::what_a_request_costs`, opt-level 3 with dependencies at 2, two cores that other work kept busy): 139 ns for the metrics
//! alone, and some 15 ns more since bytes and times are kept by server; with its line 652 ns in JSON, 344 ns in httplog, 246 ns in
//! combined.

mod access;
mod metrics;
pub mod tap;
#[cfg(test)]
mod tests;
mod traces;

use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::base::event::{Observer, RequestEnded, Silence, WorkerObserver};
use crate::base::ids::WorkerId;
use crate::base::trail::Followed;
use crate::config::checked::Tracing;

use self::metrics::Metrics;
use self::tap::Taps;
use self::traces::Traces;

pub use self::access::{Access, Prepared};
pub use self::metrics::{Counted, OfListener, OfServer, Rate, Traffic};

/// All listeners, and what they need at the process's end.
#[derive(Clone)]
pub struct Observers {
    metrics: Arc<Metrics>,
    access: Arc<Access>,
    traces: Arc<Traces>,
    taps: Arc<Taps>,
}

impl Default for Observers {
    /// With an access log and traces that are off.
    fn default() -> Observers {
        Observers {
            metrics: Arc::new(Metrics::new(metrics::MOST_SERIES)),
            access: Arc::default(),
            traces: Arc::new(Traces::new()),
            taps: Arc::default(),
        }
    }
}

impl Observers {
    /// All of them together.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(All(self.clone()))
    }

    pub fn access(&self) -> Arc<Access> {
        self.access.clone()
    }

    pub fn taps(&self) -> Arc<Taps> {
        self.taps.clone()
    }

    /// Rates and means of what is counted.
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::new(Traffic::new(self.metrics.clone()))
    }

    pub fn register(&self, registry: &mut Registry) {
        metrics::register(registry, self.metrics.clone());
        self.access.register(registry);
        self.traces.register(registry);
        self.taps.register(registry);
    }

    /// Requests are traced as this says from here on.
    pub fn follow(&self, tracing: Option<&Arc<Tracing>>) {
        if let Err(error) = self.traces.follow(tracing) {
            tracing::error!(%error, "there is no thread to export traces by");
        }
    }

    /// Waits until what workers have queued so far has been written and exported, two seconds at most for each: a reader that
    /// has stopped reading must not keep the process.
    pub fn flush(&self) {
        self.access.flush();
        self.traces.flush();
    }

    /// Has the access log's file opened anew by its path before the next line is written, for whoever rotates it. When that
    /// fails the old file goes on and the log says so. Nothing happens for standard output and error.
    pub fn reopen(&self) {
        self.access.reopen();
    }
}

struct All(Observers);

impl Observer for All {
    fn worker(&self, worker: WorkerId) -> Box<dyn WorkerObserver> {
        let Observers {
            metrics,
            access,
            traces,
            taps,
        } = &self.0;
        Box::new(OnWorker {
            metrics: metrics.worker(worker),
            access: access.worker(),
            traces: traces.worker(),
            taps: taps.worker(),
        })
    }
}

struct OnWorker {
    metrics: metrics::Worker,
    access: access::Worker,
    traces: traces::Worker,
    taps: tap::Worker,
}

impl WorkerObserver for OnWorker {
    fn connection_opened(&self, listener: &str) {
        self.metrics.connection_opened(listener);
    }

    fn connection_closed(&self, listener: &str) {
        self.metrics.connection_closed(listener);
    }

    fn connection_was_silent(&self, listener: &str, silence: Silence) {
        self.metrics.connection_was_silent(listener, silence);
    }

    fn request_started(&self, listener: &str) {
        self.metrics.request_started(listener);
    }

    fn request_ended(&self, request: &RequestEnded<'_>) {
        let listener_connections = self.metrics.request_ended(request);
        if request.logged {
            self.access.write(request, listener_connections);
        }
        if request.trace.is_some() {
            self.traces.write(request);
        }
        self.taps.write(request);
    }

    fn followed(&self) -> Arc<Followed> {
        self.taps.followed()
    }
}
