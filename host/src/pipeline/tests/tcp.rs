//! Connections in tcp mode, and the connect plugins of both modes.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Origin, Proxy, Setup, within};
use crate::base::ids::PoolIndex;
use crate::config::checked::{Mode, OnFailure, OnMarkedDown};
use crate::hook::{Admission, Connect, Failure, RequestView};
use crate::pipeline::{Doorkeeper, Entrance};

fn tcp() -> Entrance {
    Entrance {
        mode: Mode::Tcp,
        ..Entrance::default()
    }
}

fn asking(mode: Mode, plugin: impl Connect + 'static) -> Entrance {
    Entrance {
        mode,
        connect: vec![Doorkeeper {
            name: "door".into(),
            plugin: Rc::new(plugin),
            on_failure: OnFailure::Reject,
        }],
        ..Entrance::default()
    }
}

fn setup(servers: &[SocketAddr], entrance: fn() -> Entrance) -> Setup {
    Setup {
        entrance,
        ..Setup::with(servers)
    }
}

/// Says its name, then what it hears.
async fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                socket.write_all(name.as_bytes()).await.unwrap();
                let (mut from, mut to) = socket.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address).await.unwrap()
}

async fn heard(socket: &mut TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    let reading = socket.read_exact(&mut bytes);
    within("bytes", reading).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn is_reset(socket: &mut TcpStream) -> bool {
    let read = within("an end", socket.read(&mut [0; 1])).await;
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_an_end_leaves_the_other_way_open() {
    let server = echo("a").await;
    let proxy = setup(&[server], tcp).start().await;
    let mut client = connect(&proxy).await;
    assert_eq!(heard(&mut client, 1).await, "a", "the server speaks first");
    client.write_all(b"last words").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = String::new();
    within("the rest", client.read_to_string(&mut rest))
        .await
        .unwrap();
    assert_eq!(rest, "last words");
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.pool.as_deref(), seen.server.as_deref()),
        (Some("app"), Some("s0"))
    );
    assert_eq!((seen.bytes_in, seen.bytes_out), (10, 11));
    assert_eq!((seen.letters.as_str(), seen.fault), ("--", None));
    assert!(!seen.started && seen.method.is_empty());
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_followed_by_another() {
    let servers = [Origin::dead().await, echo("b").await];
    let proxy = setup(&servers, tcp).start().await;
    let mut client = connect(&proxy).await;
    assert_eq!(heard(&mut client, 1).await, "b");
    drop(client);
    let seen = proxy.events.first().await;
    assert_eq!((seen.server.as_deref(), seen.attempts), (Some("s1"), 2));
}

#[tokio::test]
async fn without_a_server_the_client_is_reset() {
    let proxy = setup(&[Origin::dead().await], tcp).start().await;
    assert!(is_reset(&mut connect(&proxy).await).await);
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.letters.as_str(), seen.fault),
        ("SC", Some("connect-failed"))
    );
}

#[tokio::test]
async fn who_is_silent_for_too_long_is_reset() {
    let mut setup = setup(&[echo("a").await], tcp);
    setup.timeouts.tunnel = Duration::from_millis(100);
    let proxy = setup.start().await;
    let mut client = connect(&proxy).await;
    heard(&mut client, 1).await;
    assert!(is_reset(&mut client).await);
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.letters.as_str(), seen.fault),
        ("cD", Some("tunnel-timeout"))
    );
}

#[tokio::test]
async fn a_connection_counts_as_in_flight_while_it_lives() {
    let setup = setup(&[echo("a").await], tcp);
    let live = setup.live.clone();
    let proxy = setup.start().await;
    let mut clients = [connect(&proxy).await, connect(&proxy).await];
    for client in &mut clients {
        heard(client, 1).await;
    }
    let slot = crate::base::ids::Slot(0);
    assert_eq!(live.inflight(slot), 2);
    drop(clients);
    proxy.events.ended(2).await;
    assert_eq!(live.inflight(slot), 0);
}

