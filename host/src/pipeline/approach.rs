//! A connection's way to its protocol, where it is more than HTTP on a bare socket. Each step may end it, with a reset; then
//! it is told of as a request would be.
//!
//! ```text
//! PROXY line ─► TLS handshake, or a hello that passes through ─► connect plugins ─► http: requests
//!                                                                               └► tcp: a server
//! ```
//!
//! The configuration is held for this way alone: what comes after may last for days.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::fault::{Fault, Stage};
use super::forwarded::is_trusted;
use super::protocol::Connection;
use super::session::Session;
use super::site::{ListenerSite, Site};
use super::worker::{Place, Worker};
use super::{tcp, trail};
use crate::base::event::Silence;
use crate::base::ids::PoolIndex;
use crate::base::text::Text;
use crate::base::trail::Verdict;
use crate::config::checked::{Mode, OnFailure, ProxyIn};
use crate::hook::{Admission, ConnectionFacts, TlsFacts, Told};
use crate::http::link::{Closing, Phase};
use crate::http::server::Unreadable;
use crate::http::{Link, server};
use crate::net::Stream;
use crate::net::address::canonical;
use crate::net::hello::{self, hello};
use crate::net::proxy::{self, Said, Unread};
use crate::tls;
use crate::tls::counts::Reason;

/// A connection that has just come to its worker.
pub struct Arrival {
    pub worker: Rc<Worker>,
    /// None: it is gone, or somebody has it for a while.
    pub stream: Option<Stream>,
    pub link: Rc<Link>,
    pub facts: ConnectionFacts,
    pub place: Place,
    pub began: std::time::Instant,
}

/// Where the way leads.
struct Passed {
    /// Of the client, read already.
    ahead: Vec<u8>,
    /// In tcp mode: where a plugin wants it to go.
    pool: Option<PoolIndex>,
}

/// Why the way ends.
enum Ended {
    /// There is nobody to tell, and nothing to tell of.
    Gone,
    /// It is told of already.
    Told,
    /// Not a byte came of the TLS handshake.
    Silent,
    /// HTTP without TLS.
    PlainHttp,
    /// And why the TLS handshake came to nothing, more closely.
    Fault(Fault, Option<String>),
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Ended {
        Ended::Fault(fault, None)
    }
}

/// Goes the way. What is left are requests to be served; a connection in tcp mode is done with.
pub async fn approach(site: Rc<Site>, mut arrival: Arrival) -> Option<(Stream, Connection)> {
    let listener = site.listener(arrival.place.listener())?;
    let link = arrival.link.clone();
    // Every step has a deadline of its own.
    link.enter(Phase::Busy, Duration::ZERO);
    let (mode, pool) = (listener.entrance.mode, listener.pool);
    let passed = tokio::select! {
        passed = pass(&site, listener, &mut arrival) => passed,
        // No request has begun: there is nothing to wait for.
        () = link.closes(Closing::WhenIdle) => Err(Ended::Gone),
    };
    match (passed, mode) {
        (Ok((session, passed)), Mode::Tcp) => {
            let pool = passed.pool.or(pool);
            Box::pin(tcp::pass(site, arrival, session, pool, passed.ahead)).await;
            None
        }
        (Ok((mut session, _)), Mode::Http) => {
            session.silent = true;
            link.enter(Phase::Head, link.limits().head);
            arrival.into_connection()
        }
        (Err(Ended::PlainHttp), Mode::Http) => {
            let (stream, connection) = arrival.into_connection()?;
            server::turn_away(stream, link, connection, Unreadable::PlainHttp).await;
            None
        }
        (Err(ended), _) => {
            arrival.end(ended, &site, mode);
            None
        }
    }
}

impl Arrival {
    fn into_connection(self) -> Option<(Stream, Connection)> {
        let connection = Connection {
            worker: self.worker,
            listener: self.place.listener().clone(),
            link: self.link,
            facts: Rc::new(self.facts),
            _place: self.place,
        };
        Some((self.stream?, connection))
    }

