//! What bounds a peer that is slow rather than silent, and how many of them there are.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::Client;
use super::{Origin, Proxy, Setup, within};
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

/// Says that its answer is that long, and sends as much as is taken.
async fn talking(length: usize) -> Origin {
    Origin::start(move |mut caller| async move {
        caller.head().await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        caller.stream.send(head).await;
        let (block, mut left) = (vec![0; 64 << 10], length);
        while left > 0 {
            let most = block.len().min(left);
            if caller
                .stream
                .socket
                .write_all(&block[..most])
                .await
                .is_err()
            {
                return;
            }
            left -= most;
        }
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

/// Held to a rate, with a short grace.
fn held_to(rate: u64, origin: &Origin) -> Setup {
    let mut setup = Setup::with(&[origin.address]);
    (setup.min_body_rate, setup.timeouts.rate_grace) = (rate, GRACE);
    setup
}

/// Sends a body of that many pieces; None when the proxy will not wait for the last.
async fn trickle(client: &mut Client, pieces: usize, piece: &[u8]) -> Option<()> {
    let length = pieces * piece.len();
    client
        .send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
    for _ in 0..pieces {
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.socket.write_all(piece).await.ok()?;
    }
    Some(())
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408() {
    let origin = reading(Duration::ZERO).await;
    let proxy = held_to(1000, &origin).start().await;
    let mut client = proxy.client().await;
    let begun = Instant::now();
    trickle(&mut client, 200, b"x").await;
    assert_eq!(client.response().await.status, 408);
    assert!(begun.elapsed() >= GRACE);
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.fault, seen.letters.as_str()),
        (Some("request-body-too-slow"), "cD")
    );
    assert!(seen.bytes_in < 200, "{}", seen.bytes_in);
}

#[tokio::test]
async fn a_body_that_keeps_the_rate_is_left_alone() {
    let origin = reading(Duration::ZERO).await;
    let proxy = held_to(500, &origin).start().await;
    let mut client = proxy.client().await;
    trickle(&mut client, 50, &[b'x'; 200]).await.unwrap();
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_slow_server_is_not_held_against_the_client() {
    let origin = reading(Duration::from_millis(40)).await;
    let proxy = held_to(1 << 30, &origin).start().await;
    let begun = Instant::now();
    let answer = upload(proxy.client().await, 8 << 20).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(begun.elapsed() > GRACE * 2, "{:?}", begun.elapsed());
}

/// A client whose system holds little for it, so that its pace shows.
async fn frugal(proxy: &Proxy) -> Client {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(32 << 10).unwrap();
    let mut client = Client::over(socket.connect(proxy.address).await.unwrap());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client
}

/// Reads so many bytes at a time until that many have come, or the connection ends. Answers how many came.
async fn sip(client: &mut Client, sip: usize, pause: Duration, most: usize) -> usize {
    let (mut buffer, mut all) = (vec![0; sip], 0);
    while all < most {
        match within("more of an answer", client.socket.read(&mut buffer)).await {
            Ok(more @ 1..) => all += more,
            _ => return all,
        }
        tokio::time::sleep(pause).await;
    }
    all
}

#[tokio::test]
async fn an_answer_that_is_taken_too_slowly_is_cut() {
    let origin = talking(1 << 30).await;
    let proxy = held_to(1 << 20, &origin).start().await;
    let mut client = frugal(&proxy).await;
    let begun = Instant::now();
    sip(&mut client, 1 << 10, Duration::from_millis(20), 1 << 30).await;
    assert!(begun.elapsed() >= GRACE);
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.fault, seen.letters.as_str()),
        (Some("response-too-slow"), "cD")
    );
}

/// Takes an answer slowly, but never stops. The kernel buffers megabytes for it, and says nothing until a third of them is
/// gone.
async fn patiently(setup: Setup, origin: &Origin) {
    let proxy = setup.start().await;
    let mut client = frugal(&proxy).await;
    let begun = Instant::now();
    let all = sip(
        &mut client,
        16 << 10,
        Duration::from_millis(10),
        LONG_ANSWER,
    )
    .await;
    let seen = proxy.events.first().await;
    assert_eq!(seen.fault, None, "after {all} bytes");
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(2),
        "{took:?} from {}",
        origin.address
    );
}

const LONG_ANSWER: usize = 4 << 20;

#[tokio::test]
async fn an_answer_that_is_taken_slowly_is_left_alone() {
    let origin = talking(LONG_ANSWER).await;
    patiently(held_to(100 << 10, &origin), &origin).await;
}

#[tokio::test]
async fn who_takes_an_answer_slowly_has_not_stalled() {
    let origin = talking(LONG_ANSWER).await;
    let mut setup = Setup::with(&[origin.address]);
    setup.timeouts.body = Duration::from_millis(600);
    patiently(setup, &origin).await;
}

#[tokio::test]
async fn a_slow_answer_is_not_held_against_the_client() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        caller
            .stream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n")
            .await;
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            caller.stream.send("x").await;
        }
        caller.head().await;
    })
    .await;
    let proxy = held_to(1 << 30, &origin).start().await;
    assert_eq!(proxy.get("/").await.body.len(), 50);
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
