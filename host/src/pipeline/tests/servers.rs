//! Servers that fail, and balancers that lie.

use std::sync::Mutex;

use super::{Origin, Setup};
use crate::base::ids::{PoolIndex, Slot};
use crate::hook::{Failure, RequestView};

#[tokio::test]
async fn a_server_that_is_down_is_passed_over() {
    let (dead, alive) = (Origin::dead().await, Origin::named("b").await);
    let proxy = Setup::with(&[dead, alive.address]).start().await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(
        client.response().await.text(),
        "b",
        "whatever the method: nothing had been sent"
    );
    let seen = proxy.events.first().await;
    assert_eq!((seen.attempts, seen.server.as_deref()), (2, Some("s1")));
    assert_eq!((seen.fault, seen.letters.as_str()), (None, "--"));
}

#[tokio::test]
async fn a_pool_that_is_down_is_503() {
    let (a, b) = (Origin::dead().await, Origin::dead().await);
    let proxy = Setup::with(&[a, b]).start().await;
    let got = proxy.get("/").await;
    assert_eq!(got.status, 503);
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.attempts, seen.fault, seen.letters.as_str()),
        (2, Some("connect-failed"), "SC")
    );
}

#[tokio::test]
async fn retries_are_bounded() {
    let mut servers = Vec::new();
    for _ in 0..5 {
        servers.push(Origin::dead().await);
    }
    let mut setup = Setup::with(&servers);
    setup.retries = 2;
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/").await.status, 503);
    assert_eq!(proxy.events.first().await.attempts, 3);
}

#[tokio::test]
async fn servers_at_weight_0_take_nobody_and_backups_stand_by() {
    let (a, b, c) = (
        Origin::named("a").await,
        Origin::named("b").await,
        Origin::named("c").await,
    );
    let mut setup = Setup::with(&[a.address, b.address, c.address]);
    setup.weights = vec![0, 1, 1];
    setup.backups = vec![false, false, true];
    let proxy = setup.start().await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.text(), "b");
    }
    proxy.install(|setup| setup.weights = vec![0, 0, 1]).await;
    assert_eq!(proxy.get("/").await.text(), "c");
    proxy.install(|setup| setup.weights = vec![0, 0, 0]).await;
    let got = proxy.get("/").await;
    assert_eq!(got.status, 503);
    let seen = proxy.events.ended(5).await;
    assert_eq!(
        (seen.fault, seen.letters.as_str()),
        (Some("no-server"), "SC")
    );
}

/// What a lying balancer was asked.
static ASKED: Mutex<Vec<Vec<Slot>>> = Mutex::new(Vec::new());

#[tokio::test]
async fn a_balancer_is_held_to_what_it_may_say() {
    let origin = Origin::named("a").await;
    let mut setup = Setup::with(&[origin.address]);
    setup.balancer = || {
        Box::new(
            |_: PoolIndex, _: &dyn RequestView, _: u64, tried: &[Slot]| {
                ASKED.lock().unwrap().push(tried.to_vec());
                Ok(Some(Slot(4711)))
            },
        )
    };
    let proxy = setup.start().await;
    assert_eq!(
        proxy.get("/").await.text(),
        "a",
        "native round robin takes over"
    );
    assert_eq!(
        *ASKED.lock().unwrap(),
        [Vec::<Slot>::new()],
        "who speaks of a stranger has failed, and is not asked again"
    );
}

#[tokio::test]
async fn a_balancers_second_word_counts() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let mut setup = Setup::with(&[a.address, b.address]);
    setup.weights = vec![0, 1];
    // Slots are given in order: the first server's is 0 and takes nobody.
    setup.balancer = || {
        Box::new(
            |_: PoolIndex, _: &dyn RequestView, _: u64, tried: &[Slot]| {
                Ok(Some(Slot(u32::from(tried.contains(&Slot(0))))))
            },
        )
    };
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/").await.text(), "b");
}

#[tokio::test]
async fn a_balancers_none_stands() {
    let origin = Origin::named("a").await;
    let mut setup = Setup::with(&[origin.address]);
    setup.balancer = || Box::new(|_: PoolIndex, _: &dyn RequestView, _: u64, _: &[Slot]| Ok(None));
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/").await.status, 503);
    assert_eq!(proxy.events.first().await.fault, Some("no-server"));
}

#[tokio::test]
async fn what_was_tried_is_told_to_the_balancer() {
    let (dead, alive) = (Origin::dead().await, Origin::named("b").await);
    let mut setup = Setup::with(&[dead, alive.address]);
    setup.balancer = || {
        Box::new(
            |_: PoolIndex, _: &dyn RequestView, _: u64, tried: &[Slot]| match tried {
                [] => Ok(Some(Slot(0))),
                [Slot(0)] => Ok(Some(Slot(1))),
                _ => Err(Failure::Failed),
            },
        )
    };
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/").await.text(), "b");
}

