//! To the server and back: a connection, kept or new, the request, the answer's head. What failed before the request was
//! sent is tried again at another server; after that only what is safe to repeat, and only after what the pool says.

use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use http::{Method, StatusCode, Version};

use super::dial::{NoConnection, dial, fault_of};
use super::exchange::Exchange;
use super::fault::{Fault, Stage};
use super::pick::Tried;
use super::respond::Answer;
use super::site::{Member, PoolSite, Site};
use super::turn::{self, Asked, Asker, Waited};
use super::{forwarded, multiplex, passive, repeat, stick, trail};
use crate::base::ids::PoolIndex;
use crate::base::trail::Trail;
use crate::http::client::{self, Connection, NoAnswer, Outgoing, Why};
use crate::http::h1::head;
use crate::http::idle::Idle;
use crate::http::known::Known;
use crate::http::link::{Blame, Phase};
use crate::http::patience::Patience;
use crate::http::server::Tunnel;
use crate::http::{Body, ResponseHead, delivery, hop};
use crate::upstream::Retrying;
use crate::upstream::live::InFlight;

/// Why an attempt failed.
pub(super) struct Failed {
    pub fault: Fault,
    /// Another server may be tried.
    pub again: bool,
}

pub async fn forward(
    site: &Site,
    exchange: &mut Exchange,
    index: PoolIndex,
    peer: &str,
    silence: Duration,
) -> Result<Answer, Fault> {
    let pool = site.pool(index).ok_or(Fault::NoPool)?;
    exchange.record.pool = Some(pool.name.clone());
    let way = Way {
        pool,
        index,
        peer,
        silence,
        bodies: site.retry_bodies,
    };
    match pool.timeouts.total.is_zero() {
        true => attempts(&way, exchange).await,
        false => Box::pin(in_time(&way, exchange)).await,
    }
}

/// What is the same for all attempts.
struct Way<'a> {
    pool: &'a PoolSite,
    index: PoolIndex,
    peer: &'a str,
    silence: Duration,
    /// Bytes of bodies that are kept, of all requests.
    bodies: usize,
}

/// What the attempts so far have come to.
enum Last<'a> {
    Fault(Fault),
    /// One that is passed on if there is no better.
    Answer(Box<(&'a Member, client::Answer, Option<InFlight>)>),
}

async fn attempts(way: &Way<'_>, exchange: &mut Exchange) -> Result<Answer, Fault> {
    let Way { pool, index, .. } = *way;
    if pool.keeps_bodies {
        Box::pin(repeat::keep_body(pool, exchange, way.bodies)).await?;
    }
    let mut tried = Tried::new();
    let mut last = None;
    let mut stuck = match stick::find(pool, index, exchange) {
        stick::Found::Now(member) => member,
        stick::Found::Elsewhere(asked) => {
            let server = asked.await;
            stick::heard(pool, server.as_deref(), exchange)
        }
    };
    let mut leave = None;
    loop {
        let (before, at_once) = (exchange.record.stage, matches!(last, Some(Last::Answer(_))));
        let asked = Asked {
            pool,
            index,
            stuck: stuck.take(),
            tried: &tried,
            at_once,
        };
        let chosen = turn::take(exchange, asked).await;
        if at_once {
            exchange.record.stage = before;
        }
        let (server, place) = match (chosen, last.take()) {
            (Ok(chosen), _) => chosen,
            // Once a server was tried, its failure says more than that there is no other.
            (Err(_), Some(last)) => return last.stands(way, exchange),
            (Err(fault), None) => return Err(fault),
        };
        let now = Instant::now();
        exchange.chose(server, place, now);
        // Before its body is spent.
        let repeatable = pool.retries_answers && exchange.is_repeatable(pool);
        let attempt = attempt(pool, server, exchange, way.peer, now).await;
        let met = attempt.as_ref().map(|answer| answer.head.status);
        let met = met.map_err(|failed| failed.fault);
        passive::met(pool, &mut exchange.record.in_flight, met);
        let status = met.map(|status| Some(status.as_u16()));
        trail::tried(exchange.trail(), server, status);
        let again = match &attempt {
            Ok(answer) => repeatable && pool.retry.takes(answer.head.status.as_u16()),
            Err(failed) => failed.again,
        };
        let again = again && exchange.record.attempts <= pool.retries;
        if !again || !exchange.may_retry(pool, &mut leave) {
            return match attempt {
                Ok(answer) => Ok(way.answered(server, exchange, answer)),
                Err(failed) => Err(failed.fault),
            };
        }
        tried.push(server.live.slot());
        server.live.vitals.counts.retried.fetch_add(1, Relaxed);
        // Its place is another's while we look for one elsewhere.
        let place = exchange.record.in_flight.take();
        last = Some(match attempt {
            Ok(answer) => Last::Answer(Box::new((server, answer, place))),
            Err(failed) => Last::Fault(failed.fault),
        });
    }
}

/// The same, with a deadline for all of it.
async fn in_time(way: &Way<'_>, exchange: &mut Exchange) -> Result<Answer, Fault> {
    let deadline = exchange.record.read + way.pool.timeouts.total;
    let trying = attempts(way, exchange);
    if let Ok(answer) = tokio::time::timeout_at(deadline.into(), trying).await {
        return answer;
    }
    let record = &mut exchange.record;
    if matches!(record.link.phase(), Phase::FirstByte | Phase::Sending) {
        let met = Err(Fault::FirstByteTimeout);
        passive::met(way.pool, &mut record.in_flight, met);
    }
    Err(Fault::TotalTimeout)
}

impl Last<'_> {
    /// There is no further attempt.
    fn stands(self, way: &Way<'_>, exchange: &mut Exchange) -> Result<Answer, Fault> {
        match self {
            Last::Fault(fault) => Err(fault),
            Last::Answer(last) => {
                let (server, answer, place) = *last;
                exchange.record.in_flight = place;
                Ok(way.answered(server, exchange, answer))
            }
        }
    }
}

