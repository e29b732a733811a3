//! What is tried again, after what, where, how often, and within which time; and what becomes of an answer whose server dies in the
//! middle of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::{
    Client, Message, Origin, Proxy, Raw, Server, curl, listener, pool, reply, wait_until,
};

#[test]
fn an_answer_that_is_to_be_tried_again_is_and_the_last_one_is_passed_on() {
    let (busy, well) = (Origin::answering("busy", busy), Origin::named("well"));
    let lines = "balancer = \"first\"\nretry-on = [\"503\", \"429\"]";
    let proxy = Proxy::start(site(lines, &[&busy, &well]));
    assert_eq!(proxy.get("/again").text(), "well");
    let line = proxy.logged("/again");
    assert_eq!(
        (&line["attempts"], &line["server"]),
        (&2.into(), &"well".into())
    );
    let only = Proxy::start(site(lines, &[&busy]));
    let answer = only.get("/last");
    assert_eq!((answer.status(), answer.text().as_str()), (503, "too busy"));
    let line = only.logged("/last");
    assert_eq!(
        (&line["fault"], &line["attempts"]),
        (&serde_json::Value::Null, &1.into())
    );
    wait_until("nothing is in flight", || {
        only.status()["pools"][0]["servers"][0]["in_flight"] == 0
    });
}

#[test]
fn only_what_is_safe_is_sent_twice_unless_the_pool_says_otherwise() {
    let (busy, well) = (Origin::answering("busy", busy), Origin::named("well"));
    let post = "POST / HTTP/1.1\nhost: a\ncontent-length: 0";
    let status = |more: &str| {
        let lines = format!("balancer = \"first\"\nretry-on = [\"5xx\"]\n{more}");
        Proxy::start(site(&lines, &[&busy, &well]))
            .send(post)
            .status()
    };
    assert_eq!(status(""), 503);
    assert_eq!(status("retry-unsafe = true"), 200);
}

#[test]
fn a_body_is_repeated_where_it_is_kept() {
    let (busy, well) = (Origin::answering("busy", busy), Origin::named("well"));
    let lines = "balancer = \"first\"\nretry-on = [\"503\"]\nretry-body = \"1KiB\"";
    let proxy = Proxy::start(site(lines, &[&busy, &well]));
    let put = |length: usize| {
        let body = "b".repeat(length);
        proxy.send(&format!(
            "PUT / HTTP/1.1\nhost: a\ncontent-length: {length}\n\n{body}"
        ))
    };
    assert_eq!(put(1024).text(), "well");
    assert_eq!(well.last().body, b"b".repeat(1024));
    assert_eq!(busy.last().body, b"b".repeat(1024));
    assert_eq!(put(1025).status(), 503, "too long to be kept");
    let chunked = "PUT / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n3\nabc\n0\n\n";
    assert_eq!(
        proxy.send(chunked).status(),
        503,
        "nobody says how long it is"
    );
    let post = "POST / HTTP/1.1\nhost: a\ncontent-length: 3\n\nabc";
    assert_eq!(proxy.send(post).status(), 503, "a POST is not safe");
}

#[test]
fn bodies_are_kept_where_there_is_room_for_all_of_them() {
    let (busy, well) = (Origin::answering("busy", busy), Origin::named("well"));
    let lines = "balancer = \"first\"\nretry-on = [\"503\"]\nretry-body = \"1KiB\"";
    let site = site(lines, &[&busy, &well]);
    let proxy = Proxy::start(format!("[proxy]\nretry-bodies = \"1KiB\"\n{site}"));
    let put = || {
        let body = "b".repeat(25);
        proxy.send(&format!(
            "PUT / HTTP/1.1\nhost: a\ncontent-length: 25\n\n{body}"
        ))
    };
    let mut slow = Client::connect(proxy.address("web"));
    slow.write(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n")
        .unwrap();
    wait_until("the slow one has its room", || {
        let of_all = [("listener", "web")];
        proxy.metrics().sum("tidegate_requests_in_flight", &of_all) == 1.0
    });
    assert_eq!(put().status(), 503, "it is not kept, so it is not repeated");
    let refused = [("pool", "app")];
    let refused = proxy
        .metrics()
        .sum("tidegate_retry_bodies_refused_total", &refused);
    assert_eq!(refused, 1.0);
    slow.write(&[b's'; 1000]).unwrap();
    assert_eq!(slow.read().unwrap().status(), 200);
    wait_until("there is room again", || put().status() == 200);
}

/// From the request's head on, whatever is waited for.
#[test]
fn the_deadline_of_all_attempts_is_that_of_a_body_that_is_kept_too() {
    let origin = Origin::named("a");
    let lines = "retry-body = \"1KiB\"\ntimeouts = { total = \"150ms\" }";
    let proxy = Proxy::start(site(lines, &[&origin]));
    let mut client = Client::connect(proxy.address("web"));
    client
        .write(b"PUT /late HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nwo")
        .unwrap();
    assert_eq!(client.read().unwrap().status(), 504);
    assert_eq!(proxy.logged("/late")["fault"], "total-timeout");
    assert_eq!(origin.served(), 0);
}

#[test]
fn a_client_that_waits_for_leave_may_send_a_body_that_is_kept() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("retry-body = \"1KiB\"", &[&origin]));
    let url = proxy.url("/");
    let said = curl(&[
        "-X",
        "PUT",
        "-H",
        "expect: 100-continue",
        "-d",
        "words",
        &url,
    ]);
    assert_eq!(said.trim(), "a");
    assert_eq!(origin.last().body, b"words");
}

