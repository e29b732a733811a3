//! Letting go: drains, reloads without a listener, workers that stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Origin, PATIENCE, Proxy, Setup, within};

/// Answers when let.
async fn slow(gate: Arc<Semaphore>) -> Origin {
    Origin::start(move |mut caller| {
        let gate = gate.clone();
        async move {
            while caller.head().await.is_some() {
                gate.acquire().await.unwrap().forget();
                caller
                    .stream
                    .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
                    .await;
            }
        }
    })
    .await
}

fn drain(proxy: &Proxy, deadline: Duration) -> tokio::task::JoinHandle<()> {
    let workers = proxy.workers.handles().to_vec();
    tokio::spawn(async move {
        futures_util::future::join_all(workers.iter().map(|worker| worker.drain(deadline))).await;
    })
}

/// Letters are read in order: after this, those sent before have been.
async fn everybody_knows(proxy: &Proxy) {
    for worker in proxy.workers.handles() {
        worker.ask(|_| ()).await;
    }
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_lets_busy_ones_finish() {
    let gate = Arc::new(Semaphore::new(1));
    let origin = slow(gate.clone()).await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let (mut idle, mut busy) = (proxy.client().await, proxy.client().await);
    idle.get("/").await;
    busy.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    proxy.events.begun(2).await;
    let draining = drain(&proxy, PATIENCE);
    assert!(idle.ends_cleanly().await);
    assert!(!draining.is_finished());
    everybody_knows(&proxy).await;
    gate.add_permits(1);
    let got = busy.response().await;
    assert_eq!(
        (got.text().as_str(), got.field("connection").as_deref()),
        ("done", Some("close"))
    );
    assert!(busy.ends_cleanly().await);
    within("the drain to end", draining).await.unwrap();
    assert!(
        proxy
            .workers
            .handles()
            .iter()
            .all(|worker| worker.connections() == 0)
    );
}

#[tokio::test]
async fn what_is_left_at_the_drains_deadline_is_cut() {
    let origin = slow(Arc::new(Semaphore::new(0))).await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    proxy.events.begun(1).await;
    within(
        "the drain to end",
        drain(&proxy, Duration::from_millis(100)),
    )
    .await
    .unwrap();
    assert!(client.rest().await.is_empty());
    let seen = proxy.events.first().await;
    assert_eq!((seen.fault, &seen.letters[..1]), (Some("cut"), "K"));
}

#[tokio::test]
async fn a_connection_that_comes_while_draining_gets_one_answer() {
    let gate = Arc::new(Semaphore::new(1));
    let origin = slow(gate.clone()).await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut busy = [proxy.client().await, proxy.client().await];
    gate.forget_permits(1);
    for client in &mut busy {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    }
    proxy.events.begun(2).await;
    drain(&proxy, PATIENCE);
    tokio::task::yield_now().await;
    everybody_knows(&proxy).await;
    let mut late = proxy.client().await;
    late.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.add_permits(3);
    assert_eq!(
        late.response().await.field("connection").as_deref(),
        Some("close")
    );
    assert!(late.ends_cleanly().await);
}

#[tokio::test]
async fn a_request_keeps_the_generation_it_began_with() {
    let gate = Arc::new(Semaphore::new(0));
    let (old, new) = (slow(gate.clone()).await, Origin::named("new").await);
    let proxy = Setup::with(&[old.address]).start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    proxy.events.begun(1).await;
    let address = new.address;
    proxy
        .install(move |setup| setup.pools = vec![("app", vec![address])])
        .await;
    assert_eq!(proxy.holds(), 1, "the request's own");
    gate.add_permits(1);
    assert_eq!(client.response().await.text(), "done");
    proxy.events.first().await;
    assert_eq!(proxy.holds(), 0);
    assert_eq!(
        client.get("/").await.text(),
        "new",
        "the connection has gone over"
    );
}

#[tokio::test]
async fn a_listener_that_is_gone_lets_its_connections_finish() {
    let gate = Arc::new(Semaphore::new(1));
    let origin = slow(gate.clone()).await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let (mut idle, mut busy) = (proxy.client().await, proxy.client().await);
    idle.get("/").await;
    busy.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    proxy.events.begun(2).await;
    proxy.install(|setup| setup.listener = "other").await;
    assert!(idle.ends_cleanly().await);
    gate.add_permits(1);
    assert_eq!(busy.response().await.text(), "done");
    assert!(busy.ends_cleanly().await);
}

#[tokio::test]
async fn a_worker_that_stops_cuts_its_connections() {
    let origin = slow(Arc::new(Semaphore::new(0))).await;
    let proxy = Setup::with(&[origin.address]).start().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    proxy.events.begun(1).await;
    let events = proxy.events.clone();
    drop(proxy);
    assert!(client.rest().await.is_empty());
    assert_eq!(events.first().await.status, None);
}
