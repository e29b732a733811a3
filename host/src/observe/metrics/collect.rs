//! A scrape: the sums over all workers, as `prometheus_client` wants them. It appends `_total` to a counter's name, and a
//! unit to whatever has one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::Metrics;
use super::cells::{
    CODES, Cells, Count, Exchange, Fault, Histogram, Listener, Pool, Requests, SILENCES,
};
use super::family::Names;

pub struct Scrape(pub Arc<Metrics>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        let metrics = &self.0;
        requests(out, &metrics.requests.sums())?;
        exchanges(out, &metrics.exchanges.sums())?;
        pools(out, &metrics.pools.sums())?;
        listeners(out, &metrics.listeners.sums())?;
        faults(out, &metrics.faults.sums())?;
        workers(out, metrics)
    }
}

type Sums<const N: usize, C> = BTreeMap<Arc<Names<N>>, C>;

/// A family's name without `_total`, its unit, kind and help.
struct Head(&'static str, Option<Unit>, MetricType, &'static str);

static REQUESTS: Head = Head(
    "tidegate_requests",
    None,
    MetricType::Counter,
    "Requests ended, by class of status; code none: ended without an answer",
);
static SESSIONS: Head = Head(
    "tidegate_tcp_connections",
    None,
    MetricType::Counter,
    "Connections in tcp mode ended",
);
static DURATION: Head = Head(
    "tidegate_request_duration",
    Some(Unit::Seconds),
    MetricType::Histogram,
    "From the first byte of a request to the last byte of its answer",
);
static BYTES_IN: Head = Head(
    "tidegate_request_body",
    Some(Unit::Bytes),
    MetricType::Counter,
    "Bytes of requests' bodies received from clients; in tcp mode all bytes",
);
static BYTES_OUT: Head = Head(
    "tidegate_response",
    Some(Unit::Bytes),
    MetricType::Counter,
    "Bytes of responses sent to clients, heads and framing included; in tcp mode all bytes",
);
static CONNECT: Head = Head(
    "tidegate_connect_duration",
    Some(Unit::Seconds),
    MetricType::Histogram,
    "What making a connection to a server took, all attempts of a request together; connections used again are left out",
);
static FIRST_BYTE: Head = Head(
    "tidegate_first_byte_duration",
    Some(Unit::Seconds),
    MetricType::Histogram,
    "From the request sent to a server to the head of its response",
);
static RETRIES: Head = Head(
    "tidegate_retries",
    None,
    MetricType::Counter,
    "Attempts at servers after a request's first",
);
static IN_FLIGHT: Head = Head(
    "tidegate_requests_in_flight",
    None,
    MetricType::Gauge,
    "Requests begun and not yet ended",
);
static OPEN: Head = Head(
    "tidegate_connections_open",
    None,
    MetricType::Gauge,
    "Connections of clients that are open",
);
static CONNECTIONS: Head = Head(
    "tidegate_connections",
    None,
    MetricType::Counter,
    "Connections of clients accepted",
);
static SILENT: Head = Head(
    "tidegate_connections_timed_out",
    None,
    MetricType::Counter,
    "Connections of clients closed as no request came on them in time, by that timeout",
);
static FAULTS: Head = Head(
    "tidegate_faults",
    None,
    MetricType::Counter,
    "Requests that went wrong, by the word that the access log has for it; with the server, where it is the server's fault",
);
static WORKER_CONNECTIONS: Head = Head(
    "tidegate_worker_connections",
    None,
    MetricType::Gauge,
    "Connections of clients that are open, by worker thread",
);
static SERIES: Head = Head(
    "tidegate_metric_series",
    None,
    MetricType::Gauge,
    "Combinations of names that the metrics of requests are kept for; there is room for 100000",
);
static OVERFLOW: Head = Head(
    "tidegate_metric_series_overflow",
    None,
    MetricType::Counter,
    "Requests counted under the names other, as there was no room for theirs",
);

fn requests(out: &mut DescriptorEncoder<'_>, sums: &Sums<4, Requests>) -> fmt::Result {
    let mut family = begin(out, &REQUESTS)?;
    for (names, sum) in sums {
        let [listener, route, pool, server] = &**names;
        let seen = CODES
            .iter()
            .zip(&sum.codes)
            .filter(|(_, count)| count.read() > 0);
        for (code, count) in seen {
            let labels = [
                ("listener", &**listener),
                ("route", route),
                ("pool", pool),
                ("server", server),
                ("code", code),
            ];
            counter(&mut family, labels, count)?;
        }
    }
    sessions(out, sums)
}

fn sessions(out: &mut DescriptorEncoder<'_>, sums: &Sums<4, Requests>) -> fmt::Result {
    let mut family = begin(out, &SESSIONS)?;
    for (names, sum) in sums {
        if sum.sessions.read() > 0 {
            let [listener, _, pool, server] = &**names;
            let labels = [
                ("listener", &**listener),
                ("pool", pool),
                ("server", server),
            ];
            counter(&mut family, labels, &sum.sessions)?;
        }
    }
    Ok(())
}