#[test]
fn silence_and_nonsense_are_tried_again_where_the_pool_says_so() {
    let well = Origin::named("well");
    let silent = Origin::answering("silent", |_, _| Ok(()));
    let mad = Origin::answering("mad", |_, stream| {
        stream.write_all(b"220 mail.example ESMTP\r\n\r\n")
    });
    for (bad, on, fault) in [
        (&silent, "timeout", "first-byte-timeout"),
        (&mad, "junk", "bad-response"),
    ] {
        let lines = "balancer = \"first\"\ntimeouts = { first-byte = \"150ms\" }";
        let proxy = Proxy::start(site(lines, &[bad, &well]));
        assert!(proxy.get("/once").status() >= 502);
        assert_eq!(proxy.logged("/once")["fault"], fault);
        let lines = format!("{lines}\nretry-on = [\"{on}\"]");
        let proxy = Proxy::start(site(&lines, &[bad, &well]));
        assert_eq!(proxy.get("/").text(), "well", "{on}");
    }
}

#[test]
fn nothing_is_tried_again_that_retry_on_does_not_name() {
    let (dead, well) = (Origin::named("dead"), Origin::named("well"));
    dead.stop();
    let proxy = Proxy::start(site("balancer = \"first\"\nretry-on = []", &[&dead, &well]));
    assert_eq!(proxy.get("/").status(), 503);
    assert_eq!(proxy.logged("/")["attempts"], 1);
}

#[test]
fn each_attempt_goes_to_another_server() {
    let bad = ["a", "b", "c"].map(|name| Origin::answering(name, busy));
    let proxy = Proxy::start(site(
        "retries = 5\nretry-on = [\"503\"]",
        &[&bad[0], &bad[1], &bad[2]],
    ));
    assert_eq!(proxy.get("/").status(), 503);
    assert_eq!(proxy.logged("/")["attempts"], 3);
    assert!(bad.iter().all(|origin| origin.served() == 1));
}

#[test]
fn all_attempts_together_have_a_deadline() {
    let tries = Arc::new(AtomicUsize::new(0));
    let silent = ["a", "b", "c"].map(|name| {
        let tries = tries.clone();
        Origin::answering(name, move |_, _| {
            tries.fetch_add(1, SeqCst);
            Ok(())
        })
    });
    let proxy = Proxy::start(site(
        "retries = 10\nretry-on = [\"timeout\"]\ntimeouts = { first-byte = \"200ms\", total = \"300ms\" }",
        &[&silent[0], &silent[1], &silent[2]],
    ));
    let begun = Instant::now();
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 504);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let line = proxy.logged("/");
    assert_eq!(
        (&line["fault"], &line["termination"], &line["attempts"]),
        (&"total-timeout".into(), &"sH".into(), &2.into())
    );
    assert_eq!(tries.load(SeqCst), 2);
    wait_until("nothing is in flight", || {
        let status = proxy.status();
        let servers = status["pools"][0]["servers"].as_array().unwrap().clone();
        servers.iter().all(|server| server["in_flight"] == 0)
    });
    // One that is answered in time is as if there were no deadline, however long its body takes.
    let slow = Origin::answering("slow", |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")?;
        thread::sleep(Duration::from_millis(500));
        stream.write_all(b"b")
    });
    let proxy = Proxy::start(site("timeouts = { total = \"300ms\" }", &[&slow]));
    assert_eq!(proxy.get("/").text(), "ab");
}

