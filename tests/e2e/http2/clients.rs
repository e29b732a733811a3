//! Real clients: curl and nghttp, in clear text with prior knowledge.

use std::io::Read;
use std::process::Command;

use tidegate_tests::{Origin, Proxy, curl, listener, pool, reply, site, wait_until};

use super::frames;

#[test]
fn curl_is_answered_in_the_protocol_it_begins_with() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let url = proxy.url("/p?q");
    let version = |more: &[&str]| {
        let shown = ["-s", "-w", " %{http_version} %{response_code}", &url];
        curl(&[more, &shown].concat())
    };
    assert_eq!(version(&["--http2-prior-knowledge"]), "a\n 2 200");
    assert_eq!(version(&["--http1.1"]), "a\n 1.1 200");
    // An upgrade is no prior knowledge: it is answered as it came.
    assert_eq!(version(&["--http2"]), "a\n 1.1 200");
    let request = origin.last();
    assert_eq!(request.first, "GET /p?q HTTP/1.1");
    assert_eq!(request.header("upgrade"), None);
}

#[test]
fn the_log_tells_of_it_as_of_any_other() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    curl(&[
        "-s",
        "--http2-prior-knowledge",
        "-d",
        "12345",
        &proxy.url("/logged"),
    ]);
    let line = proxy.logged("/logged");
    assert_eq!(line["version"], "HTTP/2");
    assert_eq!(
        (&line["method"], &line["status"]),
        (&"POST".into(), &200.into())
    );
    assert_eq!(line["bytes_in"], 5);
    assert_eq!(line["body_bytes_out"], 2);
    assert!(line["bytes_out"].as_u64() > Some(2), "{line}");
    assert_eq!(line["termination"], "--");
    assert_eq!(line["host"], "127.0.0.1");
}

#[test]
fn bodies_pass_both_ways() {
    let origin = Origin::answering("a", |request, stream| {
        let text = String::from_utf8_lossy(&request.body);
        reply(stream, 200, &[], &text)
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let sent = "0123456789".repeat(300_000);
    proxy.write_file("sent", &sent);
    let sent_file = format!("@{}", proxy.path().join("sent").display());
    for more in [
        &[][..],
        &["-H", "content-length:"],
        &["-H", "expect: 100-continue"],
    ] {
        let url = proxy.url("/");
        let usual = [
            "-s",
            "--http2-prior-knowledge",
            "--data-binary",
            &sent_file,
            &url,
        ];
        let got = curl(&[more, &usual].concat());
        assert!(got == sent, "{more:?}: {} bytes came back", got.len());
    }
}

#[test]
fn many_streams_share_a_connection() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let url = proxy.url("/");
    let output = Command::new("h2load")
        .args(["-n", "2000", "-c", "4", "-m", "25", &url])
        .output()
        .expect("h2load runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("2000 succeeded, 0 failed, 0 errored"),
        "{text}"
    );
    let counted = || {
        proxy
            .metrics()
            .sum("tidegate_requests_total", &[("code", "2xx")])
    };
    wait_until("all are counted", || counted() == 2000.0);
    assert_eq!(origin.served(), 2000);
}

#[test]
fn a_head_request_and_answers_without_a_body() {
    let origin = Origin::answering("a", |request, stream| match request.target() {
        "/none" => reply(stream, 204, &[], ""),
        "/same" => reply(stream, 304, &[("etag", "x")], ""),
        _ => reply(stream, 200, &[], "12345"),
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let said = frames(
        &proxy,
        "c.request(1, 'HEAD', '/head')\nc.request(3, path='/none')\nc.request(5, path='/same')\n\
         say(c.whole(1), c.answer(1).field('content-length'))\nsay(c.whole(3))\nsay(c.whole(5), c.answer(5).field('etag'))",
    );
    assert_eq!(said, "200  5\n204 \n304  x\n");
}

#[test]
fn trailers_and_interim_answers_pass() {
    let origin = Origin::answering("a", |request, stream| {
        use std::io::Write;
        assert_eq!(request.trailers, b"x-sum: 7\r\n\r\n");
        stream.write_all(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
              3\r\nabc\r\n0\r\nx-end: 8\r\n\r\n",
        )
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let said = frames(
        &proxy,
        "c.request(1, 'POST', end=False)\nc.data(1, b'body', end=False)\nc.send(c.headers(1, [('x-sum', '7')]))\n\
         say(c.whole(1), [dict(h) for h in c.answer(1).heads][0].get('link'), c.answer(1).field('x-end'))",
    );
    assert_eq!(said, "200 abc </a> 8\n");
    assert_eq!(origin.last().header("transfer-encoding"), Some("chunked"));
}

#[test]
fn a_listener_may_do_without() {
    let origin = Origin::named("a");
    let lines = "pool = \"app\"\nhttp2 = { enabled = false }";
    let proxy = Proxy::start(listener("web", lines) + &pool("app", "", &[&origin]));
    let answer = proxy.send("PRI * HTTP/2.0");
    assert_eq!(answer.status(), 505);
    assert_eq!(proxy.access_log(1)[0]["fault"], "bad-version");
    assert_eq!(origin.served(), 0);
}

/// It is not silent.
#[test]
fn a_preface_that_breaks_off_is_closed_upon() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let mut client = tidegate_tests::Client::connect(proxy.address("web"));
    let mut socket = client.socket().try_clone().unwrap();
    client.write(b"PRI * HTTP/2.0\r\n\r\n").unwrap();
    // Its settings: it takes it for HTTP/2.
    socket.read_exact(&mut [0; 9]).unwrap();
    client.write(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = socket.read_to_end(&mut Vec::new());
    let timed_out = proxy
        .metrics()
        .sum("tidegate_connections_timed_out_total", &[]);
    assert_eq!((timed_out, origin.served()), (0.0, 0));
}

/// The preface may come in any pieces.
#[test]
fn a_preface_may_come_byte_by_byte() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let said = frames(
        &proxy,
        "c = Client.__new__(Client)\n\
         c.__init__ = None\n\
         import socket, hpack\n\
         c.socket = socket.create_connection(address(sys.argv[1]), timeout=20)\n\
         c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n\
         c.encoder, c.decoder = hpack.Encoder(), hpack.Decoder()\n\
         c.answers, c.goaway, c.closed, c.have, c.settings, c.pongs, c.acks, c.window, c.last = {}, None, False, b'', {}, 0, 0, None, None\n\
         for byte in PREFACE + frames.SettingsFrame(0).serialize():\n    c.socket.sendall(bytes([byte]))\n\
         c.request(1)\nsay(c.whole(1))",
    );
    assert_eq!(said, "200 a\n");
}
