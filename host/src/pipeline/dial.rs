//! A new connection to a server: connected, with the PROXY line that its pool owes it, and TLS where its pool wants that.

use std::io;

use tokio::io::AsyncWriteExt;

use super::fault::Fault;
use super::site::Member;
use crate::hook::ConnectionFacts;
use crate::http::h2::mux;
use crate::http::idle;
use crate::net::proxy::{self, Said};
use crate::net::{self, Stream, shortage};
use crate::tls;

pub enum NoConnection {
    Socket(io::Error),
    /// Connected, but not securely.
    Tls(tls::client::Failed),
}

/// What a request meets whose server could not be connected to.
pub fn fault_of(error: &io::Error) -> Fault {
    match shortage::is_ours(error) {
        true => Fault::NoSocket,
        false => Fault::ConnectFailed,
    }
}

/// `client`: for whom; None: for ourselves. Without a deadline: the caller has one.
pub async fn dial(
    server: &Member,
    client: Option<&ConnectionFacts>,
) -> Result<Stream, NoConnection> {
    let stream = match plain(server, client).await {
        Err(error) if shortage::is_ours(&error) => Box::pin(once_more(server, client, error)).await,
        stream => stream,
    };
    let stream = stream.map_err(NoConnection::Socket)?;
    match &server.tls {
        None => Ok(stream),
        // Boxed: the handshake's state is large, and most pools have none.
        Some(tls) => Box::pin(tls.secure(stream))
            .await
            .map_err(NoConnection::Tls),
    }
}

/// Connections that nobody uses make room for one that somebody waits for.
async fn once_more(
    server: &Member,
    client: Option<&ConnectionFacts>,
    error: io::Error,
) -> io::Result<Stream> {
    mux::let_go();
    let again = match idle::let_go() {
        0 => Err(error),
        _ => plain(server, client).await,
    };
    again.inspect_err(|error| {
        if shortage::is_ours(error) {
            shortage::tell(error);
        }
    })
}

async fn plain(server: &Member, client: Option<&ConnectionFacts>) -> io::Result<Stream> {
    let mut stream = net::dial(&server.address).await?;
    if let Some(version) = server.proxy {
        let said = client.map(said_of);
        let line = proxy::written(version, said.as_ref());
        stream.write_all(&line).await?;
    }
    Ok(stream)
}

fn said_of(client: &ConnectionFacts) -> Said {
    Said {
        addresses: Some((client.client, client.local)),
        server_name: client.server_name().map(Into::into),
        alpn: client.alpn().map(Into::into),
    }
}
