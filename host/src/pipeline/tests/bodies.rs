//! Bodies: streamed both ways as fast as the slower side takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::client::field;
use super::{Origin, Setup, within};

#[tokio::test]
async fn a_response_is_passed_on_as_it_comes() {
    let go = Arc::new(Semaphore::new(0));
    let gate = go.clone();
    let origin = Origin::start(move |mut caller| {
        let gate = gate.clone();
        async move {
            caller.head().await;
            caller
                .stream
                .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                .await;
            gate.acquire().await.unwrap().forget();
            caller.stream.send("6\r\nsecond\r\n0\r\n\r\n").await;
            caller.head().await;
        }
    })
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await;
    assert_eq!(client.chunk().await, b"first");
    go.add_permits(1);
    assert_eq!(client.chunk().await, b"second");
    assert_eq!(client.chunk().await, b"");
    assert_eq!(proxy.events.first().await.body_bytes_out, 11);
}

#[tokio::test]
async fn a_request_is_passed_on_as_it_comes_and_answered_before_its_end() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        assert_eq!(caller.stream.chunk().await, b"one");
        caller
            .stream
            .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\ngot\r\n")
            .await;
        assert_eq!(caller.stream.chunk().await, b"two");
        assert_eq!(caller.stream.chunk().await, b"");
        caller.stream.send("3\r\nall\r\n0\r\n\r\n").await;
        caller.head().await;
    })
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        .await;
    client.head().await;
    assert_eq!(client.chunk().await, b"got");
    client.send("3\r\ntwo\r\n0\r\n\r\n").await;
    assert_eq!(client.chunk().await, b"all");
    assert_eq!(proxy.events.first().await.bytes_in, 6);
}

#[tokio::test]
async fn an_early_answer_does_not_end_the_upload() {
    let origin = Origin::start(|mut caller| async move {
        while let Some(head) = caller.head().await {
            if head.starts_with("GET") {
                caller
                    .stream
                    .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext")
                    .await;
                continue;
            }
            caller
                .stream
                .send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly")
                .await;
            assert_eq!(caller.stream.exactly(8).await, b"onetwo!!");
        }
    })
    .await;
    let mut setup = Setup::with(&[origin.address]);
    setup.timeouts.request_head = Duration::from_millis(200);
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\none")
        .await;
    assert_eq!(client.response().await.text(), "early");
    assert_eq!(proxy.events.first().await.letters, "--");
    client.send("two").await;
    // Longer than a head may take: the rest of a body is no head.
    tokio::time::sleep(Duration::from_millis(500)).await;
    client.send("!!").await;
    assert_eq!(client.get("/").await.text(), "next");
}

#[tokio::test]
async fn an_upload_that_stops_after_its_answer_is_cut() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        caller
            .stream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly")
            .await;
        caller.stream.rest().await;
    })
    .await;
    let mut setup = Setup::with(&[origin.address]);
    setup.timeouts.body = Duration::from_millis(200);
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\none")
        .await;
    assert_eq!(client.response().await.text(), "early");
    assert!(client.rest().await.is_empty());
    proxy.events.open(0).await;
}

/// What two sockets' buffers on loopback and the engine's own may hold; far less than what would be sent.
const BOUNDED: usize = 24 << 20;

#[tokio::test]
async fn a_server_is_not_read_faster_than_the_client_reads() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let origin = Origin::start(move |mut caller| {
        let count = count.clone();
        async move {
            caller.head().await;
            caller
                .stream
                .send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
                .await;
            let block = vec![0; 64 << 10];
            while caller.stream.socket.write_all(&block).await.is_ok() {
                count.fetch_add(block.len(), Relaxed);
            }
        }
    })
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await;
    let stalled = within("the server to be held up", stands_still(&sent)).await;
    assert!(
        stalled < BOUNDED,
        "{stalled} bytes were taken from the server"
    );
    drop(client);
    assert_eq!(proxy.events.first().await.letters, "CD");
}

#[tokio::test]
async fn a_client_is_not_read_faster_than_the_server_reads() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut setup = Setup::with(&[origin.address]);
    setup.pool_timeouts.send = Duration::from_secs(2);
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000000\r\n\r\n")
        .await;
    let sent = Arc::new(AtomicUsize::new(0));
    let (count, mut socket) = (sent.clone(), client.socket);
    let sending = tokio::spawn(async move {
        let block = vec![0; 64 << 10];
        while socket.write_all(&block).await.is_ok() {
            count.fetch_add(block.len(), Relaxed);
        }
    });
    let stalled = within("the client to be held up", stands_still(&sent)).await;
    assert!(
        stalled < BOUNDED,
        "{stalled} bytes were taken from the client"
    );
    let seen = proxy.events.first().await;
    sending.abort();
    assert_eq!((seen.letters.as_str(), seen.status), ("sH", Some(504)));
}

