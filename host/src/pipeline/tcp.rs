//! A connection in tcp mode: a server is chosen and reached as for a request, then bytes pass both ways until both sides have
//! ended, one has broken, or neither has said anything for too long.
//!
//! A drain leaves it alone until its deadline: who knows what a database is at. What breaks it off resets both sides, so that
//! neither takes what it has for whole.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::approach::Arrival;
use super::dial::{NoConnection, dial, fault_of};
use super::fault::{Fault, Stage};
use super::pick::Tried;
use super::session::Session;
use super::site::{Member, PoolSite, Site};
use super::turn::{self, Asked};
use super::worker::{Bond, Place};
use super::{passive, trail};
use crate::base::ids::PoolIndex;
use crate::config::checked::OnMarkedDown;
use crate::http::link::Closing;
use crate::net::Stream;
use crate::net::relay::{Broken, Relay, Side};

/// A server's side of a connection.
struct Reached {
    stream: Stream,
    /// It ends with the server.
    bond: Option<Bond>,
}

/// `ahead` was read of the client already. The site is let go of once there is a server.
pub async fn pass(
    site: Rc<Site>,
    arrival: Arrival,
    mut session: Session,
    pool: Option<PoolIndex>,
    ahead: Vec<u8>,
) {
    let Arrival {
        stream,
        link,
        place,
        ..
    } = arrival;
    let Some(stream) = stream else {
        return;
    };
    let listener = site.listener(place.listener());
    let silence = listener.map_or(Duration::ZERO, |listener| listener.timeouts.tunnel);
    let at_end = listener.is_some_and(|listener| listener.abort_on_close);
    session.ready = Instant::now();
    let reached = tokio::select! {
        biased;
        reached = connect(&site, &place, pool, &mut session) => reached,
        // It may have waited in line for long.
        () = leaves(&stream, at_end) => Err(Fault::ClientClosed),
        () = link.closes(Closing::Cut) => Err(link.blamed().into()),
    };
    drop(site);
    let end = match reached {
        Ok(Reached {
            stream: server,
            bond,
        }) => {
            session.stage = Stage::Data;
            let relay = Relay::new((stream, ahead), (server, Vec::new()));
            let end = relayed(relay, silence, &mut session).await;
            drop(bond);
            end
        }
        Err(fault) => {
            stream.cut();
            Err(fault)
        }
    };
    session.end = Some(end);
    // Told before the worker takes it for gone: a drain ends with the last one.
    drop(session);
    drop(place);
}

/// Resolves once the client is gone: it has reset the connection, or, `at_end`, sends no more. One that has only closed its sending
/// side may still wait for what the server has to say.
async fn leaves(stream: &Stream, at_end: bool) {
    match at_end {
        true => stream.ends().await,
        false => stream.breaks().await,
    }
}

async fn relayed(
    mut relay: Relay<Stream>,
    silence: Duration,
    session: &mut Session,
) -> Result<(), Fault> {
    let link = session.link.clone();
    let end = tokio::select! {
        end = relay.run(silence) => end.map_err(|broken| match broken {
            Broken::Side(Side::First) => Fault::ClientClosed,
            Broken::Side(Side::Second) => Fault::ServerAborted,
            Broken::Silent => Fault::TunnelTimeout,
        }),
        () = link.closes(Closing::Cut) => Err(link.blamed().into()),
    };
    if end.is_err() {
        relay.cut();
    }
    (session.bytes_in, session.bytes_out) = relay.passed();
    end
}

/// A server's failure to be reached is followed by another server, as often as the pool retries.
async fn connect(
    site: &Site,
    place: &Place,
    index: Option<PoolIndex>,
    session: &mut Session,
) -> Result<Reached, Fault> {
    let index = index.ok_or(Fault::NoPool)?;
    let pool = site.pool(index).ok_or(Fault::NoPool)?;
    session.pool = Some(pool.name.clone());
    let mut tried = Tried::new();
    let mut last = None;
    let mut leave = None;
    loop {
        let asked = Asked {
            pool,
            index,
            stuck: None,
            tried: &tried,
            at_once: false,
        };
        let chosen = turn::take(session, asked).await;
        let (server, held) = chosen.map_err(|fault| last.unwrap_or(fault))?;
        session.chose(server, held);
        // From the first attempt on: it may be found down while we wait for it.
        let bond = (pool.on_marked_down == OnMarkedDown::Close)
            .then(|| place.bind_to(server.live.slot(), &session.link));
        let attempt = attempt(pool, server, session).await;
        let told = attempt.as_ref().map(|_| None).map_err(|fault| *fault);
        trail::tried(session.trail.as_deref(), server, told);
        let met = attempt.as_ref().map(|_| StatusCode::OK);
        let met = met.map_err(|fault| *fault);
        passive::met(pool, &mut session.in_flight, met);
        let fault = match attempt {
            Ok(stream) => return Ok(Reached { stream, bond }),
            Err(fault) => fault,
        };
        if !pool.retry.connect || session.attempts > pool.retries {
            return Err(fault);
        }
        if leave.is_none() {
            leave = pool.retry().map_err(|()| fault)?;
        }
        last = Some(fault);
        tried.push(server.live.slot());
        server.live.vitals.counts.retried.fetch_add(1, Relaxed);
        session.in_flight = None;
    }
}

async fn attempt(pool: &PoolSite, server: &Member, session: &mut Session) -> Result<Stream, Fault> {
    let begun = Instant::now();
    let dialling = dial(server, Some(&session.facts));
    let dialled = tokio::time::timeout(pool.timeouts.connect, dialling).await;
    let stream = match dialled {
        Ok(Ok(stream)) => stream,
        Ok(Err(NoConnection::Socket(error))) => {
            tracing::debug!(pool = &*pool.name, server = &*server.name, %error, "cannot connect");
            return Err(fault_of(&error));
        }
        Ok(Err(NoConnection::Tls(error))) => {
            let why = format!("{}: {error}", server.name);
            session.reasons.push(("server-tls".into(), why));
            return Err(Fault::ServerTls);
        }
        Err(_) => return Err(Fault::ConnectTimeout),
    };
    session.connect = Some(session.connect.unwrap_or_default() + begun.elapsed());
    Ok(stream)
}
