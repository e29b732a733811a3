//! A bounded load: a few connections asking without end until told to stop, with a short pause between requests so that
//! the machine stays able to do what is tested meanwhile. Counts every status, and every request that got none.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::Client;

/// No load lasts longer, whatever its test does.
const LIMIT: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(2);

pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Tally>>,
}

/// What a load saw.
#[derive(Debug, Default)]
pub struct Tally {
    pub statuses: BTreeMap<u16, u64>,
    /// By the value of `x-origin`.
    pub origins: BTreeMap<String, u64>,
    /// Requests without a response, in words; the first hundred.
    pub failures: Vec<String>,
}

impl Load {
    /// Two connections that are kept, and two clients that connect anew for each request. Each asks for the paths in turn.
    pub fn start(address: SocketAddr, paths: &[&str]) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let threads = (0..4)
            .map(|number| {
                let (stop, answered) = (stop.clone(), answered.clone());
                let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
                let keep = number % 2 == 0;
                thread::spawn(move || run(address, &paths, keep, &stop, &answered))
            })
            .collect();
        Load {
            stop,
            answered,
            threads,
        }
    }

    /// Requests answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Returns after so many more requests were answered.
    #[track_caller]
    pub fn wait_for_more(&self, requests: u64) {
        let goal = self.answered() + requests;
        crate::wait_until("the load makes progress", || self.answered() >= goal);
    }

    pub fn finish(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        for thread in self.threads.drain(..) {
            sum.add(thread.join().expect("a load thread does not panic"));
        }
        sum
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Tally {
    pub fn requests(&self) -> u64 {
        self.statuses.values().sum::<u64>() + self.failures.len() as u64
    }

    /// Panics unless every request was answered with this status.
    #[track_caller]
    pub fn expect_only(&self, status: u16) {
        let as_expected =
            self.failures.is_empty() && self.statuses.keys().all(|seen| *seen == status);
        assert!(
            as_expected && self.requests() > 0,
            "expected only {status}, got {self:?}"
        );
    }

    fn add(&mut self, other: Tally) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (origin, count) in other.origins {
            *self.origins.entry(origin).or_default() += count;
        }
        self.failures.extend(other.failures);
        self.failures.truncate(100);
    }
}

fn run(
    address: SocketAddr,
    paths: &[String],
    keep: bool,
    stop: &AtomicBool,
    answered: &AtomicU64,
) -> Tally {
    let (mut tally, mut kept, end) = (Tally::default(), None, Instant::now() + LIMIT);
    for path in paths.iter().cycle() {
        if stop.load(Ordering::Relaxed) || Instant::now() > end {
            break;
        }
        match ask(address, path, keep, &mut kept) {
            Ok((status, origin)) => {
                *tally.statuses.entry(status).or_default() += 1;
                *tally.origins.entry(origin).or_default() += 1;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(words) if tally.failures.len() < 100 => tally.failures.push(words),
            Err(_) => {}
        }
        thread::sleep(PAUSE);
    }
    tally
}

fn ask(
    address: SocketAddr,
    path: &str,
    keep: bool,
    kept: &mut Option<Client>,
) -> Result<(u16, String), String> {
    let mut client = match kept.take() {
        Some(client) => client,
        None => Client::try_connect(address).map_err(|e| format!("connect: {e}"))?,
    };
    let connection = if keep { "keep-alive" } else { "close" };
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: test.example\r\nconnection: {connection}\r\n\r\n");
    let answer = client
        .try_ask(&request)
        .map_err(|e| format!("{path}: {e}"))?;
    let closing = answer
        .header("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"));
    if keep && !closing {
        *kept = Some(client);
    }
    Ok((
        answer.status(),
        answer.header("x-origin").unwrap_or("").to_owned(),
    ))
}
