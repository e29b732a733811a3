//! The thread that speaks with the collector: the only one that waits for it.
//!
//! An export that fails in a way that may pass (no connection, no answer in time, 429, 502, 503, 504) is made again, as OTLP
//! has it; meanwhile the queue fills, and what finds no room is dropped. Any other answer means that these spans are not wanted.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc as blocking;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{Method, Version};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::batch::Batch;
use super::{Order, Queue, Report};
use crate::config::checked::{PoolTls, TraceEndpoint, Tracing};
use crate::http::client::{Answer, Connection, Why};
use crate::http::idle::Idle;
use crate::http::{Body, Fields, RequestHead, Target};
use crate::net;
use crate::tls;

/// How long spans gather.
const PAUSE: Duration = Duration::from_millis(500);
/// Exports of one batch, and the pauses between them unless the collector asks for another.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Bytes of an answer that are looked at.
const LOOKED_AT: usize = 64 << 10;
/// Troubles are told this far apart at least.
const TELL_EVERY: Duration = Duration::from_secs(30);

pub struct Exporter {
    queue: Arc<Queue>,
    reports: UnboundedReceiver<Report>,
    orders: UnboundedReceiver<Order>,
    settings: Option<Arc<Tracing>>,
    home: Rc<Idle>,
    /// Who waits for all to be exported.
    flushes: Vec<blocking::Sender<()>>,
    failing: bool,
    told: Option<Instant>,
}

/// Why an export came to nothing.
enum Failed {
    /// It may be made again, after as long as the collector asks for.
    Passing(String, Option<Duration>),
    /// These spans are not wanted.
    Refused(String),
}

impl Exporter {
    pub fn new(
        queue: Arc<Queue>,
        reports: UnboundedReceiver<Report>,
        orders: UnboundedReceiver<Order>,
    ) -> Exporter {
        Exporter {
            queue,
            reports,
            orders,
            settings: None,
            home: Rc::default(),
            flushes: Vec::new(),
            failing: false,
            told: None,
        }
    }