#[tokio::test]
async fn a_server_that_is_down_takes_its_connections_along_where_asked_to() {
    for on_marked_down in [OnMarkedDown::Close, OnMarkedDown::Keep] {
        let mut setup = setup(&[echo("a").await, echo("b").await], tcp);
        setup.on_marked_down = on_marked_down;
        let proxy = setup.start().await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut client = connect(&proxy).await;
            let server = heard(&mut client, 1).await;
            clients.push((server, client));
        }
        let down = "a";
        for worker in proxy.workers.handles() {
            worker.server_is_down(crate::base::ids::Slot(0));
        }
        let closes = on_marked_down == OnMarkedDown::Close;
        for (server, client) in &mut clients {
            if server == down && closes {
                assert!(is_reset(client).await);
            } else {
                client.write_all(b"still here").await.unwrap();
                assert_eq!(heard(client, 10).await, "still here");
            }
        }
        let of_a = clients.iter().filter(|(server, _)| server == down).count();
        assert!(of_a > 0);
        if closes {
            let seen = proxy.events.ended(of_a).await;
            assert_eq!(
                (seen.letters.as_str(), seen.fault),
                ("DD", Some("server-down"))
            );
        }
    }
}

#[tokio::test]
async fn a_drain_lets_connections_live_until_its_deadline() {
    let proxy = setup(&[echo("a").await], tcp).start().await;
    let mut client = connect(&proxy).await;
    heard(&mut client, 1).await;
    let workers = proxy.workers.handles().to_vec();
    let draining = tokio::spawn(async move {
        let deadline = Duration::from_millis(300);
        futures_util::future::join_all(workers.iter().map(|w| w.drain(deadline))).await;
    });
    for worker in proxy.workers.handles() {
        worker.ask(|_| ()).await;
    }
    client.write_all(b"still here").await.unwrap();
    assert_eq!(heard(&mut client, 10).await, "still here");
    within("the drain to end", draining).await.unwrap();
    assert!(is_reset(&mut client).await);
    let seen = proxy.events.first().await;
    assert_eq!((seen.letters.as_str(), seen.fault), ("KD", Some("cut")));
}

#[tokio::test]
async fn a_connect_plugin_chooses_the_pool() {
    let choose = || {
        asking(Mode::Tcp, |view: &dyn RequestView| {
            assert_eq!(view.connection().listener.as_ref(), "web");
            assert_eq!((view.method(), view.path()), ("", &b""[..]));
            Ok(Admission::Pool(PoolIndex(1)))
        })
    };
    let mut setup = setup(&[echo("a").await], choose);
    setup.pools.push(("other", vec![echo("o").await]));
    let proxy = setup.start().await;
    assert_eq!(heard(&mut connect(&proxy).await, 1).await, "o");
}

#[tokio::test]
async fn what_a_connect_plugin_refuses_or_fails_at_is_reset() {
    let refuse = || asking(Mode::Tcp, |_: &dyn RequestView| Ok(Admission::Refuse));
    let fail = || asking(Mode::Tcp, |_: &dyn RequestView| Err(Failure::Failed));
    let refuse_http = || asking(Mode::Http, |_: &dyn RequestView| Ok(Admission::Refuse));
    let pool_in_http = || {
        asking(Mode::Http, |_: &dyn RequestView| {
            Ok(Admission::Pool(PoolIndex(0)))
        })
    };
    type Case = (fn() -> Entrance, &'static str);
    let cases: [Case; 4] = [
        (refuse, "connection-refused"),
        (fail, "connect-plugin-failed"),
        (refuse_http, "connection-refused"),
        (pool_in_http, "connect-plugin-failed"),
    ];
    for (entrance, word) in cases {
        let origin = Origin::named("a").await;
        let proxy = setup(&[origin.address], entrance).start().await;
        assert!(is_reset(&mut connect(&proxy).await).await, "{word}");
        let seen = proxy.events.first().await;
        assert_eq!((seen.letters.as_str(), seen.fault), ("PR", Some(word)));
        assert_eq!(origin.connections(), 0);
    }
}

#[tokio::test]
async fn who_is_accepted_in_http_mode_is_served_as_ever() {
    let accept = || asking(Mode::Http, |_: &dyn RequestView| Ok(Admission::Accept));
    let origin = Origin::named("a").await;
    let proxy = setup(&[origin.address], accept).start().await;
    let got = proxy.get("/").await;
    assert_eq!(got.status, 200);
    assert_eq!(
        proxy.events.first().await.status,
        Some(200),
        "and told of once"
    );
}
