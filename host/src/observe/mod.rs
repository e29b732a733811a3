//! Metrics and access log: the two listeners to the data path's events.
//!
//! Both have a part on each worker that only this worker writes: cells of numbers that a scrape sums up (`metrics`), and a
//! ring of finished lines that one thread writes out (`access`). So a request takes no lock and waits for nobody, whatever
//! becomes of the disk or of whoever scrapes.
//!
//! What a worker pays for a request, `request_started` and `request_ended` together, medians of 200 rounds of 500 (from
//! `tests::what_a_request_costs`, opt-level 3 with dependencies at 2, two cores that other work kept busy): 139 ns for the metrics
//! alone, and some 15 ns more since bytes and times are kept by server; with its line 652 ns in JSON, 344 ns in httplog, 246 ns in
//! combined.

mod access;
mod metrics;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::base::event::{Observer, RequestEnded, Silence, WorkerObserver};
use crate::base::ids::WorkerId;
use crate::config::checked::Log;

use self::access::Access;
use self::metrics::Metrics;

pub use self::metrics::{Counted, OfListener, OfServer, Rate, Traffic};

/// Both listeners, and what they need at the process's end.
pub struct Observers {
    metrics: Arc<Metrics>,
    access: Option<Arc<Access>>,
}

/// Opens the access log and starts its thread, unless it is off. The error names the file.
pub fn start(log: &Log) -> io::Result<Observers> {
    Ok(Observers {
        metrics: Arc::new(Metrics::new(metrics::MOST_SERIES)),
        access: Access::start(&log.access, log.format)?.map(Arc::new),
    })
}

impl Observers {
    /// Access log and metrics together.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(Both {
            metrics: self.metrics.clone(),
            access: self.access.clone(),
        })
    }

    /// Rates and means of what is counted.
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::new(Traffic::new(self.metrics.clone()))
    }

    pub fn register(&self, registry: &mut Registry) {
        metrics::register(registry, self.metrics.clone());
        if let Some(access) = &self.access {
            access.register(registry);
        }
    }

    /// Waits until what workers have queued so far has been written, two seconds at most: a reader that has stopped
    /// reading must not keep the process.
    pub fn flush(&self) {
        if let Some(access) = &self.access {
            access.flush();
        }
    }

    /// Has the access log's file opened anew by its path before the next line is written, for whoever rotates it. When that
    /// fails the old file goes on and the log says so. Nothing happens for standard output and error.
    pub fn reopen(&self) {
        if let Some(access) = &self.access {
            access.reopen();
        }
    }
}

struct Both {
    metrics: Arc<Metrics>,
    access: Option<Arc<Access>>,
}

impl Observer for Both {
    fn worker(&self, worker: WorkerId) -> Box<dyn WorkerObserver> {
        Box::new(OnWorker {
            metrics: self.metrics.worker(worker),
            access: self.access.as_ref().map(Access::worker),
        })
    }
}

struct OnWorker {
    metrics: metrics::Worker,
    access: Option<access::Worker>,
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
        if request.logged
            && let Some(access) = &self.access
        {
            access.write(request, listener_connections);
        }
    }
}
