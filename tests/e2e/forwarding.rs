//! What reaches the origin, and what comes back: the head's fields, and bodies of every framing.

use std::io::{Read, Write};

use tidegate_tests::{Client, Message, Origin, Proxy, reply, site};

#[test]
fn the_host_is_kept_and_the_origin_learns_who_asked() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    proxy.send("GET /p?q=1 HTTP/1.1\nhost: shop.example:81\nuser-agent: test");
    let request = origin.last();
    assert_eq!(request.first, "GET /p?q=1 HTTP/1.1");
    assert_eq!(request.header("host"), Some("shop.example:81"));
    assert_eq!(request.header("user-agent"), Some("test"));
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.all("x-forwarded-host"), ["shop.example:81"]);
    assert!(
        request
            .header("x-request-id")
            .is_some_and(|id| id.len() >= 16),
        "{request:?}"
    );
}

#[test]
fn claims_of_an_untrusted_client_are_dropped() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    proxy.send(FORGED);
    let request = origin.last();
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.all("x-forwarded-proto"), ["http"]);
    assert!(!request.all("x-real-ip").contains(&"6.6.6.6"));
    assert!(
        !String::from_utf8_lossy(&request.head).contains("6.6.6.6"),
        "{request:?}"
    );
}

#[test]
fn claims_of_a_trusted_proxy_are_believed() {
    let origin = Origin::named("a");
    let trusting = "[proxy]\nworkers = 2\ntrusted-proxies = [\"127.0.0.0/8\"]\n";
    let proxy = Proxy::start(trusting.to_owned() + &site("round-robin", &[&origin]));
    proxy.send(FORGED);
    let request = origin.last();
    assert_eq!(request.all("x-forwarded-for"), ["6.6.6.6, 127.0.0.1"]);
    assert_eq!(request.all("x-forwarded-proto"), ["https"]);
}

#[test]
fn hop_by_hop_fields_end_here() {
    let origin = Origin::answering("a", |_, stream| {
        let fields = [
            ("connection", "x-private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=9"),
            ("x-public", "1"),
        ];
        reply(stream, 200, &fields, "a\n")
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let answer = proxy.send(
        "GET / HTTP/1.1\nhost: x\nconnection: keep-alive, x-mine\nx-mine: 1\nkeep-alive: 5\nte: trailers\n\
         proxy-connection: keep-alive\nupgrade: h2c\nx-other: 1",
    );
    let request = origin.last();
    for name in ["x-mine", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(request.header(name), None, "{name} in {request:?}");
    }
    assert_eq!(request.header("x-other"), Some("1"));
    assert_eq!(answer.header("x-private"), None);
    assert_eq!(answer.header("keep-alive"), None);
    assert_eq!(answer.header("x-public"), Some("1"));
}

#[test]
fn connection_cannot_name_our_own_fields() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    proxy.send("GET / HTTP/1.1\nhost: x\nconnection: x-forwarded-for, x-request-id, host");
    let request = origin.last();
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.header("host"), Some("x"));
    assert!(request.header("x-request-id").is_some());
}

#[test]
fn every_request_has_an_id_of_its_own() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    proxy.origins("/", 20);
    let ids: std::collections::BTreeSet<String> = origin
        .requests()
        .iter()
        .map(|request| request.header("x-request-id").expect("an id").to_owned())
        .collect();
    assert_eq!(ids.len(), 20);
}

#[test]
fn bodies_pass_both_ways_in_every_framing() {
    let origin = echo();
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let mut client = Client::connect(proxy.address("web"));
    let sized = client.ask("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(sized.text(), "hello");
    let chunked = client.ask(
        "POST /chunked HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n",
    );
    assert_eq!(chunked.text(), "abcdefg");
    assert_eq!(chunked.header("transfer-encoding"), Some("chunked"));
    let head = client.ask("HEAD / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(
        client.get("/").status(),
        200,
        "the connection goes on after HEAD"
    );
    let until_close = Client::connect(proxy.address("web")).get("/until-close");
    assert_eq!(until_close.text(), "ends with the connection");
}

#[test]
fn a_large_body_arrives_whole_both_ways() {
    let origin = echo();
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let body: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut client = Client::connect(proxy.address("web"));
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client
        .write(head.as_bytes())
        .and_then(|()| client.write(&body))
        .expect("the proxy takes the body");
    let answer = client.read().expect("an answer");
    assert!(
        answer.body == body,
        "sent {} bytes, got {}",
        body.len(),
        answer.body.len()
    );
}

#[test]
fn the_first_bytes_of_a_stream_come_at_once() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let origin = Origin::answering("a", move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
        let _ = held
            .lock()
            .expect("one request")
            .recv_timeout(std::time::Duration::from_secs(20));
        stream.write_all(b"4\r\nlast\r\n0\r\n\r\n")
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let mut client = Client::connect(proxy.address("web"));
    client
        .write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("sent");
    read_until(&client, "first");
    release.send(()).expect("the origin waits");
}

#[test]
fn connections_to_the_servers_are_kept() {
    let origin = Origin::named("a");
    let proxy =
        Proxy::start("[proxy]\nworkers = 1\n".to_owned() + &site("round-robin", &[&origin]));
    proxy.origins("/", 50);
    for _ in 0..10 {
        assert_eq!(proxy.get("/").status(), 200);
    }
    assert_eq!(origin.served(), 60);
    assert!(
        origin.accepted() <= 2,
        "{} connections for 60 requests one after the other",
        origin.accepted()
    );
}

#[test]
fn requests_that_are_no_http_are_refused_and_harm_nobody() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    for (what, bytes) in [
        ("garbage", "\u{1}\u{2}\u{3}\r\n\r\n"),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        ),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        (
            "space before colon",
            "GET / HTTP/1.1\r\nhost: x\r\nx-a : 1\r\n\r\n",
        ),
    ] {
        let answer = Client::connect(proxy.address("web")).ask(bytes);
        assert_eq!(answer.status(), 400, "{what}");
    }
    let both = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut client = Client::connect(proxy.address("web"));
    let _ = client.try_ask(both);
    assert!(
        origin
            .requests()
            .iter()
            .all(|r: &Message| r.header("content-length").is_none()
                || r.header("transfer-encoding").is_none())
    );
    assert_eq!(proxy.get("/").status(), 200);
}

