//! An observer that keeps what it is told.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::within;
use crate::base::event::{Observer, RequestEnded, Silence, WorkerObserver};
use crate::base::ids::WorkerId;

#[derive(Clone)]
pub struct Events {
    seen: Arc<Mutex<Vec<Seen>>>,
    count: watch::Sender<usize>,
    open: watch::Sender<isize>,
    begun: watch::Sender<usize>,
    silences: Arc<Mutex<Vec<Silence>>>,
}

/// What tests look at of a `RequestEnded`.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub host: Option<String>,
    pub status: Option<u16>,
    pub route: Option<String>,
    pub pool: Option<String>,
    pub server: Option<String>,
    pub client: String,
    pub id: String,
    pub attempts: u32,
    pub letters: String,
    pub fault: Option<&'static str>,
    pub reasons: Vec<(String, String)>,
    pub notes: Vec<(String, String)>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub body_bytes_out: u64,
    pub started: bool,
    pub logged: bool,
}

impl Events {
    pub fn new() -> Events {
        Events {
            seen: Arc::default(),
            count: watch::channel(0).0,
            open: watch::channel(0).0,
            begun: watch::channel(0).0,
            silences: Arc::default(),
        }
    }

    /// The nth request that ended, from 1.
    pub async fn ended(&self, nth: usize) -> Seen {
        let mut count = self.count.subscribe();
        let told = count.wait_for(|count| *count >= nth);
        within("a request's end to be told", told).await.unwrap();
        self.seen.lock().unwrap()[nth - 1].clone()
    }

    /// The first request's.
    pub async fn first(&self) -> Seen {
        self.ended(1).await
    }

    /// What was waited for in vain, so far.
    pub fn silences(&self) -> Vec<Silence> {
        self.silences.lock().unwrap().clone()
    }

    pub async fn begun(&self, requests: usize) {
        let mut begun = self.begun.subscribe();
        within(
            "a request to begin",
            begun.wait_for(|begun| *begun >= requests),
        )
        .await
        .unwrap();
    }

    /// Waits until that many connections are open.
    pub async fn open(&self, connections: isize) {
        let mut open = self.open.subscribe();
        within(
            "connections to come or go",
            open.wait_for(|open| *open == connections),
        )
        .await
        .unwrap();
    }
}

impl Observer for Events {
    fn worker(&self, _: WorkerId) -> Box<dyn WorkerObserver> {
        Box::new(self.clone())
    }
}

impl WorkerObserver for Events {
    fn connection_opened(&self, _: &str) {
        self.open.send_modify(|open| *open += 1);
    }

    fn connection_closed(&self, _: &str) {
        self.open.send_modify(|open| *open -= 1);
    }

    fn connection_was_silent(&self, _: &str, silence: Silence) {
        self.silences.lock().unwrap().push(silence);
    }

    fn request_started(&self, _: &str) {
        self.begun.send_modify(|begun| *begun += 1);
    }

    fn request_ended(&self, r: &RequestEnded<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let seen = Seen {
            method: r.method.into(),
            target: text(r.target),
            host: r.host.map(text),
            status: r.status,
            route: r.route.map(Into::into),
            pool: r.pool.map(Into::into),
            server: r.server.map(Into::into),
            client: r.client_address.into(),
            id: r.request_id.into(),
            attempts: r.attempts,
            letters: text(&r.termination),
            fault: r.fault,
            reasons: r
                .reasons
                .iter()
                .map(|(plugin, why)| (plugin.to_string(), why.clone()))
                .collect(),
            notes: r.notes.to_vec(),
            bytes_in: r.bytes_in,
            bytes_out: r.bytes_out,
            body_bytes_out: r.body_bytes_out,
            started: r.started,
            logged: r.logged,
        };
        let mut all = self.seen.lock().unwrap();
        all.push(seen);
        self.count.send_replace(all.len());
    }
}
