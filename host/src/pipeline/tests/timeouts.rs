//! Whoever takes too long is told, or cut off.

use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use super::client::field;
use super::{Origin, Setup};
use crate::base::event::Silence;

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_head_that_takes_too_long_is_408() {
    let origin = Origin::named("a").await;
    let mut setup = Setup::with(&[origin.address]);
    setup.timeouts.request_head = SHORT;
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nhost").await;
    let got = client.response().await;
    assert_eq!(
        (got.status, got.field("connection").as_deref()),
        (408, Some("close"))
    );
    assert!(client.ends_cleanly().await);
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.fault, seen.letters.as_str()),
        (Some("request-head-timeout"), "cR")
    );
    assert!(!seen.started);
}

#[tokio::test]
async fn a_head_may_take_its_time_again_on_a_kept_connection() {
    let origin = Origin::named("a").await;
    let mut setup = Setup::with(&[origin.address]);
    setup.timeouts.request_head = SHORT;
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    client.get("/").await;
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(client.get("/").await.status, 200, "idle is not a slow head");
    client.send("GET / HT").await;
    assert_eq!(client.response().await.status, 408);
}

#[tokio::test]
async fn a_silent_connection_is_closed_without_a_word() {
    let origin = Origin::named("a").await;
    let mut setup = Setup::with(&[origin.address]);
    (setup.timeouts.idle, setup.timeouts.request_head) = (SHORT, SHORT);
    let proxy = setup.start().await;
    let mut fresh = proxy.client().await;
    assert!(fresh.ends_cleanly().await);
    let mut used = proxy.client().await;
    used.get("/").await;
    assert!(used.ends_cleanly().await);
    proxy.events.open(0).await;
    let silences = [Silence::FirstRequest, Silence::NextRequest];
    assert_eq!(proxy.events.silences(), silences);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_504() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        assert!(
            caller.head().await.is_none(),
            "the connection is closed, not used again"
        );
    })
    .await;
    let mut setup = Setup::with(&[origin.address]);
    setup.pool_timeouts.first_byte = SHORT;
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    let got = client.get("/").await;
    assert_eq!(got.status, 504);
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.fault, seen.letters.as_str(), seen.attempts),
        (Some("first-byte-timeout"), "sH", 1)
    );
}

#[tokio::test]
async fn a_server_that_pauses_within_an_answer_is_cut() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        caller
            .stream
            .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
            .await;
        caller.head().await;
    })
    .await;
    let mut setup = Setup::with(&[origin.address]);
    setup.pool_timeouts.between_bytes = SHORT;
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await;
    let rest = String::from_utf8(client.rest().await).unwrap();
    assert_eq!(rest, "4\r\nhalf\r\n");
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.fault, seen.letters.as_str()),
        (Some("between-bytes-timeout"), "sD")
    );
}

#[tokio::test]
async fn a_slow_answer_that_goes_on_is_left_alone() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        caller
            .stream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n")
            .await;
        for _ in 0..8 {
            tokio::time::sleep(SHORT / 2).await;
            caller.stream.send("x").await;
        }
        caller.head().await;
    })
    .await;
    let mut setup = Setup::with(&[origin.address]);
    setup.pool_timeouts.between_bytes = SHORT * 2;
    setup.pool_timeouts.first_byte = SHORT;
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/").await.text(), "xxxxxxxx");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_408() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        caller.head().await;
    })
    .await;
    let mut setup = Setup::with(&[origin.address]);
    setup.timeouts.body = SHORT;
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
        .await;
    let got = client.response().await;
    assert_eq!(got.status, 408);
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.fault, seen.letters.as_str()),
        (Some("request-body-timeout"), "cD")
    );
    assert_eq!(seen.bytes_in, 3);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        caller
            .stream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
            .await;
        let block = vec![0; 64 << 10];
        use tokio::io::AsyncWriteExt;
        while caller.stream.socket.write_all(&block).await.is_ok() {}
    })
    .await;
    let mut setup = Setup::with(&[origin.address]);
    setup.timeouts.body = SHORT;
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.fault, seen.letters.as_str()),
        (Some("client-stalled"), "cD")
    );
}

/// A listening socket whose queue is full: connecting to it takes for ever.
struct Full {
    _socket: Socket,
    _fillers: Vec<TcpStream>,
    address: std::net::SocketAddr,
}

async fn full() -> Full {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fillers = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
        fillers.push(stream);
    }
    Full {
        _socket: socket,
        _fillers: fillers,
        address,
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_connected_to_in_time_is_504() {
    let full = full().await;
    let mut setup = Setup::with(&[full.address]);
    setup.pool_timeouts.connect = SHORT;
    let proxy = setup.start().await;
    let got = proxy.get("/").await;
    assert_eq!(got.status, 504);
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.fault, seen.letters.as_str()),
        (Some("connect-timeout"), "sC")
    );
}

#[tokio::test]
async fn after_a_connect_timeout_another_server_is_tried() {
    let (full, other) = (full().await, Origin::named("b").await);
    let mut setup = Setup::with(&[full.address, other.address]);
    setup.pool_timeouts.connect = SHORT;
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/").await.text(), "b");
    assert_eq!(proxy.events.first().await.attempts, 2);
    assert!(field(&other.heads()[0], "host").is_some());
}