fn exchanges(out: &mut DescriptorEncoder<'_>, sums: &Sums<2, Exchange>) -> fmt::Result {
    let mut family = begin(out, &DURATION)?;
    for (names, sum) in sums {
        histogram(&mut family, listener_and_pool(names), &sum.time)?;
    }
    let mut family = begin(out, &BYTES_IN)?;
    for (names, sum) in sums {
        counter(&mut family, listener_and_pool(names), &sum.bytes_in)?;
    }
    let mut family = begin(out, &BYTES_OUT)?;
    for (names, sum) in sums {
        counter(&mut family, listener_and_pool(names), &sum.bytes_out)?;
    }
    Ok(())
}

fn listener_and_pool(names: &Names<2>) -> [(&str, &str); 2] {
    [("listener", &names[0]), ("pool", &names[1])]
}

fn pools(out: &mut DescriptorEncoder<'_>, sums: &Sums<1, Pool>) -> fmt::Result {
    let mut family = begin(out, &CONNECT)?;
    for (names, sum) in sums {
        histogram(&mut family, [("pool", &names[0])], &sum.connect)?;
    }
    let mut family = begin(out, &FIRST_BYTE)?;
    for (names, sum) in sums {
        histogram(&mut family, [("pool", &names[0])], &sum.first_byte)?;
    }
    let mut family = begin(out, &RETRIES)?;
    for (names, sum) in sums {
        counter(&mut family, [("pool", &names[0])], &sum.retries)?;
    }
    Ok(())
}

fn listeners(out: &mut DescriptorEncoder<'_>, sums: &Sums<1, Listener>) -> fmt::Result {
    let mut family = begin(out, &IN_FLIGHT)?;
    for (names, sum) in sums {
        gauge(
            &mut family,
            [("listener", &names[0])],
            sum.in_flight.gauge(),
        )?;
    }
    let mut family = begin(out, &OPEN)?;
    for (names, sum) in sums {
        gauge(&mut family, [("listener", &names[0])], sum.open.gauge())?;
    }
    let mut family = begin(out, &CONNECTIONS)?;
    for (names, sum) in sums {
        counter(&mut family, [("listener", &names[0])], &sum.connections)?;
    }
    let mut family = begin(out, &SILENT)?;
    for (names, sum) in sums {
        for (timeout, count) in SILENCES.iter().zip(&sum.silent) {
            let labels = [("listener", &*names[0]), ("timeout", timeout)];
            counter(&mut family, labels, count)?;
        }
    }
    Ok(())
}

fn faults(out: &mut DescriptorEncoder<'_>, sums: &Sums<4, Fault>) -> fmt::Result {
    let mut family = begin(out, &FAULTS)?;
    for (names, sum) in sums {
        let [listener, pool, server, fault] = &**names;
        let labels = [
            ("listener", &**listener),
            ("pool", pool),
            ("server", server),
            ("fault", fault),
        ];
        counter(&mut family, labels, &sum.count)?;
    }
    Ok(())
}

fn workers(out: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let workers = metrics.workers();
    let overflowed = Count::default();
    let mut family = begin(out, &WORKER_CONNECTIONS)?;
    for worker in &workers {
        let open = Count::default();
        for listener in worker.listeners.series() {
            Cells::add(&open, &listener.cells.open);
        }
        Cells::add(&overflowed, &*worker.overflowed);
        let id = worker.id.to_string();
        gauge(&mut family, [("worker", &id)], open.gauge())?;
    }
    let series = ConstGauge::new(metrics.room.taken() as u64);
    series.encode(begin(out, &SERIES)?)?;
    ConstCounter::new(overflowed.read()).encode(begin(out, &OVERFLOW)?)
}

fn begin<'a>(
    out: &'a mut DescriptorEncoder<'_>,
    head: &'a Head,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    let Head(name, unit, kind, help) = head;
    out.encode_descriptor(name, help, unit.as_ref(), *kind)
}

fn counter<const L: usize>(
    family: &mut MetricEncoder<'_>,
    labels: [(&str, &str); L],
    count: &Count,
) -> fmt::Result {
    ConstCounter::new(count.read()).encode(family.encode_family(&labels)?)
}

fn gauge<const L: usize>(
    family: &mut MetricEncoder<'_>,
    labels: [(&str, &str); L],
    value: u64,
) -> fmt::Result {
    ConstGauge::new(value).encode(family.encode_family(&labels)?)
}

fn histogram<const L: usize>(
    family: &mut MetricEncoder<'_>,
    labels: [(&str, &str); L],
    histogram: &Histogram,
) -> fmt::Result {
    let buckets = histogram.buckets();
    // From the same reading as the buckets: a sum of buckets that is not the count confuses whoever computes quantiles.
    let count = buckets.iter().map(|(_, count)| count).sum();
    let mut series = family.encode_family(&labels)?;
    series.encode_histogram::<NoLabelSet>(histogram.seconds(), count, &buckets, None)
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}
