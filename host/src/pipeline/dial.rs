//! A new connection to a server: connected, with the PROXY line that its pool owes it, and TLS where its pool wants that.

use std::io;

use tokio::io::AsyncWriteExt;

use super::site::Member;
use crate::hook::ConnectionFacts;
use crate::net::proxy::{self, Said};
use crate::net::{self, Stream};
use crate::tls;

pub enum NoConnection {
    Socket(io::Error),
    /// Connected, but not securely.
    Tls(tls::client::Failed),
}

/// `client`: for whom; None: for ourselves. Without a deadline: the caller has one.
pub async fn dial(
    server: &Member,
    client: Option<&ConnectionFacts>,
) -> Result<Stream, NoConnection> {
    let stream = plain(server, client).await.map_err(NoConnection::Socket)?;
    match &server.tls {
        None => Ok(stream),
        // Boxed: the handshake's state is large, and most pools have none.
        Some(tls) => Box::pin(tls.secure(stream))
            .await
            .map_err(NoConnection::Tls),
    }
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
