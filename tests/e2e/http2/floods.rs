//! Clients that make work of nothing: the connection ends with ENHANCE_YOUR_CALM (11), and who is served beside them notices nothing.

use tidegate_tests::{Origin, Proxy, listener, pool, reply, site, wait_until};

use super::frames;

fn ended(said: &str) -> bool {
    said.trim() == "goaway 11" || said.trim() == "closed"
}

/// CVE-2023-44487.
#[test]
fn streams_that_are_reset_at_once() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let said = frames(
        &proxy,
        "for n in range(2000):\n    s = 2 * n + 1\n    c.request(s)\n    if not c.send(frames.RstStreamFrame(s, error_code=8)): break\n\
         c.until(lambda: c.goaway is not None)\nsay('goaway', c.goaway) if c.goaway is not None else say('closed')",
    );
    assert!(ended(&said), "{said}");
    assert!(
        origin.served() < 400,
        "{} requests got through",
        origin.served()
    );
    assert_eq!(proxy.get("/").status(), 200);
}

/// The same, slowly enough that each request is on its way before it is reset.
#[test]
fn streams_that_are_reset_one_by_one() {
    let origin = Origin::answering("a", |_, _| {
        std::thread::sleep(std::time::Duration::from_secs(30));
        Ok(())
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let said = frames(
        &proxy,
        "n = 0\nwhile c.goaway is None and not c.closed and n < 1000:\n    s = 2 * n + 1\n    n += 1\n    c.request(s, path='/hold')\n    \
         before = c.pongs\n    c.send(frames.PingFrame(0, opaque_data=b'12345678'))\n    c.until(lambda: c.pongs > before)\n    \
         c.send(frames.RstStreamFrame(s, error_code=8))\n\
         say('goaway', c.goaway) if c.goaway is not None else say('closed' if c.closed else 'endless')\nsay(n)",
    );
    let (end, count) = said.split_once('\n').expect("two lines");
    assert!(ended(end), "{said}");
    assert!(
        count.trim().parse::<u32>().expect("a number") <= 400,
        "{said}"
    );
}

#[test]
fn heads_without_an_end() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    for block in ["b''", "b'\\x00\\x01x' + bytes([100]) + b'a' * 100"] {
        let script = format!(
            "c.send(c.headers(1, [(':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'h')], whole=False))\n\
             for n in range(100000):\n    if not c.send(frames.ContinuationFrame(1, data={block})): break\n\
             c.until(lambda: c.goaway is not None)\nsay('goaway', c.goaway) if c.goaway is not None else say('closed')"
        );
        let said = frames(&proxy, &script);
        assert!(ended(&said), "{said}");
    }
    assert_eq!(origin.served(), 0);
}

#[test]
fn a_header_list_that_unpacks_to_much() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    // One field in the dynamic table, named again and again, a byte each time.
    let said = frames(
        &proxy,
        "head = c.encoder.encode([(':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'h'), ('x', 'a' * 4000)])\n\
         f = frames.HeadersFrame(1, data=head + b'\\xbe' * 10000)\nf.flags.add('END_HEADERS')\nf.flags.add('END_STREAM')\n\
         c.send(f)\nsaid = c.whole(1)\nsay(said if isinstance(said, str) else said.status)",
    );
    assert!(ended(&said) || said.trim() == "431", "{said}");
    assert_eq!(origin.served(), 0);
}

#[test]
fn pings_settings_and_empty_frames() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    for frame in [
        "frames.PingFrame(0, opaque_data=b'12345678')",
        "frames.SettingsFrame(0, settings={4: 65535})",
        "frames.PriorityFrame(1, depends_on=0, stream_weight=1)",
        "frames.WindowUpdateFrame(0, window_increment=1)",
    ] {
        let script = format!(
            "import threading\nthreading.Thread(target=lambda: c.until(lambda: c.goaway is not None), daemon=True).start()\n\
             for n in range(200000):\n    if not c.send({frame}) or c.goaway is not None: break\n\
             say(n < 199999)"
        );
        let said = frames(&proxy, &script);
        assert_eq!(said, "True\n", "{frame}");
    }
    assert_eq!(proxy.get("/").status(), 200);
}

/// A client that wants its answers to PING and never reads them.
#[test]
fn pings_that_nobody_reads_take_no_memory() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let before = proxy.process().memory();
    let script = "c.socket.settimeout(2)\nping = frames.PingFrame(0, opaque_data=b'12345678').serialize() * 1000\n\
                  for n in range(1000):\n    if not c.send(ping): break\nsay(n)";
    frames(&proxy, script);
    let grown = proxy.process().memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
}

#[test]
fn no_more_streams_than_were_granted() {
    let origin = Origin::answering("a", |_, stream| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        reply(stream, 200, &[], "a")
    });
    let lines = "pool = \"app\"\nhttp2 = { max-concurrent-streams = 3 }";
    let proxy = Proxy::start(listener("web", lines) + &pool("app", "", &[&origin]));
    let said = frames(
        &proxy,
        "c.until(lambda: c.settings)\nsay(c.settings[3])\nc.until(lambda: c.acks)\n\
         for n in range(5): c.request(2 * n + 1)\nfor n in range(5): say(c.whole(2 * n + 1))",
    );
    assert_eq!(said, "3\n200 a\n200 a\n200 a\nreset 7\nreset 7\n");
    wait_until("three were served", || origin.served() == 3);
}
