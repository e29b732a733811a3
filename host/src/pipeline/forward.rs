//! To the server and back: a connection, kept or new, the request, the answer's head. What failed before the request was
//! sent is tried again at another server; after that only what is safe to repeat.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, EXPECT, HOST, TE, UPGRADE};
use http::{HeaderValue, StatusCode};

use super::exchange::Exchange;
use super::fault::{Fault, Stage};
use super::forwarded;
use super::pick::{Tried, pick};
use super::respond::Answer;
use super::site::{Member, PoolSite, Site};
use crate::base::ids::PoolIndex;
use crate::http::client::{self, Connection, NoAnswer, Why};
use crate::http::link::Phase;
use crate::http::server::Tunnel;
use crate::http::{Body, RequestHead};
use crate::net;

/// Why an attempt failed.
struct Failed {
    fault: Fault,
    /// Another server may be tried.
    again: bool,
}

pub async fn forward(
    site: &Site,
    exchange: &mut Exchange,
    index: PoolIndex,
    peer: &HeaderValue,
    silence: Duration,
) -> Result<Answer, Fault> {
    let pool = site.pool(index).ok_or(Fault::NoPool)?;
    exchange.record.pool = Some(pool.name.clone());
    let mut tried = Tried::new();
    let mut last = None;
    loop {
        // Once a server was tried, its failure says more than that there is no other.
        let server = pick(pool, index, exchange, &tried).map_err(|fault| last.unwrap_or(fault))?;
        exchange.chose(server);
        match attempt(pool, server, exchange, peer).await {
            Ok(answer) => return Ok(answered(pool, server, exchange, answer, silence)),
            Err(failed) if failed.again && exchange.record.attempts <= pool.retries => {
                last = Some(failed.fault);
                tried.push(server.live.slot());
            }
            Err(failed) => return Err(failed.fault),
        }
    }
}

impl Exchange {
    fn chose(&mut self, server: &Member) {
        let record = &mut self.record;
        record.queue.get_or_insert_with(|| record.read.elapsed());
        record.attempts += 1;
        record.server = Some(server.name.clone());
        record.in_flight = Some((server.live.clone(), server.live.enter()));
    }

    fn sends_no_body(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_empty)
    }
}

async fn attempt(
    pool: &PoolSite,
    server: &Member,
    exchange: &mut Exchange,
    peer: &HeaderValue,
) -> Result<client::Answer, Failed> {
    let repeatable = exchange.sends_no_body() && exchange.head.is_idempotent();
    exchange.record.stage = Stage::Connect;
    if let Some(kept) = server.idle.take() {
        exchange.record.connect.get_or_insert(Duration::ZERO);
        match send(pool, server, exchange, kept, peer).await {
            // It had been closed, and we had not heard of it yet: as if it had not been there.
            Err((Fault::ServerClosed, false)) if repeatable => {}
            Err((fault, begun)) => {
                return Err(Failed {
                    fault,
                    again: repeatable && !begun && fault == Fault::ServerClosed,
                });
            }
            Ok(answer) => return Ok(answer),
        }
    }
    let connection = connect(pool, server, exchange).await?;
    let answer = send(pool, server, exchange, connection, peer).await;
    answer.map_err(|(fault, begun)| Failed {
        fault,
        again: repeatable && !begun && fault == Fault::ServerClosed,
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
            net::dial(&server.address),
        )
        .await;
    let took = exchange.record.connect.unwrap_or_default() + begun.elapsed();
    let failed = |fault| Failed { fault, again: true };
    let socket = match dialled {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => {
            tracing::debug!(pool = &*pool.name, server = &*server.name, %error, "cannot connect");
            return Err(failed(Fault::ConnectFailed));
        }
        Err(_) => return Err(failed(Fault::ConnectTimeout)),
    };
    exchange.record.connect = Some(took);
    Ok(Connection::open(socket))
}

/// Beside the fault: whether anything of an answer had come.
async fn send(
    pool: &PoolSite,
    server: &Member,
    exchange: &mut Exchange,
    connection: Connection,
    peer: &HeaderValue,
) -> Result<client::Answer, (Fault, bool)> {
    exchange.record.stage = Stage::Head;
    let head = outgoing(exchange, server, peer);
    let mut body = exchange.body.take().unwrap_or_default();
    let first_byte = pool.timeouts.first_byte;
    body.answer_within(first_byte);
    let upgrade = exchange.said.upgrade.is_some();
    let sending = connection.send(server.idle.clone(), head, body, upgrade);
    let begun = Instant::now();
    let answer = exchange
        .record
        .link
        .wait(Phase::FirstByte, first_byte, sending)
        .await;
    match answer {
        Ok(Ok(answer)) => {
            let took = begun.elapsed();
            exchange.record.first_byte = Some(took);
            server
                .live
                .answered_in(took.as_micros().min(u128::from(u32::MAX)) as u32);
            Ok(answer)
        }
        Ok(Err(NoAnswer { why, begun })) => Err((no_answer(why, begun), begun)),
        Err(expired) => Err((expired.0.into(), false)),
    }
}

fn no_answer(why: Why, begun: bool) -> Fault {
    match why {
        Why::RequestBroken => Fault::BodyBroken,
        Why::Invalid => Fault::BadResponse,
        // It broke off within a head.
        Why::Closed if begun => Fault::BadResponse,
        Why::Closed => Fault::ServerClosed,
    }
}

/// The head that the server gets: what the plugins left, and what we say ourselves.
fn outgoing(exchange: &Exchange, server: &Member, peer: &HeaderValue) -> RequestHead {
    let mut head = exchange.head.clone();
    let fields = &mut head.fields;
    forwarded::tell(fields, exchange, peer);
    // A client of HTTP/1.0 need not name a host; we speak HTTP/1.1 (RFC 9112, 3.2).
    if !fields.contains(&HOST) {
        fields.set(&HOST, server.address.as_bytes());
    }
    // The engine asks for a body as soon as a server takes it: the expectation ends here (RFC 9110, 10.1.1).
    fields.remove(&EXPECT);
    let mut options = "";
    if exchange.said.trailers {
        fields.set(&TE, "trailers");
        options = "te";
    }
    if let Some(protocol) = &exchange.said.upgrade {
        fields.set(&UPGRADE, protocol);
        options = if options.is_empty() {
            "upgrade"
        } else {
            "te, upgrade"
        };
    }
    if !options.is_empty() {
        fields.set(&CONNECTION, options);
    }
    head
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
