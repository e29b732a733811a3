//! Streams beside each other: who is slow holds up himself alone, and what nobody waits for is given up.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_tests::{Origin, Proxy, listener, pool, reply, site, wait_for, wait_until};

use super::frames;

/// An origin that sends as much as it can, and counts it.
fn torrent(sent: &Arc<AtomicU64>) -> Origin {
    let sent = sent.clone();
    Origin::answering("a", move |request, stream| {
        if request.target() != "/torrent" {
            return reply(stream, 200, &[], "a");
        }
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"
        )?;
        let piece = vec![b'x'; 64 << 10];
        loop {
            stream.write_all(&piece)?;
            sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
        }
    })
}

/// Returns what was sent once that has stopped growing.
fn settled(sent: &AtomicU64) -> u64 {
    let mut before = u64::MAX;
    wait_for("the origin to be held up", || {
        let now = sent.load(Ordering::SeqCst);
        let same = now == before && now > 0;
        before = now;
        std::thread::sleep(Duration::from_millis(200));
        same.then_some(now)
    })
}

#[test]
fn a_client_that_does_not_read_holds_up_its_server_and_nobody_else() {
    for to_servers in ["http = \"1.1\"", "http = \"h2\""] {
        let sent = Arc::default();
        let origin = torrent(&sent);
        let inner = Proxy::start(site("round-robin", &[&origin]));
        let over_h2 = to_servers.contains("h2");
        let address = if over_h2 {
            inner.address("web")
        } else {
            origin.address()
        };
        let servers = format!(
            "\n[[pool]]\nname = \"app\"\n{to_servers}\nservers = [{{ address = \"{address}\" }}]\n"
        );
        let proxy = Proxy::start(listener("web", "pool = \"app\"") + &servers);
        let before = proxy.process().memory();
        let web = proxy.address("web").to_string();
        let reader = std::thread::spawn(move || {
            tidegate_tests::python(
                "import sys\nfrom frames import *\nc = Client(sys.argv[1], window=0)\nc.request(1, path='/torrent')\n\
                 c.until(lambda: len(c.answer(1).data) == 65535)\nc.request(3)\nc.until(lambda: c.answer(3).heads)\n\
                 c.send(frames.WindowUpdateFrame(0, window_increment=10))\nsay(c.whole(3))\ntime = __import__('time')\ntime.sleep(3)\n\
                 say(len(c.answer(1).data))",
                &[&web],
            )
        });
        let held = settled(&sent);
        assert!(held < 32 << 20, "{to_servers}: {held} bytes were sent");
        let grown = proxy.process().memory().saturating_sub(before);
        assert!(grown < 16 << 20, "{to_servers}: {grown} bytes more");
        assert_eq!(proxy.get("/").status(), 200);
        assert_eq!(reader.join().expect("it reads"), "200 a\n65535\n");
    }
}

#[test]
fn a_server_that_does_not_read_holds_up_its_client_and_nobody_else() {
    let origin = Origin::answering("a", |_, stream| reply(stream, 200, &[], "a"));
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = deaf.local_addr().expect("an address");
    let config = listener("web", "router = \"router\"")
        + "\n[[route]]\npath = \"/deaf\"\npool = \"deaf\"\n[[route]]\npath = \"/\"\npool = \"app\"\n"
        + &format!("\n[[pool]]\nname = \"deaf\"\nservers = [{{ address = \"{address}\" }}]\n")
        + &pool("app", "", &[&origin]);
    let proxy = Proxy::start(config);
    let before = proxy.process().memory();
    let said = frames(
        &proxy,
        "import h2.connection, h2.config, select\n\
         s = socket.create_connection(address(sys.argv[1]), timeout=20)\n\
         k = h2.connection.H2Connection()\nk.initiate_connection()\ns.sendall(k.data_to_send())\n\
         k.send_headers(1, [(':method', 'POST'), (':scheme', 'http'), (':path', '/deaf'), (':authority', 'h')])\n\
         s.sendall(k.data_to_send())\nsent, quiet, granted = 0, 0, False\n\
         while quiet < 5 and sent < 100_000_000:\n    \
             n = min(k.local_flow_control_window(1), 16384)\n    \
             if n > 0:\n        k.send_data(1, b'x' * n)\n        sent += n\n        s.sendall(k.data_to_send())\n    \
             if select.select([s], [], [], 0 if n > 0 else 0.3)[0]:\n        k.receive_data(s.recv(65536))\n        s.sendall(k.data_to_send())\n        quiet = 0\n    \
             elif n <= 0: quiet += 1\n\
         say(sent < 32_000_000)\n\
         k.send_headers(3, [(':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'h')], end_stream=True)\n\
         s.sendall(k.data_to_send())\nend = False\n\
         while not end:\n    \
             for e in k.receive_data(s.recv(65536)):\n        end = end or (type(e).__name__ == 'DataReceived' and e.stream_id == 3 and say(e.data.decode()) is None)",
    );
    assert_eq!(said, "True\na\n");
    let grown = proxy.process().memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
}

