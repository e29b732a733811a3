//! What a connection passes before its first request where its listener wants more than plain HTTP: the TLS handshake.
//! A future of its own, gone when it is over: an idle connection is none the larger for it, and on plain listeners there is none.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::fault::Fault;
use super::protocol::Connection;
use crate::base::event::Silence;
use crate::hook::{ConnectionFacts, TlsFacts};
use crate::http::h2 as http2;
use crate::http::link::Phase;
use crate::http::server::{Service, Unreadable};
use crate::http::{Link, server};
use crate::net::Stream;
use crate::tls;
use crate::tls::counts::Reason;

/// A connection on its way.
pub(super) struct Arrival {
    pub socket: TcpStream,
    pub link: Rc<Link>,
    pub connection: Connection,
    pub tls: Arc<tls::Server>,
    /// Of the handshake, from now on.
    pub deadline: Duration,
}

/// What came of the handshake.
enum Met {
    Secured(Stream, TlsFacts),
    /// HTTP without TLS.
    Plain(TcpStream),
    /// The client went away before it said anything.
    Gone,
    Failed(tls::server::Failed),
}

pub(super) fn approach(arrival: Arrival) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let Arrival {
            socket,
            link,
            connection,
            tls,
            deadline,
        } = arrival;
        // Its deadline is not the link's.
        link.enter(Phase::Busy, Duration::ZERO);
        let secured = secure(socket, &link, connection, &tls, deadline).await;
        if let Some((stream, connection)) = secured {
            speak(stream, link, connection);
        }
    })
}

/// The protocol takes over, in a task of its own: it is far smaller than this one.
fn speak(stream: Stream, link: Rc<Link>, connection: Connection) {
    link.enter(Phase::Head, link.limits().head);
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

/// The TLS handshake. None: there is nobody left to serve.
async fn secure(
    socket: TcpStream,
    link: &Rc<Link>,
    mut connection: Connection,
    tls: &tls::Server,
    deadline: Duration,
) -> Option<(Stream, Connection)> {
    let began = Instant::now();
    let heard = Cell::new(false);
    let meeting = tokio::time::timeout(deadline, meet(socket, tls, &heard));
    let met = tokio::select! {
        met = meeting => met,
        () = link.cut() => return None,
    };
    match met {
        Ok(Met::Secured(stream, told)) => {
            let facts = Rc::get_mut(&mut connection.facts);
            facts.expect("no request has them yet").tls = Some(Rc::new(told));
            return Some((stream, connection));
        }
        Ok(Met::Plain(socket)) => {
            tls.counts().failed(Reason::PlainHttp);
            let (socket, link) = (Stream::Tcp(socket), link.clone());
            server::turn_away(socket, link, connection, Unreadable::PlainHttp).await;
        }
        Ok(Met::Gone) => {}
        Ok(Met::Failed(failed)) => {
            let why = format!("{}: {}", failed.reason.word(), failed.error);
            connection.not_met(Fault::HandshakeFailed, Some(why), began);
        }
        Err(_) => {
            tls.counts().failed(Reason::Timeout);
            if heard.get() {
                connection.not_met(Fault::HandshakeTimeout, None, began);
            } else {
                connection.was_silent(Silence::Handshake);
            }
        }
    }
    None
}

async fn meet(socket: TcpStream, tls: &tls::Server, heard: &Cell<bool>) -> Met {
    match first_byte(&socket).await {
        Ok(Some(first)) => {
            heard.set(true);
            // A method; a TLS record begins with 22 (RFC 8446, 5.1).
            if first.is_ascii_alphabetic() {
                return Met::Plain(socket);
            }
        }
        Ok(None) | Err(_) => return Met::Gone,
    }
    match tls.accept(socket).await {
        Ok((stream, facts)) => Met::Secured(stream, facts),
        Err(failed) => Met::Failed(failed),
    }
}

/// Looked at, and left where it is. None: the client has closed.
async fn first_byte(socket: &TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let seen = poll_fn(|cx| {
        let mut buffer = tokio::io::ReadBuf::new(&mut byte);
        socket.poll_peek(cx, &mut buffer)
    })
    .await?;
    Ok((seen > 0).then_some(byte[0]))
}
