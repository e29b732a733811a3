//! Connections to servers: a `host:port`, or a `unix:PATH`, becomes a connected socket.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, UnixStream};

use super::Stream;

/// What stands before the path of a Unix socket.
pub const UNIX: &str = "unix:";

/// Connects to `address`, `host:port` or `unix:PATH`; each address of a name is tried in turn (a name is resolved at every call, so a
/// change in DNS is followed at once). Without a deadline: the caller has one.
pub async fn dial(address: &str) -> io::Result<Stream> {
    if let Some(path) = address.strip_prefix(UNIX) {
        return UnixStream::connect(path).await.map(Stream::Unix);
    }
    if let Ok(address) = address.parse::<SocketAddr>() {
        return connect(address).await;
    }
    let mut last = None;
    for address in tokio::net::lookup_host(address).await? {
        match connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

async fn connect(address: SocketAddr) -> io::Result<Stream> {
    let stream = TcpStream::connect(address).await?;
    // Heads and last chunks are small and must not wait for an acknowledgement (RFC 896).
    stream.set_nodelay(true)?;
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "connected to itself: nothing listens there",
        ));
    }
    Ok(Stream::Tcp(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_resolved() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = dial(&format!("localhost:{port}")).await.unwrap();
        let Stream::Tcp(stream) = stream else {
            panic!("{stream:?}");
        };
        assert_eq!(stream.peer_addr().unwrap().port(), port);
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = dial(&address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