#[test]
fn a_stream_that_is_reset_ends_its_request() {
    let origin = Origin::recorded("a", |request, stream| match request.target() {
        "/hold" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1")?;
            Ok(())
        }
        "/wait" => Ok(()),
        _ => reply(stream, 200, &[], "a"),
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    for path in ["/hold", "/wait"] {
        let script = format!(
            "c.request(1, path='{path}')\ntime.sleep(0.3)\nc.send(frames.RstStreamFrame(1, error_code=8))\n\
             c.request(3, path='/after')\nsay(c.whole(3))"
        );
        assert_eq!(frames(&proxy, &script), "200 a\n");
        let line = proxy.logged(path);
        assert_eq!(line["fault"], "client-closed", "{line}");
        wait_until("the request's connection is closed", || {
            let heard = origin.recording().since(&Default::default());
            heard
                .iter()
                .any(|heard| heard.ended && String::from_utf8_lossy(&heard.bytes).contains(path))
        });
    }
}

#[test]
fn deadlines_are_a_streams_own() {
    let origin = Origin::answering("a", |request, stream| match request.target() {
        "/never" => {
            std::thread::sleep(Duration::from_secs(3));
            Ok(())
        }
        _ => reply(stream, 200, &[], "a"),
    });
    let lines = "timeouts = { first-byte = \"500ms\" }";
    let config = listener("web", "pool = \"app\"\ntimeouts = { body = \"500ms\" }")
        + &pool("app", lines, &[&origin]);
    let proxy = Proxy::start(config);
    let said = frames(
        &proxy,
        "c.request(1, path='/never')\nc.request(3, 'POST', '/slow-body', fields=[('content-length', '5')], end=False)\n\
         c.request(5, path='/fine')\nfor s in (5, 1, 3): say(str(c.whole(s)).split()[0])",
    );
    assert_eq!(said, "200\n504\n408\n");
    assert_eq!(proxy.logged("/never")["fault"], "first-byte-timeout");
    assert_eq!(proxy.logged("/slow-body")["fault"], "request-body-timeout");
}

#[test]
fn who_takes_nothing_is_given_up_as_is_who_takes_too_little() {
    let sent = Arc::default();
    let origin = torrent(&sent);
    for (lines, script, fault) in [
        (
            "timeouts = { body = \"500ms\" }",
            "c.until(lambda: c.answer(1).over)",
            "client-stalled",
        ),
        (
            "min-body-rate = \"100KiB\"\ntimeouts = { rate-grace = \"500ms\" }",
            "while not c.answer(1).over:\n    c.send(frames.WindowUpdateFrame(1, window_increment=100))\n    \
             c.send(frames.WindowUpdateFrame(0, window_increment=100))\n    n = len(c.answer(1).data)\n    \
             time.sleep(0.02)\n    c.until(lambda: len(c.answer(1).data) > n or c.answer(1).over)",
            "response-too-slow",
        ),
    ] {
        let config = listener("web", &format!("pool = \"app\"\n{lines}"));
        let proxy = Proxy::start(config + &pool("app", "", &[&origin]));
        let script = format!(
            "c = Client(sys.argv[1], window=0)\nc.request(1, path='/torrent')\n{script}\nsay(c.answer(1).reset)\n\
             c.request(3)\nc.send(frames.WindowUpdateFrame(0, window_increment=1000))\nsay(c.whole(3))"
        );
        assert_eq!(frames(&proxy, &script), "8\n200 a\n", "{fault}");
        assert_eq!(proxy.logged("/torrent")["fault"], fault);
    }
}

#[test]
fn an_answer_that_breaks_off_is_no_whole_one() {
    let origin = Origin::answering("a", |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1234")?;
        Err(std::io::ErrorKind::Other.into())
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    assert_eq!(
        frames(&proxy, "c.request(1, path='/cut')\nsay(c.whole(1))"),
        "reset 2\n"
    );
    assert_eq!(proxy.logged("/cut")["termination"], "SD");
}
