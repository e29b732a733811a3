//! A connection on its worker, before its first request: what is known of it is found out, and its protocol takes over.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::approach::{Arrival, approach};
use super::protocol::Connection;
use super::site::{ListenerSite, Site};
use super::worker::{Place, Worker};
use crate::base::text::Text;
use crate::config::checked::ListenerTimeouts;
use crate::hook::ConnectionFacts;
use crate::http::h2 as http2;
use crate::http::link::Limits;
use crate::http::pace::Floor;
use crate::http::server::Service;
use crate::http::{Link, server};
use crate::net::Accepted;
use crate::net::address::canonical;

pub(super) fn arrive(
    worker: &Rc<Worker>,
    site: Rc<Site>,
    socket: Accepted,
    place: Place,
) -> io::Result<()> {
    let facts = facts(&socket, place.listener())?;
    let stream = socket.into_stream()?;
    let listener = site.listener(place.listener());
    let link = Link::new(limits(listener));
    place.occupy(&link);
    if listener.is_some_and(|listener| listener.tls.is_some() || !listener.entrance.is_plain()) {
        let arrival = Arrival {
            worker: worker.clone(),
            stream: Some(stream),
            link,
            facts,
            place,
            began: Instant::now(),
        };
        tokio::task::spawn_local(take(site, arrival));
        return Ok(());
    }
    let connection = Connection {
        worker: worker.clone(),
        listener: place.listener().clone(),
        link: link.clone(),
        facts: Rc::new(facts),
        _place: place,
    };
    tokio::task::spawn_local(server::serve(stream, link, connection));
    Ok(())
}

/// The protocol takes over in a task of its own: an idle connection costs what a plain one does.
async fn take(site: Rc<Site>, arrival: Arrival) {
    let ready = Box::pin(approach(site, arrival)).await;
    let Some((stream, connection)) = ready else {
        return;
    };
    let link = connection.link.clone();
    match connection.http2().filter(|_| is_http2(&connection.facts)) {
        Some(granted) => {
            let serving = http2::server::serve(stream, Vec::new(), link, connection, granted);
            tokio::task::spawn_local(serving);
        }
        None => {
            tokio::task::spawn_local(server::serve(stream, link, connection));
        }
    }
}

/// Chosen by ALPN (RFC 9113, 3.2). In clear text the first bytes tell, and whoever reads them.
fn is_http2(facts: &ConnectionFacts) -> bool {
    let alpn = facts.tls.as_ref().and_then(|tls| tls.alpn.as_deref());
    alpn == Some("h2")
}

fn facts(socket: &Accepted, listener: &Rc<str>) -> io::Result<ConnectionFacts> {
    let (client, local) = socket.addresses()?;
    let client = canonical(client);
    Ok(ConnectionFacts {
        client,
        client_address: Text::of(client.ip()),
        client_port: match client.port() {
            // Of a Unix socket.
            0 => Text::default(),
            port => Text::of(port),
        },
        local: canonical(local),
        listener: listener.clone(),
        tls: None,
        told: None,
    })
}

/// A listener that is gone has none, nor needs them: the connection is closed after one answer.
pub(super) fn limits(listener: Option<&ListenerSite>) -> Limits {
    let of = |of: fn(&ListenerTimeouts) -> Duration| {
        listener.map_or(Duration::from_secs(10), |listener| of(&listener.timeouts))
    };
    Limits {
        head: of(|t| t.request_head),
        idle: of(|t| t.idle),
        body: of(|t| t.body),
        abort_on_close: listener.is_some_and(|listener| listener.abort_on_close),
        most_head: listener.map_or(32 << 10, |listener| listener.max_head),
        floor: Floor {
            rate: listener.map_or(0, |listener| listener.min_body_rate),
            grace: of(|t| t.rate_grace),
        },
    }
}