/// Waits until a count no longer grows.
async fn stands_still(count: &AtomicUsize) -> usize {
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let now = count.load(Relaxed);
        if now == before && now > 0 {
            return now;
        }
        before = now;
    }
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let origin = Origin::start(|mut caller| async move {
        while let Some(head) = caller.head().await {
            let length: usize = field(&head, "content-length").unwrap().parse().unwrap();
            let body = caller.stream.exactly(length).await;
            caller
                .stream
                .send(format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
                ))
                .await;
            caller.stream.send(body).await;
        }
    })
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut client = proxy.client().await;
    for _ in 0..3 {
        client
            .send(format!(
                "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
                body.len()
            ))
            .await;
        client.send(&body).await;
        assert!(client.response().await.body == body);
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        assert_eq!(caller.stream.chunk().await, b"ab");
        assert_eq!(caller.stream.chunk().await, b"");
        let trailer = caller.stream.line().await;
        caller
            .stream
            .send(format!("HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n1\r\nz\r\n0\r\n{trailer}\r\n"))
            .await;
        caller.head().await;
    })
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-sum: 7\r\n\r\n")
        .await;
    client.head().await;
    assert_eq!(client.chunk().await, b"z");
    assert_eq!(client.chunk().await, b"");
    assert_eq!(client.line().await, "x-sum: 7\r\n");
    assert_eq!(field(&origin.heads()[0], "te").unwrap(), "trailers");
}

#[tokio::test]
async fn an_answer_to_head_has_a_length_and_no_body() {
    let origin = Origin::saying("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n").await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    for nth in 1..=2 {
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let head = client.head().await;
        assert_eq!(field(&head, "content-length").unwrap(), "1234");
        assert_eq!(proxy.events.ended(nth).await.letters, "--");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn answers_without_a_body_are_kept_apart() {
    for status in ["204 No Content", "304 Not Modified"] {
        let origin = Origin::start(move |mut caller| async move {
            while caller.head().await.is_some() {
                caller
                    .stream
                    .send(format!("HTTP/1.1 {status}\r\netag: \"a\"\r\n\r\n"))
                    .await;
            }
        })
        .await;
        let proxy = Setup::with(&[origin.address]).start().await;
        let mut client = proxy.client().await;
        for nth in 1..=2 {
            assert_eq!(client.get("/").await.field("etag").unwrap(), "\"a\"");
            assert_eq!(proxy.events.ended(nth).await.letters, "--");
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it() {
    let origin = Origin::start(|mut caller| async move {
        let head = caller.head().await.unwrap();
        assert_eq!(field(&head, "expect"), None);
        assert_eq!(caller.stream.exactly(2).await, b"ab");
        caller
            .stream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await;
        caller.head().await;
    })
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("ab").await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_get_with_a_chunked_body_keeps_it() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        assert_eq!(caller.stream.chunk().await, b"ab");
        caller
            .stream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await;
        caller.head().await;
    })
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_broken_answer_never_looks_whole() {
    let cases = [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ];
    for answer in cases {
        let origin = Origin::start(move |mut caller| async move {
            caller.head().await;
            caller.stream.send(answer).await;
        })
        .await;
        let proxy = Setup::with(&[origin.address]).start().await;
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let all = String::from_utf8(client.rest().await).unwrap();
        assert!(!all.ends_with("0\r\n\r\n"), "{all}");
        let seen = proxy.events.first().await;
        assert_eq!(
            (seen.fault, seen.letters.as_str()),
            (Some("server-aborted"), "SD"),
            "{answer}"
        );
        assert_eq!(seen.status, Some(200));
    }
}

#[tokio::test]
async fn a_broken_answer_is_a_reset_where_the_end_means_the_end() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        caller
            .stream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            .await;
    })
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    client.head().await;
    client.exactly(4).await;
    let mut byte = [0];
    let end = within("the end", client.socket.read(&mut byte)).await;
    assert!(
        end.is_err(),
        "a client of HTTP/1.0 would take an orderly end for the end of the answer"
    );
}
