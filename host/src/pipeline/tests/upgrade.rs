//! Connections that change their protocol.

use std::time::Duration;

use super::client::field;
use super::{Origin, Setup, within};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n";

/// Greets right behind its 101, then echoes.
async fn echo() -> Origin {
    Origin::start(|mut caller| async move {
        caller.head().await;
        caller
            .stream
            .send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: y\r\n\r\nhi")
            .await;
        loop {
            let bytes = caller.stream.exactly(4).await;
            caller.stream.send(bytes).await;
        }
    })
    .await
}

#[tokio::test]
async fn an_upgraded_connection_is_a_tunnel() {
    let origin = echo().await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    // The first words of the new protocol come with the request.
    client.send(format!("{ASK}ping")).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(field(&head, "upgrade").unwrap(), "websocket");
    assert_eq!(field(&head, "connection").unwrap(), "upgrade");
    assert_eq!(field(&head, "sec-websocket-accept").unwrap(), "y");
    assert_eq!(client.exactly(6).await, b"hiping");
    client.send("pong").await;
    assert_eq!(client.exactly(4).await, b"pong");
    let asked = &origin.heads()[0];
    assert_eq!(field(asked, "upgrade").unwrap(), "websocket");
    assert_eq!(field(asked, "connection").unwrap(), "upgrade");
    drop(client);
    let seen = proxy.events.first().await;
    assert_eq!((seen.status, seen.body_bytes_out), (Some(101), 10));
}

#[tokio::test]
async fn a_tunnel_holds_no_plugins_and_lives_on_through_a_reload() {
    let origin = echo().await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client.send(ASK).await;
    client.head().await;
    assert!(proxy.holds() > 0);
    proxy.install(|_| {}).await;
    assert_eq!(proxy.holds(), 0, "the old generation is gone");
    client.exactly(2).await;
    client.send("ping").await;
    assert_eq!(client.exactly(4).await, b"ping");
}

#[tokio::test]
async fn a_server_may_decline() {
    let origin = Origin::named("plain").await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client.send(ASK).await;
    assert_eq!(client.response().await.text(), "plain");
    assert_eq!(
        client.get("/").await.text(),
        "plain",
        "the connection goes on as it was"
    );
}

#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    let origin = echo().await;
    let mut setup = Setup::with(&[origin.address]);
    setup.timeouts.tunnel = Duration::from_millis(200);
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    client.send(ASK).await;
    client.head().await;
    let end = within("the tunnel to close", client.rest()).await;
    assert_eq!(end, b"hi");
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.fault, seen.letters.as_str()),
        (Some("tunnel-timeout"), "cD")
    );
}

#[tokio::test]
async fn a_change_of_protocol_within_a_request_is_no_answer() {
    let origin = Origin::saying(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    )
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    let ask = ASK.replacen("GET", "POST", 1);
    client
        .send(ask.replace("sec-", "content-length: 10\r\nsec-") + "half")
        .await;
    assert_eq!(client.response().await.status, 502);
    assert_eq!(proxy.events.first().await.fault, Some("bad-response"));
}
