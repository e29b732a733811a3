//! Heads: what is taken out, what is believed, what is refused.

use super::client::field;
use super::{Origin, Setup};
use crate::config::checked::Network;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn hop_by_hop_fields_are_taken_out_both_ways() {
    let origin = Origin::saying(
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-inner\r\nx-inner: 1\r\nkeep-alive: timeout=9\r\nproxy-connection: a\r\nx-end: 2\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: X-Hop, keep-alive\r\nx-hop: 1\r\nkeep-alive: 5\r\nproxy-connection: b\r\nte: gzip\r\nupgrade: h2c\r\nx-end: 1\r\n\r\n")
        .await;
    let got = client.response().await;
    assert_eq!(got.field("x-end").unwrap(), "2");
    for gone in ["x-inner", "keep-alive", "proxy-connection", "connection"] {
        assert_eq!(got.field(gone), None, "{}", got.head);
    }
    let head = &origin.heads()[0];
    assert_eq!(field(head, "x-end").unwrap(), "1");
    for gone in [
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
        "connection",
    ] {
        assert_eq!(field(head, gone), None, "{head}");
    }
}

#[tokio::test]
async fn nobody_is_believed_who_is_not_trusted() {
    let origin = Origin::saying(OK).await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nhost: shop.example:81\r\nx-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil\r\nx-forwarded-prefix: /x\r\nforwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\nx-request-id: mine\r\n\r\n")
        .await;
    let got = client.response().await;
    let head = &origin.heads()[0];
    assert_eq!(field(head, "x-forwarded-for").unwrap(), "127.0.0.1");
    assert_eq!(field(head, "x-real-ip").unwrap(), "127.0.0.1");
    assert_eq!(field(head, "x-forwarded-proto").unwrap(), "http");
    assert_eq!(field(head, "x-forwarded-host").unwrap(), "shop.example:81");
    assert_eq!(field(head, "host").unwrap(), "shop.example:81");
    assert_eq!(
        (field(head, "x-forwarded-prefix"), field(head, "forwarded")),
        (None, None)
    );
    let id = got.field("x-request-id").unwrap();
    assert!(
        id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{id}"
    );
}

#[tokio::test]
async fn a_trusted_proxys_word_stands() {
    let origin = Origin::saying(OK).await;
    let mut setup = Setup::with(&[origin.address]);
    setup.trusted = vec![Network {
        address: "127.0.0.0".parse().unwrap(),
        prefix: 8,
    }];
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 6.6.6.6, 203.0.113.7\r\nx-forwarded-proto: https\r\nx-forwarded-host: shop\r\nx-request-id: mine\r\n\r\n")
        .await;
    let got = client.response().await;
    let head = &origin.heads()[0];
    assert_eq!(
        field(head, "x-forwarded-for").unwrap(),
        "6.6.6.6, 203.0.113.7, 127.0.0.1"
    );
    assert_eq!(field(head, "x-real-ip").unwrap(), "203.0.113.7");
    assert_eq!(field(head, "x-forwarded-proto").unwrap(), "https");
    assert_eq!(field(head, "x-forwarded-host").unwrap(), "shop");
    assert_eq!(got.field("x-request-id").unwrap(), "mine");
    assert_eq!(proxy.events.first().await.client, "203.0.113.7");
}

#[tokio::test]
async fn an_absolute_form_names_the_host() {
    let origin = Origin::saying(OK).await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client
        .send("GET http://B.example/x?y HTTP/1.1\r\nhost: b.example\r\n\r\n")
        .await;
    client.response().await;
    let head = &origin.heads()[0];
    assert!(head.starts_with("GET /x?y HTTP/1.1"), "{head}");
    assert_eq!(field(head, "host").unwrap(), "b.example");
}

#[tokio::test]
async fn options_of_everything_passes() {
    let origin = Origin::saying(OK).await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client.send("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    assert!(
        origin.heads()[0].starts_with("OPTIONS * HTTP/1.1"),
        "{:?}",
        origin.heads()
    );
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_a_page() {
    let long = "x".repeat(70_000);
    let cases = [
        (
            "GET / HTTP/1.1\r\n\r\n".to_owned(),
            400,
            "no-host",
            "PR",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n".to_owned(),
            400,
            "several-hosts",
            "PR",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n".to_owned(),
            400,
            "bad-host",
            "PR",
        ),
        (
            "GET * HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            400,
            "bad-target",
            "PR",
        ),
        (
            "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n".to_owned(),
            405,
            "connect-method",
            "PR",
        ),
        (
            "GET /\r\nnonsense\r\n\r\n".to_owned(),
            400,
            "bad-request-line",
            "PR",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nbad header: 1\r\n\r\n".to_owned(),
            400,
            "bad-field-name",
            "PR",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"
                .to_owned(),
            400,
            "several-lengths",
            "PR",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na".to_owned(),
            400,
            "bad-length",
            "PR",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(),
            501,
            "unknown-transfer-coding",
            "PR",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
                .to_owned(),
            400,
            "length-and-coding",
            "PR",
        ),
        (
            "GET http://b.example/ HTTP/1.1\r\nhost: a.example\r\n\r\n".to_owned(),
            400,
            "host-differs",
            "PR",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n folded\r\n\r\n".to_owned(),
            400,
            "folded-field",
            "PR",
        ),
        (
            "GET / HTTP/1.1\nhost: a\n\n".to_owned(),
            400,
            "bare-line-end",
            "PR",
        ),
        (
            format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"),
            414,
            "target-too-long",
            "PR",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
            431,
            "request-head-too-large",
            "PR",
        ),
    ];
    for (request, status, word, letters) in cases {
        let origin = Origin::saying(OK).await;
        let proxy = Setup::with(&[origin.address]).start().await;
        let mut client = proxy.client().await;
        client.send(&request).await;
        let got = client.response().await;
        let shown: String = request.chars().take(80).collect();
        assert_eq!(got.status, status, "{shown:?}: {}", got.head);
        let id = got.field("x-request-id").unwrap();
        assert!(got.text().contains(&id), "{shown:?}: {}", got.text());
        assert_eq!(got.field("cache-control").unwrap(), "no-store");
        let seen = proxy.events.first().await;
        assert_eq!(
            (seen.fault, seen.letters.as_str()),
            (Some(word), letters),
            "{shown:?}"
        );
        assert_eq!((seen.status, seen.id), (Some(status), id));
        assert_eq!(origin.connections(), 0, "{shown:?}");
    }
}

#[tokio::test]
async fn an_answer_that_could_be_read_two_ways_is_refused() {
    let cases = [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
    ];
    for answer in cases {
        let origin = Origin::saying(answer).await;
        let proxy = Setup::with(&[origin.address]).start().await;
        let got = proxy.get("/").await;
        assert_eq!(got.status, 502, "{answer:?}");
        assert_eq!(proxy.events.first().await.fault, Some("bad-response"));
    }
}