#[test]
fn retries_have_a_budget() {
    // Both hold what they get for a moment, so that several retries are under way at a time.
    let bad = ["a", "b"].map(|name| {
        Origin::answering(name, |request, stream| {
            thread::sleep(Duration::from_millis(300));
            busy(request, stream)
        })
    });
    let proxy = Proxy::start(site(
        "retries = 1\nretry-on = [\"503\"]\nretry-budget = { share = \"0%\", min = 2 }",
        &[&bad[0], &bad[1]],
    ));
    let address = proxy.address("web");
    let all: Vec<_> = (0..8)
        .map(|n| thread::spawn(move || Client::connect(address).get(&format!("/{n}")).status()))
        .collect();
    for one in all {
        assert_eq!(one.join().unwrap(), 503);
    }
    let refused = || {
        let labels = [("pool", "app")];
        proxy
            .metrics()
            .sum("tidegate_retries_refused_total", &labels)
    };
    let served: usize = bad.iter().map(Origin::served).sum();
    assert_eq!(served as f64 + refused(), 16.0);
    assert!((2.0..=6.0).contains(&refused()), "{}", refused());
    let lines = proxy.access_log(8);
    let told = lines
        .iter()
        .filter(|line| line["reasons"]["retry-budget"].is_string());
    assert_eq!(told.count() as f64, refused());
}

/// A death in the middle of an answer never looks like its end.
#[test]
fn an_answer_whose_server_dies_reaches_the_client_as_a_cut() {
    let heads = [
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        // Only a reset tells its death from its end.
        "HTTP/1.1 200 OK\r\n\r\nhalf",
    ];
    for head in heads {
        let (die, dies) = mpsc::channel();
        let dies = Mutex::new(dies);
        let server = Raw::serving(move |mut stream| {
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked)?;
            stream.write_all(head.as_bytes())?;
            let _ = dies.lock().unwrap().recv();
            // Which sends a reset.
            rustix::net::connect_unspec(&stream)?;
            Ok(())
        });
        let address = server.address();
        let servers = format!("servers = [{{ address = \"{address}\" }}]");
        let proxy = Proxy::start(
            listener("web", "pool = \"app\"") + &format!("\n[[pool]]\nname = \"app\"\n{servers}\n"),
        );
        expect_cuts(&proxy, head, || die.send(()).unwrap());
    }
}

#[test]
fn a_stream_whose_server_dies_reaches_the_client_as_a_cut() {
    for (how, death) in [
        ("the connection", "self.socket.shutdown(2)"),
        (
            "the stream",
            "self.h2.reset_stream(stream, 2); self.flush()",
        ),
    ] {
        let server = Server::start(&format!(
            "from serving import *\n\
             class C(Connection):\n    \
                 def ended(self, stream, request):\n        \
                     self.h2.send_headers(stream, [(':status', '200')])\n        \
                     self.h2.send_data(stream, b'half')\n        \
                     def die():\n            {death}\n        \
                     self.later(0.1, die)\n\
             serve(C)"
        ));
        let proxy = Proxy::start(
            listener("web", "pool = \"app\"")
                + &format!(
                    "\n[[pool]]\nname = \"app\"\nhttp = \"h2\"\nservers = [{{ address = \"{}\" }}]\n",
                    server.address()
                ),
        );
        expect_cuts(&proxy, how, || ());
    }
}

/// Neither a client of HTTP/1.1 nor one of HTTP/2 takes it for whole. The server dies once half of it is there.
#[track_caller]
fn expect_cuts(proxy: &Proxy, what: &str, die: impl Fn()) {
    let mut client = TcpStream::connect(proxy.address("web")).unwrap();
    client
        .write_all(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    let mut seen = read_half(&mut client);
    die();
    // An error is as good a sign.
    let _ = client.read_to_end(&mut seen);
    let seen = String::from_utf8_lossy(&seen);
    assert!(!seen.ends_with("0\r\n\r\n"), "{what}: {seen}");
    assert!(
        seen.contains("content-length: 1000") || seen.contains("chunked"),
        "{what}: {seen}"
    );
    let mut curl = Command::new("curl")
        .args([
            "-sN",
            "--noproxy",
            "*",
            "--http2-prior-knowledge",
            "--max-time",
            "20",
        ])
        .arg(proxy.url("/2"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed; tests/run sees to it");
    read_half(curl.stdout.as_mut().expect("it is piped"));
    die();
    let code = curl.wait().expect("curl ends").code();
    assert_eq!(code, Some(92), "{what}: a stream that was reset");
    for target in ["/1", "/2"] {
        let line = proxy.logged(target);
        assert_eq!(
            (&line["fault"], &line["termination"], &line["status"]),
            (&"server-aborted".into(), &"SD".into(), &200.into()),
            "{what}"
        );
    }
}

fn read_half(from: &mut impl Read) -> Vec<u8> {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|four| four == b"half") {
        let mut byte = [0];
        from.read_exact(&mut byte).expect("half of it comes");
        seen.push(byte[0]);
    }
    seen
}

fn busy(_: &Message, stream: &mut TcpStream) -> std::io::Result<()> {
    reply(stream, 503, &[("retry-after", "1")], "too busy\n")
}

fn site(lines: &str, origins: &[&Origin]) -> String {
    listener("web", "pool = \"app\"") + &pool("app", lines, origins)
}
