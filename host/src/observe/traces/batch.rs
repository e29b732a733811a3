//! Spans that go to the collector together, as the body of one export request.

use std::fs;
use std::sync::LazyLock;
use std::sync::atomic::Ordering::Relaxed;

use super::span::Attributes;
use super::{Queue, Report};

/// Spans of one export; OpenTelemetry's own exporters have as many.
pub const MOST_SPANS: usize = 512;
/// Bytes at which a batch is full: what collectors take is 4 MiB and more.
const ENOUGH_BYTES: usize = 1 << 20;

#[derive(Default)]
pub struct Batch {
    spans: usize,
    json: Vec<u8>,
}

impl Batch {
    /// Takes a report out of the queue.
    pub fn take(&mut self, report: Report, queue: &Queue) {
        queue.waiting.fetch_sub(report.spans, Relaxed);
        queue.bytes.fetch_sub(report.json.len(), Relaxed);
        if self.spans > 0 {
            self.json.push(b',');
        }
        self.spans += report.spans;
        self.json.extend_from_slice(&report.json);
    }

    pub fn spans(&self) -> usize {
        self.spans
    }

    pub fn is_empty(&self) -> bool {
        self.spans == 0
    }

    pub fn is_full(&self) -> bool {
        self.spans + 2 > MOST_SPANS || self.json.len() >= ENOUGH_BYTES
    }

    /// An `ExportTraceServiceRequest`.
    pub fn body(&self, service: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.json.len() + 512);
        out.extend_from_slice(b"{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
        let mut list = Attributes::new(&mut out);
        list.text("service.name", service);
        list.text("service.version", env!("CARGO_PKG_VERSION"));
        list.text("host.name", host_name());
        list.number("process.pid", std::process::id().into());
        out.extend_from_slice(b"]},\"scopeSpans\":[{\"scope\":{\"name\":\"tidegate\"},\"spans\":[");
        out.extend_from_slice(&self.json);
        out.extend_from_slice(b"]}]}]}");
        out
    }
}

fn host_name() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim_end().to_owned()
    });
    &NAME
}