    /// Until nobody can give orders any more.
    pub async fn run(mut self) {
        loop {
            if self.is_flushing() {
                self.flush().await;
            }
            let mut batch = Batch::default();
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                Some(report) = self.reports.recv() => {
                    batch.take(report, &self.queue);
                    self.gather(&mut batch).await;
                    self.export(batch).await;
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Follow(settings) => {
                // What is open may lead elsewhere.
                self.home = Rc::default();
                self.settings = settings.or(self.settings.take());
            }
            Order::Flush(done) => self.flushes.push(done),
        }
    }

    fn is_flushing(&self) -> bool {
        !self.flushes.is_empty()
    }

    /// Waits for more to come, but not for long.
    async fn gather(&mut self, batch: &mut Batch) {
        let end = tokio::time::Instant::now() + PAUSE;
        loop {
            self.fill(batch);
            if batch.is_full() || self.is_flushing() {
                return;
            }
            let queue = self.queue.clone();
            tokio::select! {
                Some(order) = self.orders.recv() => self.obey(order),
                () = queue.enough.notified() => {}
                () = tokio::time::sleep_until(end) => {
                    self.fill(batch);
                    return;
                }
            }
        }
    }

    fn fill(&mut self, batch: &mut Batch) {
        while !batch.is_full()
            && let Ok(report) = self.reports.try_recv()
        {
            batch.take(report, &self.queue);
        }
    }

    /// Exports all that waits.
    async fn flush(&mut self) {
        loop {
            let mut batch = Batch::default();
            self.fill(&mut batch);
            if batch.is_empty() {
                break;
            }
            self.export(batch).await;
        }
        for done in self.flushes.drain(..) {
            // Who has given up waiting is gone.
            let _ = done.send(());
        }
    }

    /// As often as it takes, within bounds.
    async fn export(&mut self, batch: Batch) {
        let mut pause = FIRST_PAUSE;
        for tries in 1.. {
            let Some(settings) = self.settings.clone() else {
                return;
            };
            let exported = timeout(settings.timeout, self.post(&settings, &batch));
            let exported = exported.await.unwrap_or_else(|_| {
                let words = format!("no answer within {:?}", settings.timeout);
                Err(Failed::Passing(words, None))
            });
            let wait = match exported {
                Ok(refused) => return self.was_exported(&batch, refused),
                Err(Failed::Refused(words)) => {
                    self.tell(&settings, &words);
                    self.queue.refused.fetch_add(batch.spans() as u64, Relaxed);
                    return;
                }
                Err(Failed::Passing(words, wait)) => {
                    self.tell(&settings, &words);
                    wait.unwrap_or(pause).min(LONGEST_PAUSE)
                }
            };
            if tries == TRIES || self.is_flushing() {
                break;
            }
            pause *= 2;
            // Other settings, or the end, may come meanwhile.
            if let Ok(Some(order)) = timeout(wait, self.orders.recv()).await {
                self.obey(order);
            }
        }
        self.queue.failed.fetch_add(batch.spans() as u64, Relaxed);
    }

    fn was_exported(&mut self, batch: &Batch, refused: u64) {
        let refused = refused.min(batch.spans() as u64);
        self.queue.refused.fetch_add(refused, Relaxed);
        let taken = batch.spans() as u64 - refused;
        self.queue.exported.fetch_add(taken, Relaxed);
        if self.failing {
            self.failing = false;
            tracing::info!("the collector of traces takes spans again");
        }
    }

    fn tell(&mut self, settings: &Tracing, why: &str) {
        let due = self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if !self.failing && due {
            self.told = Some(Instant::now());
            tracing::warn!(
                collector = settings.endpoint.authority,
                "spans can't be exported, and are dropped and counted until they can: {why}"
            );
        }
        self.failing = true;
    }

    /// How many of the spans the collector did not take.
    async fn post(&self, settings: &Tracing, batch: &Batch) -> Result<u64, Failed> {
        let head = head(settings);
        let body = Bytes::from(batch.body(&settings.service));
        let answer = match self.home.take() {
            Some(kept) => self.send(kept, &head, &body).await,
            None => None,
        };
        let answer = match answer {
            Some(answer) => answer,
            None => {
                let connection = connect(settings).await;
                let connection = connection.map_err(|words| Failed::Passing(words, None))?;
                let answer = self.send(connection, &head, &body).await;
                let none = || Failed::Passing("it gave no answer".to_owned(), None);
                answer.ok_or_else(none)?
            }
        };
        let answer = answer?;
        let status = answer.head.status.as_u16();
        let later = answer.head.fields.first(&RETRY_AFTER);
        let later = later.and_then(|value| str::from_utf8(value).ok()?.parse().ok());
        // Read to its end, the connection can be used again.
        let body = answer.body.beginning(LOOKED_AT).await.unwrap_or_default();
        match status {
            200..300 => Ok(rejected(&body)),
            429 | 502 | 503 | 504 => Err(Failed::Passing(
                format!("it answered {status}"),
                later.map(Duration::from_secs),
            )),
            _ => Err(Failed::Refused(format!("it answered {status}"))),
        }
    }

    /// None: the connection was closed before anything of an answer came.
    async fn send(
        &self,
        connection: Connection,
        head: &RequestHead,
        body: &Bytes,
    ) -> Option<Result<Answer, Failed>> {
        let body = Body::full(body.clone());
        let home = self.home.clone();
        match connection.send(home, head, body, false, None, |_| {}).await {
            Ok(answer) => Some(Ok(answer)),
            Err(failed) if failed.why == Why::Closed && !failed.begun => None,
            Err(_) => {
                let words = "what it answered is no HTTP response".to_owned();
                Some(Err(Failed::Passing(words, None)))
            }
        }
    }
}

fn head(settings: &Tracing) -> RequestHead {
    let mut fields = Fields::new();
    fields.set(&HOST, &settings.endpoint.authority);
    fields.set(
        &USER_AGENT,
        concat!("tidegate/", env!("CARGO_PKG_VERSION"), " (traces)"),
    );
    fields.set(&CONTENT_TYPE, "application/json");
    fields.set(&ACCEPT, "application/json");
    for (name, value) in &settings.headers {
        fields.set(name, value);
    }
    RequestHead {
        method: Method::POST,
        target: Target::parse(settings.endpoint.path.as_bytes()).unwrap_or_else(Target::root),
        version: Version::HTTP_11,
        fields,
    }
}

async fn connect(settings: &Tracing) -> Result<Connection, String> {
    let TraceEndpoint {
        tls, host, port, ..
    } = &settings.endpoint;
    let addresses = tokio::net::lookup_host((host.as_str(), *port)).await;
    let addresses = addresses.map_err(|error| format!("{host} has no address: {error}"))?;
    let mut why = format!("{host} has no address");
    for address in addresses {
        let socket = match net::dial(&address.to_string()).await {
            Ok(socket) => socket,
            Err(error) => {
                why = format!("{address}: {error}");
                continue;
            }
        };
        if !tls {
            return Ok(Connection::open(socket));
        }
        let connector = connector(settings)?;
        let secured = connector.secure(socket).await;
        return secured
            .map(Connection::open)
            .map_err(|failed| failed.to_string());
    }
    Err(why)
}

/// Made for each connection, for there are few: what files hold now is what counts.
fn connector(settings: &Tracing) -> Result<Arc<tls::Connector>, String> {
    let TraceEndpoint { host, port, .. } = &settings.endpoint;
    let trust = PoolTls {
        ca: settings.ca.clone(),
        server_name: None,
        certificate: None,
        verify: true,
        span: 0..0,
    };
    let address = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let alpn = vec![b"http/1.1".to_vec()];
    let addresses = std::iter::once(address.clone());
    let client = tls::Client::build("tracing", &trust, alpn, addresses);
    let client = client.map_err(|(_, flaw)| flaw.says)?;
    client
        .to(&address)
        .ok_or_else(|| "there is no TLS with it".to_owned())
}

/// `{"partialSuccess":{"rejectedSpans":"3"}}`; a number too, as some write it.
fn rejected(body: &[u8]) -> u64 {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let count = answer.pointer("/partialSuccess/rejectedSpans");
    let count = count.and_then(|count| match count {
        serde_json::Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    });
    count.unwrap_or(0)
}