#[test]
fn a_connection_that_changes_its_protocol_becomes_a_tunnel() {
    let origin = Origin::answering("chat", |request, stream| {
        assert_eq!(request.header("upgrade"), Some("websocket"));
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")?;
        let mut buffer = [0; 64];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                read => stream.write_all(&buffer[..read].to_ascii_uppercase())?,
            }
        }
    });
    let mut proxy = Proxy::start(site("round-robin", &[&origin]));
    let mut client = Client::connect(proxy.address("web"));
    let request =
        "GET /chat HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    client.write(request.as_bytes()).expect("sent");
    assert!(read_until(&client, "\r\n\r\n").starts_with("HTTP/1.1 101 "));
    client.write(b"hello").expect("sent");
    assert_eq!(read_until(&client, "HELLO"), "HELLO");
    proxy.reconfigure(site("first", &[&origin]));
    client.write(b"still there").expect("sent");
    assert_eq!(
        read_until(&client, "THERE"),
        "STILL THERE",
        "a reload leaves a tunnel alone"
    );
}

#[test]
fn bulk_in_a_tunnel_is_counted_too() {
    const BULK: usize = 16 << 20;
    let origin = Origin::answering("chat", |_, stream| {
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")?;
        stream.write_all(&vec![7; BULK])?;
        Err(std::io::ErrorKind::UnexpectedEof.into())
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let mut client = Client::connect(proxy.address("web"));
    let request =
        "GET /chat HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    client.write(request.as_bytes()).expect("sent");
    let mut all = Vec::new();
    client.socket().read_to_end(&mut all).expect("an end");
    let bulk = &all[all.len() - BULK..];
    assert!(all.starts_with(b"HTTP/1.1 101 ") && bulk.iter().all(|&byte| byte == 7));
    drop(client);
    let line = &proxy.access_log(1)[0];
    assert_eq!(line["body_bytes_out"], BULK);
    assert_eq!(line["bytes_out"], all.len());
}

#[test]
fn a_client_that_waits_for_leave_to_send_its_body_gets_it() {
    let origin = echo();
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let mut client = Client::connect(proxy.address("web"));
    let head = "POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    client.write(head.as_bytes()).expect("sent");
    assert!(read_until(&client, "\r\n\r\n").starts_with("HTTP/1.1 100 "));
    client.write(b"hello").expect("sent");
    assert_eq!(client.read().expect("an answer").text(), "hello");
}

#[test]
fn requests_sent_in_one_go_are_answered_in_order() {
    let origin = Origin::answering("a", |request, stream| {
        reply(stream, 200, &[], request.target())
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let mut client = Client::connect(proxy.address("web"));
    let all: String = (0..20)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nhost: x\r\n\r\n"))
        .collect();
    client.write(all.as_bytes()).expect("sent");
    for n in 0..20 {
        assert_eq!(client.read().expect("an answer").text(), format!("/{n}"));
    }
}

#[test]
fn a_head_without_end_is_refused() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let mut client = Client::connect(proxy.address("web"));
    let answer = client.try_ask(&format!(
        "GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
        "x".repeat(2 << 20)
    ));
    // The proxy may close while the rest is still being sent.
    if let Ok(answer) = answer {
        assert_eq!(answer.status(), 431);
    }
    assert_eq!(origin.served(), 0);
    assert_eq!(proxy.get("/").status(), 200);
}

/// Reads until the bytes so far end with this.
#[track_caller]
fn read_until(client: &Client, end: &str) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        let mut byte = [0];
        let read = client
            .socket()
            .read(&mut byte)
            .expect("bytes before the end");
        assert!(
            read > 0,
            "closed after {:?}",
            String::from_utf8_lossy(&seen)
        );
        seen.push(byte[0]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

const FORGED: &str = "GET / HTTP/1.1\nhost: x\nx-forwarded-for: 6.6.6.6\nx-forwarded-proto: https\nx-real-ip: 6.6.6.6\n\
                      forwarded: for=6.6.6.6\nx-forwarded-host: evil.example";

/// Answers with the body that it got; `/until-close` ends its answer by closing.
fn echo() -> Origin {
    Origin::answering("echo", |request, stream| {
        let body = &request.body;
        match request.target() {
            "/chunked" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                for piece in body.chunks(2) {
                    stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
                    stream.write_all(piece)?;
                    stream.write_all(b"\r\n")?;
                }
                stream.write_all(b"0\r\n\r\n")
            }
            "/until-close" => {
                stream.write_all(
                    b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nends with the connection",
                )?;
                Err(std::io::ErrorKind::Other.into())
            }
            _ => {
                stream.write_all(
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(),
                )?;
                if request.method() == "HEAD" {
                    Ok(())
                } else {
                    stream.write_all(body)
                }
            }
        }
    })
}
