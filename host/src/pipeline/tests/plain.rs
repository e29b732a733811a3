//! Requests that go well.

use super::{Client, Origin, Setup};

#[tokio::test]
async fn a_request_goes_to_a_server_and_its_answer_comes_back() {
    let origin =
        Origin::saying("HTTP/1.1 201 Made It\r\nx-a: 1\r\ncontent-length: 2\r\n\r\nok").await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let got = proxy.get("/path?q=1").await;
    assert_eq!((got.status, got.text().as_str()), (201, "ok"));
    assert!(
        got.head.starts_with("HTTP/1.1 201 Made It\r\n"),
        "the reason is the server's: {}",
        got.head
    );
    assert_eq!(got.field("x-a").unwrap(), "1");
    let head = &origin.heads()[0];
    assert!(head.starts_with("GET /path?q=1 HTTP/1.1\r\n"), "{head}");
    assert_eq!(super::client::field(head, "host").unwrap(), "example.com");
    assert_eq!(
        super::client::field(head, "x-request-id"),
        got.field("x-request-id")
    );
}

#[tokio::test]
async fn what_is_told_of_a_request() {
    let origin = Origin::saying("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client
        .send("POST /a?b HTTP/1.1\r\nHost: Example.com:80\r\ncontent-length: 3\r\n\r\nabc")
        .await;
    let got = client.response().await;
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("POST", "/a?b")
    );
    assert_eq!(seen.host.as_deref(), Some("example.com"));
    assert_eq!((seen.status, seen.attempts), (Some(200), 1));
    assert_eq!(
        (seen.pool.as_deref(), seen.server.as_deref()),
        (Some("app"), Some("s0"))
    );
    assert_eq!((seen.letters.as_str(), seen.fault), ("--", None));
    assert_eq!((seen.bytes_in, seen.body_bytes_out), (3, 5));
    assert_eq!(seen.bytes_out, (got.head.len() + 5) as u64);
    assert_eq!(
        (seen.client.as_str(), Some(seen.id)),
        ("127.0.0.1", got.field("x-request-id"))
    );
    assert!(seen.started && seen.logged);
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let origin = Origin::named("a").await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    for n in 1..=20 {
        assert_eq!(client.get("/").await.text(), "a");
        proxy.events.ended(n).await;
    }
    assert_eq!(origin.connections(), 1);
    proxy.events.open(1).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(|mut caller| async move {
        while let Some(head) = caller.head().await {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            caller
                .stream
                .send(format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}",
                    path.len()
                ))
                .await;
        }
    })
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    let ask = |n: usize| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n");
    client.send((0..10).map(ask).collect::<String>()).await;
    for n in 0..10 {
        assert_eq!(client.response().await.text(), format!("/{n}"));
    }
}

#[tokio::test]
async fn native_round_robin_takes_servers_in_turn() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let proxy = Setup::with(&[a.address, b.address]).start().await;
    let mut client = proxy.client().await;
    let mut order = String::new();
    for _ in 0..4 {
        order += &client.get("/").await.text();
    }
    assert_eq!(order, "abab");
}

#[tokio::test]
async fn http_1_0_is_spoken() {
    let origin =
        Origin::saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
            .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let all = String::from_utf8(client.rest().await).unwrap();
    // A server says its own version, whatever the client's (RFC 9112, 2.3).
    assert!(all.starts_with("HTTP/1.1 200 OK\r\n"), "{all}");
    assert!(
        all.ends_with("\r\n\r\nok"),
        "chunks are for HTTP/1.1: {all}"
    );
}

#[tokio::test]
async fn new_connections_go_to_the_worker_with_the_fewest() {
    let origin = Origin::named("a").await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..10 {
        clients.push(proxy.client().await);
    }
    proxy.events.open(10).await;
    let counts: Vec<_> = proxy
        .workers
        .handles()
        .iter()
        .map(|worker| worker.connections())
        .collect();
    assert_eq!(counts, [5, 5]);
}
