//! The last words on a connection whose next request could not be read.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::delivery::Delivery;
use super::link::{Blame, Phase};
use super::message::ResponseHead;
use super::server::Response;
use super::stream::ClientStream;

/// How long a client may take to see our last answer before the connection is closed under what it still sends.
const LINGER: Duration = Duration::from_secs(2);

/// Answers what hyper could not read, and closes.
pub(super) async fn refuse(mut client: ClientStream, response: Response) {
    let link = client.link.clone();
    let before = link.traffic().1;
    link.enter(Phase::Delivery, Duration::ZERO);
    let mut delivery = Delivery::new(response.ledger, link.clone(), before);
    let Ok(body) = response.body.collect(usize::MAX).await else {
        return;
    };
    let bytes = head_bytes(&response.head, body.len());
    let sending = async {
        client.write_all(&bytes).await?;
        client.write_all(&body).await
    };
    match tokio::time::timeout(LINGER, sending).await {
        Ok(Ok(())) => {
            delivery.body_was(body.len() as u64);
            delivery.ended_well(Instant::now());
            let _ = client.socket.shutdown().await;
            linger(&mut client.socket).await;
        }
        Ok(Err(_)) => {}
        Err(_) => link.blame(Blame::ClientTimeout),
    }
}

fn head_bytes(head: &ResponseHead, length: usize) -> Vec<u8> {
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_str()).into_bytes();
    for (name, value) in head.fields.iter() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(
        format!("content-length: {length}\r\nconnection: close\r\n\r\n").as_bytes(),
    );
    bytes
}

/// Reads on for a while: closing under what a client still sends resets the connection, and with it the answer may be lost
/// (RFC 9112, 9.6).
pub(super) async fn linger(socket: &mut TcpStream) {
    let mut sink = [0; 4096];
    let reading = async { while matches!(socket.read(&mut sink).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(LINGER, reading).await;
}