/// Answers once, then closes when the next request has come, unanswered.
async fn forgetful() -> Origin {
    Origin::start(|mut caller| async move {
        caller.head().await;
        caller
            .stream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na")
            .await;
        if caller.number == 0 {
            caller.head().await;
        } else {
            while caller.head().await.is_some() {
                caller
                    .stream
                    .send("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na")
                    .await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_kept_connection_that_turns_out_closed_is_no_failure() {
    let origin = forgetful().await;
    let mut setup = Setup::with(&[origin.address]);
    setup.retries = 0;
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    assert_eq!(client.get("/1").await.text(), "a");
    proxy.events.first().await;
    assert_eq!(client.get("/2").await.text(), "a");
    let seen = proxy.events.ended(2).await;
    assert_eq!(
        (seen.attempts, seen.letters.as_str()),
        (1, "--"),
        "nor is it an attempt"
    );
    let paths: Vec<_> = origin
        .heads()
        .iter()
        .map(|head| head.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(paths, ["/1", "/2", "/2"]);
}

#[tokio::test]
async fn what_is_not_safe_to_repeat_is_sent_once() {
    let origin = forgetful().await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client.get("/1").await;
    proxy.events.first().await;
    client
        .send("POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 502);
    let seen = proxy.events.ended(2).await;
    assert_eq!(
        (seen.fault, seen.letters.as_str(), seen.attempts),
        (Some("server-closed"), "SH", 1)
    );
    assert_eq!(origin.heads().len(), 2);
}

#[tokio::test]
async fn a_get_that_was_not_answered_goes_to_another_server() {
    let broken = Origin::start(|mut caller| async move {
        caller.head().await;
    })
    .await;
    let other = Origin::named("b").await;
    let proxy = Setup::with(&[broken.address, other.address]).start().await;
    assert_eq!(proxy.get("/").await.text(), "b");
    assert_eq!(proxy.events.first().await.attempts, 2);
}

#[tokio::test]
async fn an_answer_that_is_none_is_502() {
    for nonsense in [
        "SMTP ready\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 O",
    ] {
        let origin = Origin::start(move |mut caller| async move {
            caller.head().await;
            caller.stream.send(nonsense).await;
        })
        .await;
        let proxy = Setup::with(&[origin.address]).start().await;
        let got = proxy.get("/").await;
        assert_eq!(got.status, 502, "{nonsense:?}");
        let seen = proxy.events.first().await;
        assert_eq!(
            (seen.fault, seen.letters.as_str()),
            (Some("bad-response"), "PH"),
            "{nonsense:?}"
        );
    }
}

#[tokio::test]
async fn no_pool_is_404() {
    let origin = Origin::named("a").await;
    let mut setup = Setup::with(&[origin.address]);
    setup.pool = None;
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\naccept: text/html,*/*\r\n\r\n")
        .await;
    let got = client.response().await;
    assert_eq!(got.status, 404);
    assert_eq!(
        got.field("content-type").unwrap(),
        "text/html; charset=utf-8"
    );
    assert_eq!(proxy.events.first().await.fault, Some("no-pool"));
    assert_eq!(client.get("/").await.status, 404, "the connection is kept");
}

#[tokio::test]
async fn a_requests_server_is_counted_in_flight_until_its_answer_ends() {
    let go = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let gate = go.clone();
    let origin = Origin::start(move |mut caller| {
        let gate = gate.clone();
        async move {
            caller.head().await;
            caller
                .stream
                .send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
                .await;
            gate.acquire().await.unwrap().forget();
            caller.stream.send("b").await;
            caller.head().await;
        }
    })
    .await;
    let setup = Setup::with(&[origin.address]);
    let live = setup.live.clone();
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await;
    assert_eq!(live.inflight(Slot(0)), 1);
    assert!(
        live.ewma_us(Slot(0)) > 0,
        "the time to the first byte is known"
    );
    go.add_permits(1);
    client.exactly(2).await;
    proxy.events.first().await;
    assert_eq!(live.inflight(Slot(0)), 0);
}

#[tokio::test]
async fn interim_answers_are_passed_on_to_those_who_know_them() {
    const HINTS: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nconnection: x-hop\r\nx-hop: 1\r\ncontent-length: 9\r\n\r\n\
                         HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    let origin = Origin::saying(HINTS).await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let hints = client.head().await;
        assert_eq!(hints, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
        assert_eq!(client.head().await, "HTTP/1.1 102 Processing\r\n\r\n");
        let answer = client.response().await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hi"[..]));
    }
    let mut old = proxy.client().await;
    old.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert_eq!(old.response().await.status, 200);
}
