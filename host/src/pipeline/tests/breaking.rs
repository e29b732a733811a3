//! Exchanges that break off: clients that go away, bodies that are none, bugs of ours.

use std::rc::Rc;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::setup::Part;
use super::{Origin, Setup};
use crate::hook::{Failure, Outcome, RequestFilter, RequestView};

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_along() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        assert!(caller.head().await.is_none());
    })
    .await;
    let mut setup = Setup::with(&[origin.address]);
    setup.abort_on_close = true;
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    proxy.events.begun(1).await;
    while origin.heads().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(client);
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.fault, seen.letters.as_str()),
        (Some("client-closed"), "CH")
    );
    assert_eq!((seen.status, seen.server.as_deref()), (None, Some("s0")));
    proxy.events.open(0).await;
}

#[tokio::test]
async fn a_client_that_has_said_all_it_has_to_say_gets_its_answer() {
    let let_go = Arc::new(Notify::new());
    let waits = let_go.clone();
    let origin = Origin::start(move |mut caller| {
        let waits = waits.clone();
        async move {
            caller.head().await;
            waits.notified().await;
            caller
                .stream
                .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
                .await;
            caller.head().await;
        }
    })
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.socket.shutdown().await.unwrap();
    while origin.heads().is_empty() {
        tokio::task::yield_now().await;
    }
    let_go.notify_one();
    let answer = client.response().await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hi"[..]));
    assert!(client.rest().await.is_empty(), "and then it is closed");
    let seen = proxy.events.first().await;
    assert_eq!((seen.fault, seen.letters.as_str()), (None, "--"));
    proxy.events.open(0).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_ends_the_request() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        caller.stream.exactly(2).await;
        assert!(caller.stream.rest().await.is_empty());
    })
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nab")
        .await;
    while origin.heads().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(client);
    let seen = proxy.events.first().await;
    assert_eq!(seen.letters.as_bytes()[0], b'C', "{seen:?}");
    assert_eq!(seen.bytes_in, 2);
}

#[tokio::test]
async fn a_body_that_is_none_is_400() {
    let origin = Origin::start(|mut caller| async move {
        caller.head().await;
        caller.stream.rest().await;
    })
    .await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\nnonsense\r\n")
        .await;
    assert_eq!(client.response().await.status, 400);
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.fault, seen.letters.as_str()),
        (Some("request-body-broken"), "CD")
    );
}

#[tokio::test]
async fn a_bug_in_one_exchange_ends_that_one_alone() {
    let origin = Origin::named("a").await;
    let mut setup = Setup::with(&[origin.address]);
    setup.filters = vec![Part::request("buggy", || {
        let decide: fn(&dyn RequestView) -> Result<Outcome, Failure> = |view| match view.path() {
            b"/panic" => panic!("a test's own panic"),
            _ => Ok(Outcome::default()),
        };
        let filter: Rc<dyn RequestFilter> = Rc::new(decide);
        filter
    })];
    let proxy = setup.start().await;
    let (mut other, mut unlucky) = (proxy.client().await, proxy.client().await);
    other.get("/").await;
    // Another worker's: its telling may come after its answer.
    proxy.events.first().await;
    unlucky.send("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(unlucky.rest().await.is_empty());
    let seen = proxy.events.ended(2).await;
    assert_eq!((seen.fault, seen.letters.as_str()), (Some("panic"), "IQ"));
    assert_eq!(other.get("/").await.text(), "a");
    for _ in 0..4 {
        assert_eq!(proxy.get("/").await.text(), "a", "every worker lives");
    }
}
