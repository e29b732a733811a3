//! What a listener does with bodies: how long a request's may be, answers that are compressed, pages for errors.

use std::io::{ErrorKind, Write};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use tidegate_tests::{
    Client, Message, Origin, Process, Proxy, Setup, curl, listener, pool, reply, wait_for,
    wait_until,
};

#[test]
fn a_body_that_is_said_to_be_too_long_is_413_and_no_server_hears_of_it() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(web("max-body = \"10B\"", &origin));
    let post = |length: usize| {
        format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{}",
            "x".repeat(length)
        )
    };
    let ask = |request: &str| Client::connect(proxy.address("web")).ask(request);
    assert_eq!(ask(&post(10)).status(), 200);
    assert_eq!(origin.served(), 1);
    assert_eq!(ask(&post(11)).status(), 413);
    // Who waits for a word before sending is spared the sending.
    let mut waiting = Client::connect(proxy.address("web"));
    waiting
        .write(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 11\r\n\r\n")
        .unwrap();
    assert_eq!(waiting.read().unwrap().status(), 413);
    assert_eq!(origin.accepted(), 1, "the server was not even connected to");
    expect_too_large(&proxy, 2.0);
}

#[test]
fn chunks_beyond_the_bound_are_413_and_what_the_server_got_is_cut_off() {
    let origin = Origin::recorded("a", |_, stream| reply(stream, 200, &[], "all of it\n"));
    let proxy = Proxy::start(web("max-body = \"10B\"", &origin));
    let chunked = |body: &str| {
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        Client::connect(proxy.address("web")).ask(&format!("{head}{body}"))
    };
    assert_eq!(
        chunked("5\r\n12345\r\n5\r\n67890\r\n0\r\n\r\n").status(),
        200
    );
    let mut client = Client::connect(proxy.address("web"));
    client
        .write(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n")
        .unwrap();
    wait_until("the server has the beginning", || origin.accepted() >= 1);
    client.write(b"6\r\n678901\r\n").unwrap();
    assert_eq!(client.read().unwrap().status(), 413);
    expect_too_large(&proxy, 1.0);
    assert_eq!(origin.served(), 1, "the second request was never whole");
}

#[test]
fn an_answer_that_has_begun_outlives_a_body_that_is_too_long() {
    let (told, heard) = mpsc::channel();
    // It answers at the request's head, and goes on once the client has sent too much.
    let listener_socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener_socket.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener_socket.accept().unwrap();
        let mut head = [0; 4096];
        let _ = std::io::Read::read(&mut stream, &mut head).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nearly")
            .unwrap();
        heard.recv().unwrap();
        let _ = stream.write_all(b" end");
    });
    let proxy = Proxy::start(
        listener("web", "pool = \"app\"\nmax-body = \"10B\"")
            + &format!(
                "[[pool]]\nname = \"app\"\nservers = [{{ name = \"a\", address = \"{address}\" }}]\n"
            ),
    );
    let mut client = Client::connect(proxy.address("web"));
    client
        .write(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        .unwrap();
    wait_until("the answer has begun", || client.pending().unwrap() > 0);
    client
        .write(format!("14\r\n{}\r\n", "x".repeat(20)).as_bytes())
        .unwrap();
    told.send(()).unwrap();
    let answer = client.read().unwrap();
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (200, "early end")
    );
    assert!(client.closed());
    server.join().unwrap();
}

#[test]
fn curl_reads_every_coding_and_gets_the_one_it_likes_best() {
    let text: String = (0..2000).map(|n| format!("line {n}\n")).collect();
    let origin = page(&text, &[("content-type", "text/plain"), ("etag", "\"1\"")]);
    let proxy = Proxy::start(web("compression = {}", &origin));
    for (accepts, coding) in [
        ("gzip", Some("gzip")),
        ("br", Some("br")),
        ("zstd", Some("zstd")),
        ("gzip;q=0.8, br;q=0.9, zstd;q=0.1", Some("br")),
        ("gzip, br, zstd", Some("zstd")),
        ("identity", None),
        ("", None),
    ] {
        let url = proxy.url("/");
        let header = format!("accept-encoding: {accepts}");
        let seen = curl(&["--compressed", "--header", &header, &url]);
        assert_eq!(seen, text, "{accepts}");
        let raw = ask(&proxy, "GET", accepts);
        assert_eq!(raw.header("content-encoding"), coding, "{accepts}");
        assert_eq!(raw.header("vary"), Some("Accept-Encoding"), "{accepts}");
        let weak = coding.map_or("\"1\"", |_| "W/\"1\"");
        assert_eq!(raw.header("etag"), Some(weak), "{accepts}");
        assert_eq!(raw.header("content-length").is_none(), coding.is_some());
        assert_eq!(raw.body.len() < text.len() / 2, coding.is_some());
        let head = ask(&proxy, "HEAD", accepts);
        for name in ["content-encoding", "vary", "etag", "content-length"] {
            assert_eq!(
                head.header(name),
                raw.header(name),
                "HEAD, {accepts}: {name}"
            );
        }
    }
}