    fn end(self, ended: Ended, site: &Site, mode: Mode) {
        let (fault, why) = match ended {
            Ended::Gone => return,
            Ended::Silent => {
                let (observer, listener) = (&self.worker.observer, self.place.listener());
                return observer.connection_was_silent(listener, Silence::Handshake);
            }
            Ended::Told => return self.cut(),
            Ended::PlainHttp => (Fault::PlainHttp, None),
            Ended::Fault(fault, why) => (fault, why),
        };
        self.cut();
        let (worker, link) = (&self.worker, &self.link);
        let facts = Rc::new(self.facts.clone());
        let mut session = Session::new(worker, link, facts, site.generation, mode);
        session.begun(self.began);
        session.reasons.extend(why.map(|why| ("tls".into(), why)));
        session.end = Some(Err(fault));
    }

    fn cut(&self) {
        if let Some(stream) = &self.stream {
            stream.cut();
        }
    }
}

async fn pass(
    site: &Site,
    listener: &ListenerSite,
    arrival: &mut Arrival,
) -> Result<(Session, Passed), Ended> {
    let entrance = &listener.entrance;
    let began = arrival.began;
    let deadline = Instant::from_std(began) + listener.timeouts.request_head;
    if entrance.proxy_protocol == ProxyIn::Require {
        proxy_line(site, arrival, deadline).await?;
    }
    if let Some(tls) = &listener.tls {
        secure(arrival, tls, listener.timeouts.handshake).await?;
    }
    let ahead = match entrance.tls_passthrough {
        true => tls_hello(arrival, deadline).await?,
        false => Vec::new(),
    };
    let facts = Rc::new(arrival.facts.clone());
    let (worker, link) = (&arrival.worker, &arrival.link);
    let mut session = Session::new(worker, link, facts, site.generation, entrance.mode);
    session.begun(began);
    let pool = admit(site, listener, &mut session)?;
    session.stage = Stage::Queue;
    Ok((session, Passed { ahead, pool }))
}

/// From here on the connection is the client's that the line tells of.
async fn proxy_line(site: &Site, arrival: &mut Arrival, deadline: Instant) -> Result<(), Ended> {
    let peer = arrival.facts.client;
    if !is_trusted(peer.ip(), &site.trusted_proxies) {
        return Err(Fault::ProxyUntrusted.into());
    }
    let said = match timeout_at(
        deadline,
        proxy::read(arrival.stream.as_mut().ok_or(Ended::Gone)?),
    )
    .await
    {
        Ok(Ok(said)) => said,
        Ok(Err(Unread::Malformed)) => return Err(Fault::ProxyMalformed.into()),
        Ok(Err(Unread::Closed)) => return Err(Ended::Gone),
        Err(_) => return Err(Fault::ProxyTimeout.into()),
    };
    believe(&mut arrival.facts, said);
    match arrival.place.belongs_to(arrival.facts.client.ip()) {
        true => Ok(()),
        // By the gate.
        false => Err(Ended::Told),
    }
}

fn believe(facts: &mut ConnectionFacts, said: Said) {
    let mut told = Told {
        peer: Some(facts.client),
        server_name: said.server_name,
        alpn: said.alpn,
    };
    match said.addresses {
        Some((client, local)) => {
            facts.client = canonical(client);
            facts.client_address = Text::of(facts.client.ip());
            facts.client_port = Text::of(facts.client.port());
            facts.local = canonical(local);
        }
        None => told.peer = None,
    }
    facts.told = Some(Box::new(told));
}

/// The TLS handshake.
async fn secure(arrival: &mut Arrival, tls: &tls::Server, at_most: Duration) -> Result<(), Ended> {
    let heard = Cell::new(false);
    let meeting = tokio::time::timeout(at_most, meet(&mut arrival.stream, tls, &heard));
    let met = meeting.await;
    match met {
        Ok(Ok((stream, told))) => {
            arrival.stream = Some(stream);
            arrival.facts.tls = Some(Rc::new(told));
            Ok(())
        }
        Ok(Err(NotMet::Gone)) => Err(Ended::Gone),
        Ok(Err(NotMet::Plain)) => {
            tls.counts().failed(Reason::PlainHttp);
            Err(Ended::PlainHttp)
        }
        Ok(Err(NotMet::Failed(failed))) => {
            let why = format!("{}: {}", failed.reason.word(), failed.error);
            Err(Ended::Fault(Fault::HandshakeFailed, Some(why)))
        }
        Err(_) => {
            tls.counts().failed(Reason::Timeout);
            Err(match heard.get() {
                true => Fault::HandshakeTimeout.into(),
                false => Ended::Silent,
            })
        }
    }
}

