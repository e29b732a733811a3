//! A new connection to a server: the socket, and TLS where its pool wants that. Without a deadline: the caller has one.

use std::io;

use super::site::Member;
use crate::net::{self, Stream};
use crate::tls;

pub enum NoConnection {
    Socket(io::Error),
    /// Connected, but not securely.
    Tls(tls::client::Failed),
}

pub async fn dial(server: &Member) -> Result<Stream, NoConnection> {
    let socket = net::dial(&server.address).await;
    let socket = socket.map_err(NoConnection::Socket)?;
    match &server.tls {
        None => Ok(Stream::Tcp(socket)),
        // Boxed: the handshake's state is large, and most pools have none.
        Some(tls) => Box::pin(tls.secure(socket))
            .await
            .map_err(NoConnection::Tls),
    }
}