#[test]
fn what_must_stay_as_it_is_does() {
    let long = "x".repeat(4000);
    let kept = |headers: &[(&str, &str)], status: u16, text: &str| {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let text = text.to_owned();
        let own = text.clone();
        let origin = Origin::answering("a", move |_, stream| {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            reply(stream, status, &headers, &own)
        });
        let proxy = Proxy::start(web("compression = { min-size = \"2kB\" }", &origin));
        let answer = ask(&proxy, "GET", "gzip");
        (answer.text() == text, answer)
    };
    let plain = ("content-type", "text/plain; charset=utf-8");
    for (headers, status) in [
        (vec![plain, ("cache-control", "private, no-transform")], 200),
        (vec![plain, ("content-encoding", "x-own")], 200),
        (vec![plain, ("content-range", "bytes 0-3999/9000")], 206),
        (vec![plain], 206),
        (vec![("content-type", "image/png")], 200),
        (vec![], 200),
    ] {
        let (same, answer) = kept(&headers, status, &long);
        assert!(same && answer.header("vary").is_none(), "{headers:?}");
    }
    let (same, short) = kept(&[plain], 200, &"x".repeat(1999));
    assert!(same, "{:?}", short.headers);
    let (same, compressed) = kept(
        &[
            plain,
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("vary", "Origin"),
        ],
        404,
        &long,
    );
    assert!(!same);
    assert_eq!(compressed.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(compressed.all("vary"), ["Origin", "Accept-Encoding"]);
}

#[test]
fn a_stream_is_not_held_back_by_its_compression() {
    for coding in ["gzip", "br", "zstd"] {
        let step = Arc::new(AtomicUsize::new(1));
        let allowed = step.clone();
        let origin = Origin::answering("events", move |_, stream| {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n",
            )?;
            for event in 1..=3 {
                wait_until("the client has the event before", || {
                    allowed.load(Ordering::SeqCst) >= event
                });
                stream.write_all(format!("data: {event}\n\n").as_bytes())?;
            }
            Err(ErrorKind::Other.into())
        });
        let proxy = Proxy::start(web("compression = {}", &origin));
        let mut curl = Process::start(Command::new("curl").args([
            "--silent",
            "--no-buffer",
            "--compressed",
            "--max-time",
            "30",
            "--noproxy",
            "*",
            "--header",
            &format!("accept-encoding: {coding}"),
            &proxy.url("/"),
        ]));
        for event in 1..=3 {
            let line = format!("data: {event}");
            wait_for(&format!("{coding}: {line}"), || {
                curl.stdout().contains(&line).then_some(())
            });
            step.store(event + 1, Ordering::SeqCst);
        }
        wait_until("curl has the end", || curl.ended().is_some());
        assert!(curl.ended().unwrap().success());
    }
}

#[test]
fn errors_of_the_proxy_have_the_operators_pages() {
    let origin = Origin::answering("a", |_, stream| {
        reply(stream, 503, &[], "the server's own\n")
    });
    let gone = tidegate_tests::Port::free();
    let lines =
        "pool = \"gone\"\nerror-pages = { \"503\" = \"sorry.html\", \"4xx\" = \"what.json\" }";
    let routed = "[[route]]\npath = \"/up\"\npool = \"app\"\n";
    let down = format!(
        "[[pool]]\nname = \"gone\"\nservers = [{{ address = \"{}\" }}]\n",
        gone.address()
    );
    let config = listener("web", lines) + routed + &down + &pool("app", "", &[&origin]);
    let proxy = Setup::new(config)
        .file("sorry.html", "<h1>Back soon</h1>")
        .file("what.json", "{\"error\":true}")
        .start();
    let sorry = proxy.get("/");
    assert_eq!(
        (sorry.status(), sorry.text().as_str()),
        (503, "<h1>Back soon</h1>")
    );
    assert_eq!(
        sorry.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(sorry.header("cache-control"), Some("no-store"));
    assert!(sorry.header("x-request-id").is_some());
    let bad = proxy.send("GET / HTTP/1.1\nhost: a\nhost: b");
    assert_eq!(
        (bad.status(), bad.text().as_str()),
        (400, "{\"error\":true}")
    );
    assert_eq!(proxy.get("/up").text(), "the server's own");
}

/// Answers 200 with that text, and to HEAD as to GET.
fn page(text: &str, headers: &'static [(&str, &str)]) -> Origin {
    let text = text.to_owned();
    Origin::answering("a", move |request, stream| {
        let text = if request.method() == "HEAD" {
            let mut head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", text.len());
            for (name, value) in headers {
                head += &format!("{name}: {value}\r\n");
            }
            return stream.write_all((head + "\r\n").as_bytes());
        } else {
            &text
        };
        reply(stream, 200, headers, text)
    })
}

fn ask(proxy: &Proxy, method: &str, accepts: &str) -> Message {
    proxy.send(&format!(
        "{method} / HTTP/1.1\nhost: a\naccept-encoding: {accepts}"
    ))
}

fn web(lines: &str, origin: &Origin) -> String {
    listener("web", &format!("pool = \"app\"\n{lines}")) + &pool("app", "", &[origin])
}

#[track_caller]
fn expect_too_large(proxy: &Proxy, times: f64) {
    let word = "request-body-too-large";
    let line = wait_for("a log line", || {
        let lines = proxy.access_log(1);
        lines.into_iter().find(|line| line["fault"] == word)
    });
    assert_eq!(
        (&line["status"], &line["termination"]),
        (&413.into(), &"PR".into())
    );
    let labels = [("listener", "web"), ("fault", word)];
    wait_until("all are counted", || {
        proxy.metrics().sum("tidegate_faults_total", &labels) == times
    });
}
