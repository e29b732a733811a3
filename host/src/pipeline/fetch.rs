//! The calls that filters ask for: to a granted pool, by its balancer, with a deadline, bounded in size and number. A pool
//! that fails again and again is left alone for a while, so that a dead authorisation service costs a request an answer, not
//! a timeout.

use std::cell::Cell;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Version};

use super::exchange::Exchange;
use super::pick::{Tried, pick};
use super::site::{Member, PoolSite, Site};
use super::worker::Worker;
use crate::base::ids::Slot;
use crate::hook::{Fetch, FetchError, Reply};
use crate::http::body::CollectError;
use crate::http::client::{Answer, Connection, NoAnswer};
use crate::http::h2 as http2;
use crate::http::{Body, Fields, RequestHead, Target, hop};

/// Bytes of an answer's body.
const LARGEST_ANSWER: usize = 1 << 20;

/// Fetches under way at a time on one worker; a further one is refused.
const MOST_AT_A_TIME: usize = 256;

/// Failures in a row after which a pool is left alone.
const FAILURES: u32 = 5;

/// For this long; then one call tries again.
const PAUSE: Duration = Duration::from_secs(1);

/// Of one pool on one worker.
#[derive(Default)]
pub struct Breaker {
    failures: Cell<u32>,
    open_until: Cell<Option<Instant>>,
}

/// By the pool's balancer, which may look at the request that it is for.
pub async fn fetch(site: &Site, exchange: &Exchange, call: Fetch) -> Result<Reply, FetchError> {
    let index = call.pool;
    let choose = |pool, tried: &[Slot]| {
        let random = exchange.record.worker.random();
        pick(pool, index, exchange, random, tried, None).ok()
    };
    bounded(site, &exchange.record.worker, call, choose).await
}

/// For no request: the pool's servers in turn.
pub async fn behind(site: &Site, worker: &Worker, call: Fetch) -> Result<Reply, FetchError> {
    bounded(site, worker, call, PoolSite::in_turn).await
}

async fn bounded<'a>(
    site: &'a Site,
    worker: &Worker,
    call: Fetch,
    choose: impl Fn(&'a PoolSite, &[Slot]) -> Option<&'a Member>,
) -> Result<Reply, FetchError> {
    let pool = site.pool(call.pool).ok_or(FetchError::NotGranted)?;
    let _permit = Permit::take(worker).ok_or(FetchError::Refused)?;
    if !pool.breaker.allows(Instant::now()) {
        return Err(FetchError::Refused);
    }
    let timeout = call.timeout;
    let answer = tokio::time::timeout(timeout, ask(pool, call, choose)).await;
    let answer = answer.unwrap_or(Err(FetchError::Timeout));
    let failed = matches!(answer, Err(FetchError::Timeout | FetchError::Refused));
    pool.breaker.told(failed, Instant::now());
    answer
}

/// Another server after a failed connect, as for any request.
async fn ask<'a>(
    pool: &'a PoolSite,
    call: Fetch,
    choose: impl Fn(&'a PoolSite, &[Slot]) -> Option<&'a Member>,
) -> Result<Reply, FetchError> {
    let mut tried = Tried::new();
    let connected = loop {
        let server = choose(pool, &tried).ok_or(FetchError::Refused)?;
        match connection(server, tried.is_empty()).await {
            Some(connection) => break (server, connection),
            None if tried.len() as u32 >= pool.retries => return Err(FetchError::Refused),
            None => tried.push(server.live.slot()),
        }
    };
    let (server, connection) = connected;
    let _in_flight = server.live.enter();
    let (head, body) = request(server, call);
    let again = body.is_empty() && head.is_idempotent();
    let answer = connection.send(server, &head, body).await;
    let answer = match answer {
        Err(failed) if again && !failed.begun => {
            let fresh = dial(server).await.ok_or(FetchError::Refused)?;
            fresh.send(server, &head, Body::empty()).await
        }
        answer => answer,
    };
    reply(answer.map_err(|_| FetchError::Refused)?).await
}

/// A connection of its own, or one that others share.
enum Way {
    Own(Connection),
    Shared(http2::client::Connection),
}