/// Why there is no TLS.
enum NotMet {
    /// HTTP without it. The stream is still there.
    Plain,
    /// The client went away before it said anything.
    Gone,
    Failed(tls::server::Failed),
}

async fn meet(
    socket: &mut Option<Stream>,
    tls: &tls::Server,
    heard: &Cell<bool>,
) -> Result<(Stream, TlsFacts), NotMet> {
    let stream = socket.as_ref().ok_or(NotMet::Gone)?;
    let first = stream.peek().await.ok().flatten().ok_or(NotMet::Gone)?;
    heard.set(true);
    // A method; a TLS record begins with 22 (RFC 8446, 5.1).
    if first.is_ascii_alphabetic() {
        return Err(NotMet::Plain);
    }
    let stream = socket.take().ok_or(NotMet::Gone)?;
    tls.accept(stream).await.map_err(NotMet::Failed)
}

/// The client's TLS hello, which is to be passed on.
async fn tls_hello(arrival: &mut Arrival, deadline: Instant) -> Result<Vec<u8>, Ended> {
    let stream = arrival.stream.as_mut().ok_or(Ended::Gone)?;
    let mut bytes = Vec::with_capacity(1 << 10);
    let found = loop {
        let read = timeout_at(deadline, stream.read_buf(&mut bytes)).await;
        match read {
            Ok(Ok(0) | Err(_)) => return Err(Ended::Gone),
            Ok(Ok(_)) => {}
            Err(_) => return Err(Fault::TlsHelloTimeout.into()),
        }
        match hello(&bytes) {
            Ok(Some(found)) => break found,
            Ok(None) if bytes.len() < hello::LONGEST => {}
            Ok(None) | Err(_) => return Err(Fault::TlsHello.into()),
        }
    };
    let told = arrival.facts.told.get_or_insert_default();
    // What the client says itself goes before what a proxy says that it said.
    told.server_name = found.server_name;
    told.alpn = found.protocols.into_iter().flatten().next();
    Ok(bytes)
}

/// Each plugin must let it in; the last to choose a pool is followed.
fn admit(
    site: &Site,
    listener: &ListenerSite,
    session: &mut Session,
) -> Result<Option<PoolIndex>, Ended> {
    let mut chosen = None;
    for door in &listener.entrance.connect {
        let said = door.plugin.admit(session);
        let (verdict, pool) = match said {
            Ok(Admission::Accept) => (Verdict::Accept, None),
            Ok(Admission::Pool(pool)) => (Verdict::Pool, Some((site, pool))),
            Ok(Admission::Refuse) => (Verdict::Refuse, None),
            Err(_) => (Verdict::Failed, None),
        };
        trail::admitted(session.trail.as_deref(), &door.name, verdict, pool);
        let fault = match said {
            Ok(Admission::Accept) => continue,
            Ok(Admission::Pool(pool)) if session.mode == Mode::Tcp => {
                chosen = Some(pool);
                continue;
            }
            Ok(Admission::Pool(_)) => {
                door.plugin.chose_in_vain(&listener.name);
                Fault::ConnectPluginFailed
            }
            Ok(Admission::Refuse) => Fault::Refused,
            Err(_) if door.on_failure == OnFailure::Fallback => continue,
            Err(_) => Fault::ConnectPluginFailed,
        };
        let why = (door.name.clone(), "not let in".to_owned());
        session.reasons.push(why);
        session.end = Some(Err(fault));
        return Err(Ended::Told);
    }
    Ok(chosen)
}