impl Way<'_> {
    fn answered(
        &self,
        server: &Member,
        exchange: &mut Exchange,
        mut answer: client::Answer,
    ) -> Answer {
        stick::bind(self.pool, self.index, server, exchange, &mut answer.head);
        answered(self.pool, server, exchange, answer, self.silence)
    }
}

impl Exchange {
    fn chose(&mut self, server: &Member, place: InFlight, now: Instant) {
        let record = &mut self.record;
        record.queue.get_or_insert_with(|| now - record.read);
        record.attempts += 1;
        record.server = Some(server.name.clone());
        record.in_flight = Some(place);
    }

    /// Whether the pool has leave for another attempt, which is then held in `leave`.
    fn may_retry(&mut self, pool: &PoolSite, leave: &mut Option<Retrying>) -> bool {
        if leave.is_some() {
            return true;
        }
        match pool.retry() {
            Ok(given) => *leave = given,
            Err(()) => self.remark("retry-budget", "no leave for another attempt".to_owned()),
        }
        leave.is_some() || pool.retry.budget.is_none()
    }

    pub(super) fn sends_no_body(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_empty)
    }
}

impl Asker for Exchange {
    fn random(&self) -> u64 {
        self.record.worker.random()
    }

    fn trail(&self) -> Option<&Trail> {
        Exchange::trail(self)
    }

    fn queues(&mut self) {
        self.record.stage = Stage::Queue;
        self.record.link.enter(Phase::Busy, Duration::ZERO);
    }

    fn queued(&mut self, waited: &Waited) {
        let record = &mut self.record;
        let Some(time) = waited.time else { return };
        record.queued = waited.behind;
        match &mut record.queue {
            Some(known) => *known += time,
            None => record.queue = Some(record.read.elapsed()),
        }
    }
}

async fn attempt(
    pool: &PoolSite,
    server: &Member,
    exchange: &mut Exchange,
    peer: &str,
    now: Instant,
) -> Result<client::Answer, Failed> {
    // Boxed, as connecting is below: a request holds the place for whatever it may come to, and mostly comes to neither.
    if let Some(mux) = &server.mux {
        return Box::pin(multiplex::attempt(pool, server, mux, exchange, peer)).await;
    }
    let repeatable = exchange.is_repeatable(pool);
    exchange.record.stage = Stage::Connect;
    let home = server.idle_for(&exchange.record.link);
    if let Some(kept) = home.take() {
        exchange.record.connect.get_or_insert(Duration::ZERO);
        match send(pool, server, exchange, kept, &home, peer, now).await {
            // It had been closed, and we had not heard of it yet: as if it had not been there.
            Err((Fault::ServerClosed, false)) if repeatable => {}
            Err((fault, begun)) => {
                let again = repeat::after(pool, fault, begun, repeatable);
                return Err(Failed { fault, again });
            }
            Ok(answer) => return Ok(answer),
        }
    }
    let connection = Box::pin(connect(pool, server, exchange)).await?;
    let now = Instant::now();
    let answer = send(pool, server, exchange, connection, &home, peer, now).await;
    answer.map_err(|(fault, begun)| Failed {
        fault,
        again: repeat::after(pool, fault, begun, repeatable),
    })
}

async fn connect(
    pool: &PoolSite,
    server: &Member,
    exchange: &mut Exchange,
) -> Result<Connection, Failed> {
    let begun = Instant::now();
    let link = exchange.record.link.clone();
    let dialled = link
        .wait(
            Phase::Busy,
            pool.timeouts.connect,
            pin!(dial(server, Some(&exchange.record.facts))),
        )
        .await;
    let took = exchange.record.connect.unwrap_or_default() + begun.elapsed();
    let failed = |fault| Failed {
        fault,
        again: repeat::after(pool, fault, false, true),
    };
    let socket = match dialled {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return Err(failed(not_connected(pool, server, exchange, error))),
        Err(_) => return Err(failed(Fault::ConnectTimeout)),
    };
    exchange.record.connect = Some(took);
    Ok(Connection::open(socket))
}