impl Way {
    async fn send(
        self,
        server: &Member,
        head: &RequestHead,
        body: Body,
    ) -> Result<Answer, NoAnswer> {
        match self {
            Way::Own(connection) => {
                let home = server.idle.clone();
                connection.send(home, head, body, false, None, |_| {}).await
            }
            Way::Shared(connection) => {
                let answer = connection.send(head, body, None, |_| {}).await;
                answer.map_err(|failed| NoAnswer {
                    why: failed.why,
                    begun: false,
                })
            }
        }
    }
}

async fn connection(server: &Member, kept: bool) -> Option<Way> {
    if let Some(connection) = kept.then(|| server.idle.take()).flatten() {
        return Some(Way::Own(connection));
    }
    dial(server).await
}

async fn dial(server: &Member) -> Option<Way> {
    let reach = async || super::dial::dial(server, None).await;
    match &server.mux {
        Some(mux) => mux.take(reach).await.ok().map(Way::Shared),
        None => reach().await.ok().map(Connection::open).map(Way::Own),
    }
}

fn request(server: &Member, call: Fetch) -> (RequestHead, Body) {
    let mut fields = Fields::new();
    for (name, value) in &call.headers {
        fields.append(name, value);
    }
    hop::take(&mut fields);
    if !fields.contains(&HOST) {
        fields.set(&HOST, server.host().as_bytes());
    }
    fields.remove(&CONTENT_LENGTH);
    let body = Body::full(call.body);
    if !body.is_empty() && !fields.contains(&CONTENT_TYPE) {
        fields.set(&CONTENT_TYPE, "application/octet-stream");
    }
    let target = Target::parse(call.path.as_bytes()).unwrap_or_else(Target::root);
    (
        RequestHead {
            method: call.method,
            target,
            version: Version::HTTP_11,
            fields,
        },
        body,
    )
}

async fn reply(answer: Answer) -> Result<Reply, FetchError> {
    let Answer { mut head, body, .. } = answer;
    hop::take(&mut head.fields);
    let body = body
        .collect(LARGEST_ANSWER)
        .await
        .map_err(|error| match error {
            CollectError::TooLarge => FetchError::TooLarge,
            CollectError::Broken => FetchError::Refused,
        })?;
    let headers = head.fields.iter().filter_map(|(name, value)| {
        Some((
            HeaderName::from_bytes(name).ok()?,
            HeaderValue::from_bytes(value).ok()?,
        ))
    });
    Ok(Reply {
        status: head.status.as_u16(),
        headers: headers.collect(),
        body: body.into(),
    })
}

impl Breaker {
    fn allows(&self, now: Instant) -> bool {
        match self.open_until.get() {
            Some(until) if now < until => false,
            Some(_) => {
                // One call may try; the others wait for what it says.
                self.open_until.set(Some(now + PAUSE));
                true
            }
            None => true,
        }
    }

    fn told(&self, failed: bool, now: Instant) {
        if !failed {
            self.failures.set(0);
            self.open_until.set(None);
            return;
        }
        self.failures.set(self.failures.get().saturating_add(1));
        if self.failures.get() >= FAILURES {
            self.open_until.set(Some(now + PAUSE));
        }
    }
}

/// One of the fetches that may be under way.
struct Permit<'a>(&'a Worker);

impl<'a> Permit<'a> {
    fn take(worker: &'a Worker) -> Option<Permit<'a>> {
        let now = worker.fetches.get();
        (now < MOST_AT_A_TIME).then(|| {
            worker.fetches.set(now + 1);
            Permit(worker)
        })
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.fetches.set(self.0.fetches.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_fails_is_left_alone_and_tried_again() {
        let breaker = Breaker::default();
        let start = Instant::now();
        for _ in 0..FAILURES {
            assert!(breaker.allows(start));
            breaker.told(true, start);
        }
        assert!(!breaker.allows(start));
        let later = start + PAUSE;
        assert!(breaker.allows(later), "one may try");
        assert!(!breaker.allows(later), "the next waits for what it says");
        breaker.told(false, later);
        assert!(breaker.allows(later));
    }
}
