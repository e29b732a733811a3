//! A new connection to a server: connected, and with the PROXY line that its pool owes it.

use std::io;

use tokio::io::AsyncWriteExt;

use super::site::Member;
use crate::hook::ConnectionFacts;
use crate::net::proxy::{self, Said};
use crate::net::{self, Stream};

/// `client`: for whom; None: for ourselves. Without a deadline: the caller has one.
pub async fn reach(server: &Member, client: Option<&ConnectionFacts>) -> io::Result<Stream> {
    let mut stream = net::dial(&server.address).await?;
    if let Some(version) = server.proxy {
        let said = client.map(said_of).unwrap_or_default();
        stream.write_all(&proxy::written(version, &said)).await?;
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