/// What is told of it.
pub(super) fn not_connected(
    pool: &PoolSite,
    server: &Member,
    exchange: &mut Exchange,
    error: NoConnection,
) -> Fault {
    let (pool, server) = (&*pool.name, &*server.name);
    match error {
        NoConnection::Socket(error) => {
            tracing::debug!(pool, server, %error, "cannot connect");
            fault_of(&error)
        }
        NoConnection::Tls(error) => {
            tracing::debug!(pool, server, %error, "no TLS with the server");
            exchange.remark("server-tls", format!("{server}: {error}"));
            Fault::ServerTls
        }
    }
}

/// Beside the fault: whether anything of an answer had come.
async fn send(
    pool: &PoolSite,
    server: &Member,
    exchange: &mut Exchange,
    connection: Connection,
    home: &Rc<Idle>,
    peer: &str,
    begun: Instant,
) -> Result<client::Answer, (Fault, bool)> {
    exchange.record.stage = Stage::Head;
    let mut body = exchange.take_body();
    let first_byte = pool.timeouts.first_byte;
    body.answer_within(first_byte);
    let upgrade = exchange.said.upgrade.is_some();
    let answer = {
        let head = ToServer {
            exchange,
            server,
            peer,
        };
        let link = &exchange.record.link;
        let patience = Patience::new(link.clone(), pool.timeouts.send, first_byte);
        let home = home.clone();
        let interim = |head| send_ahead(exchange, head);
        let sending = pin!(connection.send(home, &head, body, upgrade, Some(patience), interim));
        link.wait(Phase::FirstByte, first_byte, sending).await
    };
    match answer {
        Ok(Ok(answer)) => {
            exchange.was_answered(server, begun);
            Ok(answer)
        }
        Ok(Err(NoAnswer { why, begun })) => Err((no_answer(why, begun, exchange), begun)),
        Err(expired) => Err((expired.0.into(), false)),
    }
}

pub(super) fn no_answer(why: Why, begun: bool, exchange: &Exchange) -> Fault {
    let link = &exchange.record.link;
    match why {
        Why::RequestBroken if link.was_blamed(Blame::TooLarge) => Fault::BodyTooLarge,
        Why::RequestBroken => Fault::BodyBroken,
        Why::Invalid => Fault::BadResponse,
        Why::Unsayable => Fault::BadRequest(head::Refused::Target),
        // It broke off within a head.
        Why::Closed if begun => Fault::BadResponse,
        Why::Closed | Why::Refused => Fault::ServerClosed,
    }
}

/// Passes an interim answer on, to a client that knows of such (RFC 9110, 15.2).
pub(super) fn send_ahead(exchange: &Exchange, mut head: ResponseHead) {
    if exchange.record.head.version >= Version::HTTP_11 {
        hop::take(&mut head.fields);
        delivery::send_ahead(&exchange.record.link, head);
    }
}

/// The head that the server gets: what the plugins left, and what we say ourselves.
pub(super) struct ToServer<'a> {
    pub exchange: &'a Exchange,
    pub server: &'a Member,
    pub peer: &'a str,
}

impl Outgoing for ToServer<'_> {
    fn method(&self) -> &Method {
        &self.exchange.record.head.method
    }

    fn has_length(&self) -> bool {
        self.exchange.record.head.has_length()
    }

    fn write(&self, out: &mut Vec<u8>) {
        let Exchange { record, said, .. } = self.exchange;
        record.head.write_line(out);
        forwarded::write(self.exchange, self.peer, out);
        // A client of HTTP/1.0 need not name a host; we speak HTTP/1.1 (RFC 9112, 3.2).
        if record.head.fields.first_of(Known::Host).is_none() {
            out.extend_from_slice(b"host: ");
            out.extend_from_slice(self.server.host().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if said.trailers {
            out.extend_from_slice(b"te: trailers\r\n");
        }
        if let Some(protocol) = &said.upgrade {
            out.extend_from_slice(b"upgrade: ");
            out.extend_from_slice(protocol);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(match (said.trailers, said.upgrade.is_some()) {
            (true, true) => b"connection: te, upgrade\r\n",
            (true, false) => b"connection: te\r\n",
            (false, true) => b"connection: upgrade\r\n",
            (false, false) => b"",
        });
    }
}

fn answered(
    pool: &PoolSite,
    server: &Member,
    exchange: &mut Exchange,
    answer: client::Answer,
    silence: Duration,
) -> Answer {
    let client::Answer {
        head,
        body,
        upgrade,
    } = answer;
    exchange.record.stage = Stage::Data;
    debug_assert_eq!(
        upgrade.is_some(),
        head.status == StatusCode::SWITCHING_PROTOCOLS
    );
    Answer {
        head,
        body,
        server: Some(Rc::clone(&server.name)),
        between_bytes: pool.timeouts.between_bytes,
        tunnel: upgrade.map(|server| Tunnel { server, silence }),
    }
}
