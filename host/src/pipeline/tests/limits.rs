//! What bounds a peer that is slow rather than silent, and how many of them there are.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::Client;
use super::{Origin, Setup, within};
use crate::pipeline::Bounds;

const GRACE: Duration = Duration::from_millis(300);

/// Takes a request's head, and then nothing for ever.
async fn deaf() -> Origin {
    Origin::start(|mut caller| async move {
        caller.head().await;
        std::future::pending::<()>().await;
    })
    .await
}

/// Reads the body of one request at that pace, 256 KiB at a time, and answers.
async fn reading(pause: Duration) -> Origin {
    Origin::start(move |mut caller| async move {
        let head = caller.head().await.unwrap();
        let length = super::client::field(&head, "content-length").unwrap();
        let mut left = length.parse::<usize>().unwrap() - caller.stream.at_hand();
        let mut buffer = vec![0; 256 << 10];
        while left > 0 {
            tokio::time::sleep(pause).await;
            let most = buffer.len().min(left);
            left -= caller
                .stream
                .socket
                .read_exact(&mut buffer[..most])
                .await
                .unwrap();
        }
        caller
            .stream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
            .await;
        caller.head().await;
    })
    .await
}

/// Sends that many bytes of a body as fast as they are taken, while the answer is read.
async fn upload(client: Client, length: usize) -> String {
    let (mut reading, mut writing) = client.socket.into_split();
    let sending = tokio::spawn(async move {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
        let mut sent = writing.write_all(head.as_bytes()).await.map(|()| 0);
        let block = vec![0; 64 << 10];
        while let Ok(so_far) = sent
            && so_far < length
        {
            let most = block.len().min(length - so_far);
            sent = writing
                .write_all(&block[..most])
                .await
                .map(|()| so_far + most);
        }
        writing
    });
    let mut answer = vec![0; 1024];
    let length = within("an answer", reading.read(&mut answer))
        .await
        .unwrap();
    sending.abort();
    answer.truncate(length);
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_server_that_takes_nothing_of_a_request_is_504() {
    let origin = deaf().await;
    let mut setup = Setup::with(&[origin.address]);
    setup.pool_timeouts.send = GRACE;
    let proxy = setup.start().await;
    let answer = upload(proxy.client().await, 64 << 20).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.fault, seen.letters.as_str()),
        (Some("send-timeout"), "sH")
    );
}

#[tokio::test]
async fn a_server_that_takes_a_request_slowly_is_left_alone() {
    let origin = reading(Duration::from_millis(20)).await;
    let mut setup = Setup::with(&[origin.address]);
    setup.pool_timeouts.send = Duration::from_secs(1);
    let proxy = setup.start().await;
    let begun = Instant::now();
    let answer = upload(proxy.client().await, 32 << 20).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(begun.elapsed() > Duration::from_secs(1), "it was slow");
}

#[tokio::test]
async fn a_server_that_has_the_request_has_its_time_to_answer() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        tokio::time::sleep(GRACE * 3).await;
        caller
            .stream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await;
        caller.head().await;
    })
    .await;
    let mut setup = Setup::with(&[origin.address]);
    setup.pool_timeouts.send = GRACE;
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/").await.status, 200);
}

#[tokio::test]
async fn places_come_back_however_a_connection_ends() {
    let origin = Origin::named("a").await;
    let mut setup = Setup::with(&[origin.address]);
    setup.bounds = Bounds {
        connections: Some(2),
        ..Bounds::default()
    };
    let proxy = setup.start().await;
    for _ in 0..3 {
        let _silent = proxy.client().await;
        let mut broken = proxy.client().await;
        broken.send("nonsense\r\n\r\n").await;
        assert_eq!(broken.response().await.status, 400);
        drop(broken);
    }
    let mut clients = [proxy.client().await, proxy.client().await];
    for client in &mut clients {
        assert_eq!(client.get("/").await.text(), "a");
    }
    proxy.events.open(2).await;
    let before = proxy.gates.told()[0].held;
    let mut third = proxy.client().await;
    third.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(clients[0].get("/").await.text(), "a");
    assert_eq!(proxy.gates.told()[0].held, before, "it still waits");
    drop(clients);
    assert_eq!(third.response().await.text(), "a");
    assert_eq!(proxy.gates.told()[0].held, before + 1);
}
