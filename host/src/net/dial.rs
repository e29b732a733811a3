//! Connections to servers: an `IP:port`, or a `unix:PATH`, becomes a connected socket.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, UnixStream};

use super::Stream;

/// What stands before the path of a Unix socket.
pub const UNIX: &str = "unix:";

/// Connects to `address`, `IP:port` or `unix:PATH`. Names are resolved before there is anything to connect for, so one that comes here
/// is refused. Without a deadline: the caller has one.
pub async fn dial(address: &str) -> io::Result<Stream> {
    if let Some(path) = address.strip_prefix(UNIX) {
        return UnixStream::connect(path).await.map(Stream::Unix);
    }
    match address.parse::<SocketAddr>() {
        Ok(address) => connect(address).await,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a name that was not resolved",
        )),
    }
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
    async fn an_address_is_connected_to_and_a_name_is_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let Stream::Tcp(stream) = dial(&address.to_string()).await.unwrap() else {
            panic!("no TCP");
        };
        assert_eq!(stream.peer_addr().unwrap(), address);
        let name = format!("localhost:{}", address.port());
        let error = dial(&name).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
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
