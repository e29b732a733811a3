//! Servers that refuse, hang, break off or lie: what the client sees, and what the log says.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::{
    Client, Message, Origin, Port, Proxy, get, listener, pool, reply, server, site,
};

#[test]
fn a_server_that_refuses_is_passed_over() {
    let (good, gone) = (Origin::named("good"), Port::free());
    let proxy = Proxy::start(app("retries = 1", &[server(&good, ""), dead(&gone)]));
    assert_eq!(proxy.origins("/", 20), vec!["good"; 20]);
    let log = proxy.access_log(20);
    let tried_twice = log.iter().filter(|line| line["attempts"] == 2).count();
    assert!(
        tried_twice > 0,
        "some requests met the dead server first: {log:?}"
    );
}

#[test]
fn a_body_is_not_lost_by_a_retry() {
    let (good, gone) = (Origin::named("good"), Port::free());
    let proxy = Proxy::start(app("retries = 2", &[dead(&gone), server(&good, "")]));
    for _ in 0..6 {
        let answer = proxy.send("POST / HTTP/1.1\nhost: x\ncontent-length: 5\n\nhello");
        assert_eq!(answer.status(), 200);
        assert_eq!(good.last().body, b"hello");
    }
}

#[test]
fn no_server_that_answers_is_502_with_a_page_and_an_id() {
    let ports = [Port::free(), Port::free()];
    let proxy = Proxy::start(app("retries = 3", &[dead(&ports[0]), dead(&ports[1])]));
    let answer = proxy.get("/");
    assert!([502, 503].contains(&answer.status()), "{}", answer.first);
    expect_page(&answer);
    let line = &proxy.access_log(1)[0];
    assert_eq!(line["status"], answer.status());
    assert_eq!(line["request_id"].as_str(), answer.header("x-request-id"));
}

#[test]
fn a_server_too_slow_to_answer_is_504() {
    let slow = Origin::answering("slow", |request, stream| {
        if request.target() == "/slow" {
            thread::sleep(Duration::from_secs(3));
        }
        reply(stream, 200, &[], "slow\n")
    });
    let proxy = Proxy::start(app(
        "timeouts = { first-byte = \"200ms\" }\nretries = 0",
        &[server(&slow, "")],
    ));
    let start = Instant::now();
    let answer = proxy.get("/slow");
    assert_eq!(answer.status(), 504);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    expect_page(&answer);
    assert_eq!(
        proxy.get("/").status(),
        200,
        "the next request is none the worse"
    );
}

#[test]
fn an_answer_that_breaks_off_is_not_passed_off_as_whole() {
    let origin = Origin::answering("cut", |request, stream| {
        match request.target() {
            "/sized" => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")?,
            _ => stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")?,
        }
        Err(io::ErrorKind::Other.into())
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    for path in ["/sized", "/chunked"] {
        let mut client = Client::connect(proxy.address("web"));
        let answer = client.try_ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
        assert!(answer.is_err(), "{path}: {answer:?}");
    }
}

#[test]
fn an_answer_that_stalls_is_given_up() {
    let origin = Origin::answering("stall", |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")?;
        thread::sleep(Duration::from_secs(5));
        Ok(())
    });
    let proxy = Proxy::start(app(
        "timeouts = { between-bytes = \"300ms\" }",
        &[server(&origin, "")],
    ));
    let start = Instant::now();
    let answer = Client::connect(proxy.address("web")).try_ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(answer.is_err(), "{answer:?}");
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_server_that_speaks_no_http_is_502() {
    let origin = Origin::answering("liar", |_, stream| {
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")?;
        Err(io::ErrorKind::Other.into())
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 502);
    expect_page(&answer);
}

#[test]
fn a_kept_connection_that_the_server_closed_costs_no_request() {
    let origin = Origin::answering("closer", |_, stream| {
        reply(stream, 200, &[], "ok\n")?;
        Err(io::ErrorKind::Other.into())
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    assert_eq!(proxy.origins("/", 100), vec!["ok"; 100]);
}

#[test]
fn what_is_not_safe_to_repeat_is_not_repeated() {
    let breaking = || Origin::answering("breaks", |_, _| Err(io::ErrorKind::Other.into()));
    let (first, second) = (breaking(), breaking());
    let proxy = Proxy::start(app(
        "retries = 3",
        &[server(&first, ""), server_named(&second, "other")],
    ));
    let answer = proxy.send("POST / HTTP/1.1\nhost: x\ncontent-length: 2\n\nhi");
    assert_eq!(answer.status(), 502);
    assert_eq!(
        first.served() + second.served(),
        1,
        "a POST that may have been carried out is not sent again"
    );
}

#[test]
fn a_client_that_never_finishes_its_head_is_let_go() {
    let origin = Origin::named("a");
    let config = listener(
        "web",
        "pool = \"app\"\ntimeouts = { request-head = \"300ms\" }",
    ) + &pool("app", "", &[&origin]);
    let proxy = Proxy::start(config);
    let mut client = Client::connect(proxy.address("web"));
    client
        .write(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ")
        .expect("sent");
    match client.read() {
        Ok(answer) => assert_eq!(answer.status(), 408),
        Err(e) => assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof, "closed"),
    }
    assert_eq!(get(proxy.address("web"), "/").status(), 200);
    assert_eq!(origin.served(), 1);
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let origin = Origin::named("a");
    let config = listener("web", "pool = \"app\"\ntimeouts = { idle = \"300ms\" }")
        + &pool("app", "", &[&origin]);
    let proxy = Proxy::start(config);
    let mut client = Client::connect(proxy.address("web"));
    assert_eq!(client.get("/").status(), 200);
    assert!(client.closed());
}

#[track_caller]
fn expect_page(answer: &Message) {
    assert!(answer.header("x-request-id").is_some(), "an id: {answer:?}");
    assert!(
        !answer.body.is_empty() && answer.body.len() < 2000,
        "a short page: {:?}",
        answer.text()
    );
}

fn app(lines: &str, servers: &[String]) -> String {
    listener("web", "pool = \"app\"")
        + &format!(
            "[[pool]]\nname = \"app\"\nbalancer = \"round-robin\"\n{lines}\nservers = [{}]\n",
            servers.join(", ")
        )
}

fn dead(port: &Port) -> String {
    format!(
        "{{ name = \"dead-{}\", address = \"{}\" }}",
        port.number(),
        port.address()
    )
}

fn server_named(origin: &Origin, name: &str) -> String {
    format!(
        "{{ name = \"{name}\", address = \"{}\" }}",
        origin.address()
    )
}
