//! A connection on its worker, before its first request: what is known of it is found out, and its protocol takes over.

use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

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
use crate::net::Stream;
use crate::net::address::canonical;

pub(super) fn arrive(
    worker: &Rc<Worker>,
    site: &Site,
    socket: TcpStream,
    place: Place,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    let facts = facts(&socket, place.listener())?;
    let socket = Stream::Tcp(tokio::net::TcpStream::from_std(socket)?);
    let link = Link::new(limits(site.listener(place.listener())));
    place.occupy(&link);
    let connection = Connection {
        worker: worker.clone(),
        listener: place.listener().clone(),
        link: link.clone(),
        facts: Rc::new(facts),
        _place: place,
    };
    match connection.http2().filter(|_| is_http2(&connection.facts)) {
        Some(granted) => {
            let serving = http2::server::serve(socket, Vec::new(), link, connection, granted);
            tokio::task::spawn_local(serving);
        }
        None => {
            tokio::task::spawn_local(server::serve(socket, link, connection));
        }
    }
    Ok(())
}

/// Chosen by ALPN (RFC 9113, 3.2). In clear text the first bytes tell, and whoever reads them.
fn is_http2(facts: &ConnectionFacts) -> bool {
    let alpn = facts.tls.as_ref().and_then(|tls| tls.alpn.as_deref());
    alpn == Some("h2")
}

fn facts(socket: &TcpStream, listener: &Rc<str>) -> io::Result<ConnectionFacts> {
    let client = canonical(socket.peer_addr()?);
    Ok(ConnectionFacts {
        client,
        client_address: Text::of(client.ip()),
        client_port: Text::of(client.port()),
        local: canonical(socket.local_addr()?),
        listener: listener.clone(),
        tls: None,
    })
}

/// A listener that is gone has none, nor needs them: the connection is closed after one answer.
fn limits(listener: Option<&ListenerSite>) -> Limits {
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
