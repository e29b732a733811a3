//! An attempt over HTTP/2: the request shares a connection with others. What a server refuses unseen, or leaves out as it goes
//! (RFC 9113, 6.8 and 8.7), is sent again whatever its method, as long as no more was sent of its body than is kept for that.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use super::dial::dial;
use super::exchange::Exchange;
use super::fault::{Fault, Stage};
use super::forward::{Failed, ToServer, no_answer, not_connected, send_ahead};
use super::repeat;
use super::site::{Member, PoolSite};
use crate::http::client::{Answer, Why};
use crate::http::h2::client::{Connection, NoAnswer};
use crate::http::h2::mux::{Mux, NoConnection};
use crate::http::link::Phase;
use crate::http::patience::Patience;

/// What a request goes over.
struct Way {
    connection: Connection,
    /// It was there already, so that the server may have closed it before the request came.
    kept: bool,
}

/// How one sending failed.
struct Unanswered {
    fault: Fault,
    /// It is as if it had not been sent.
    again: bool,
    /// Whatever became of it, it may be sent again.
    safe: bool,
}

pub(super) async fn attempt(
    pool: &PoolSite,
    server: &Member,
    mux: &Rc<Mux>,
    exchange: &mut Exchange,
    peer: &str,
) -> Result<Answer, Failed> {
    let mut once_more = true;
    loop {
        exchange.record.stage = Stage::Connect;
        let way = connect(pool, server, mux, exchange).await?;
        match send(pool, server, exchange, way, peer).await {
            Ok(answer) => return Ok(answer),
            // As if the connection had not been there.
            Err(failed) if failed.again && once_more => once_more = false,
            Err(Unanswered { fault, again, safe }) => {
                let again = again && pool.retry.reset || repeat::after(pool, fault, true, safe);
                return Err(Failed { fault, again });
            }
        }
    }
}

async fn connect(
    pool: &PoolSite,
    server: &Member,
    mux: &Rc<Mux>,
    exchange: &mut Exchange,
) -> Result<Way, Failed> {
    let begun = Instant::now();
    let kept = Cell::new(true);
    let link = exchange.record.link.clone();
    let taking = pin!(mux.take(async || {
        kept.set(false);
        dial(server, None).await
    }));
    let taken = link.wait(Phase::Busy, pool.timeouts.connect, taking).await;
    let took = exchange.record.connect.unwrap_or_default() + begun.elapsed();
    let failed = |fault| Failed {
        fault,
        again: repeat::after(pool, fault, false, true),
    };
    match taken {
        Ok(Ok(connection)) => {
            exchange.record.connect = Some(took);
            let kept = kept.get();
            Ok(Way { connection, kept })
        }
        Ok(Err(NoConnection::Dial(error))) => {
            Err(failed(not_connected(pool, server, exchange, error)))
        }
        Ok(Err(NoConnection::Handshake(error))) => {
            let (pool, server) = (&*pool.name, &*server.name);
            tracing::debug!(pool, server, %error, "the server speaks no HTTP/2");
            Err(failed(Fault::BadResponse))
        }
        Err(_) => Err(failed(Fault::ConnectTimeout)),
    }
}

async fn send(
    pool: &PoolSite,
    server: &Member,
    exchange: &mut Exchange,
    way: Way,
    peer: &str,
) -> Result<Answer, Unanswered> {
    let Way { connection, kept } = way;
    exchange.record.stage = Stage::Head;
    let (whole, repeatable) = (exchange.has_whole_body(), exchange.is_repeatable(pool));
    let mut body = exchange.take_body();
    let first_byte = pool.timeouts.first_byte;
    body.answer_within(first_byte);
    let begun = Instant::now();
    let answer = {
        let head = ToServer {
            exchange,
            server,
            peer,
        };
        let link = &exchange.record.link;
        let patience = Patience::new(link.clone(), pool.timeouts.send, first_byte);
        let interim = |head| send_ahead(exchange, head);
        let sending = pin!(connection.send(&head, body, Some(patience), interim));
        link.wait(Phase::FirstByte, first_byte, sending).await
    };
    match answer {
        Ok(Ok(answer)) => {
            exchange.was_answered(server, begun);
            Ok(answer)
        }
        Ok(Err(NoAnswer { why, body })) => {
            let whole = whole || body.is_some();
            exchange.body = body;
            Err(Unanswered {
                fault: no_answer(why, false, exchange),
                again: match why {
                    Why::Refused => whole,
                    Why::Closed => kept && repeatable,
                    _ => false,
                },
                safe: repeatable,
            })
        }
        Err(expired) => Err(Unanswered {
            fault: expired.0.into(),
            again: false,
            safe: repeatable,
        }),
    }
}

impl Exchange {
    /// The head of its answer to a request that was sent at `begun` is there.
    pub(super) fn was_answered(&mut self, server: &Member, begun: Instant) {
        let now = Instant::now();
        let took = now - begun;
        self.record.first_byte = Some(took);
        let micros = took.as_micros().min(u128::from(u32::MAX)) as u32;
        server.live.answered_in(micros, now);
    }
}
