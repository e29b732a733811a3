//! What breaks the protocol (RFC 9113, 4 to 6, and what RFC 7541 says of header blocks), in raw frames: it ends the stream or the
//! connection with the error that the standard has for it, and nothing reaches a server. What looks odd and is allowed is answered.

use tidegate_tests::{Origin, Proxy, reply, site};

use super::frames;

/// What is sent, and how the connection, or stream 1, ends; `200 a` is an answer on it.
const CASES: &[(&str, &str)] = &[
    // Frames where none of their kind may be.
    ("raw(0, 0, 0, b'x')", "goaway 1"),
    ("raw(1, 4, 0, b'')", "goaway 1"),
    ("raw(1, 5, 2, GET)", "goaway 1"),
    ("raw(0, 0, 1, b'x')", "goaway 1"),
    ("raw(3, 0, 1, b'\\0\\0\\0\\x08')", "goaway 1"),
    ("raw(3, 0, 0, b'\\0\\0\\0\\x08')", "goaway 1"),
    ("raw(8, 0, 1, b'\\0\\0\\0\\x08')", "goaway 1"),
    ("raw(9, 4, 1, b'')", "goaway 1"),
    ("raw(5, 4, 1, b'\\0\\0\\0\\2' + GET)", "goaway 1"),
    ("raw(4, 0, 1, b'')", "goaway 1"),
    ("raw(6, 0, 1, b'12345678')", "goaway 1"),
    ("raw(1, 1, 1, GET) + raw(6, 0, 0, b'12345678')", "goaway 1"),
    ("raw(1, 1, 1, GET) + raw(9, 4, 3, b'')", "goaway 1"),
    ("raw(1, 1, 1, GET) + raw(1, 5, 3, GET)", "goaway 1"),
    // Lengths that they may not have.
    ("raw(0, 0, 1, b'x' * 16385)", "goaway 6"),
    ("raw(6, 0, 0, b'1234567')", "goaway 6"),
    ("raw(4, 0, 0, b'12345')", "goaway 6"),
    ("raw(4, 1, 0, b'123456')", "goaway 6"),
    ("raw(8, 0, 0, b'123')", "goaway 6"),
    ("raw(1, 0x25, 1, b'1234')", "goaway 6"),
    ("raw(1, 0xd, 1, b'\\x09' + GET)", "goaway 1"),
    ("raw(1, 4, 1, POST) + raw(0, 8, 1, b'\\x09abc')", "goaway 1"),
    // Settings and windows.
    ("raw(4, 0, 0, b'\\0\\2\\0\\0\\0\\2')", "goaway 1"),
    ("raw(4, 0, 0, b'\\0\\4\\x80\\0\\0\\0')", "goaway 3"),
    ("raw(4, 0, 0, b'\\0\\5\\0\\0\\0\\1')", "goaway 1"),
    ("raw(8, 0, 0, b'\\0\\0\\0\\0')", "goaway 1"),
    ("raw(8, 0, 0, b'\\x7f\\xff\\xff\\xff')", "goaway 3"),
    (
        "raw(1, 4, 1, POST) + raw(8, 0, 1, b'\\0\\0\\0\\0')",
        "reset 1",
    ),
    (
        "raw(1, 4, 1, POST) + raw(8, 0, 1, b'\\x7f\\xff\\xff\\xff')",
        "reset 3",
    ),
    // Header blocks that cannot be read.
    ("raw(1, 5, 1, b'\\x80')", "goaway 9"),
    ("raw(1, 5, 1, b'\\xbe')", "goaway 9"),
    ("raw(1, 5, 1, GET + b'\\x40')", "goaway 9"),
    ("raw(1, 5, 1, GET + b'\\x20')", "goaway 9"),
    ("raw(1, 5, 1, b'\\x3f\\xe1\\x7f' + GET)", "goaway 9"),
    ("raw(1, 5, 1, GET + b'\\0\\x81\\xff\\0')", "goaway 9"),
    ("raw(1, 4, 1, POST) + raw(1, 5, 1, b'\\xbf')", "goaway 9"),
    // Streams that are over.
    ("raw(1, 5, 1, GET) + raw(0, 1, 1, b'x')", "reset 5"),
    (
        "raw(1, 5, 1, GET) + raw(1, 5, 1, b'\\0\\1a\\1b')",
        "reset 5",
    ),
    ("raw(1, 5, 5, GET) + raw(1, 5, 3, GET)", "goaway 5"),
    // Trailers.
    (
        "raw(1, 4, 1, POST) + raw(1, 4, 1, b'\\0\\1a\\1b')",
        "reset 1",
    ),
    ("raw(1, 4, 1, POST) + raw(1, 5, 1, b'\\x88')", "reset 1"),
    // Odd, and allowed.
    ("raw(1, 0xd, 1, b'\\x03' + GET + b'\\0\\0\\0')", "200 a"),
    ("raw(1, 0x25, 1, b'\\0\\0\\0\\0\\x10' + GET)", "200 a"),
    (
        "raw(1, 1, 1, b'') + raw(9, 0, 1, GET[:1]) + raw(9, 4, 1, GET[1:])",
        "200 a",
    ),
    (
        "raw(0x77, 0xff, 1, b'what') + raw(0x77, 0, 0, b'') + raw(1, 5, 1, GET)",
        "200 a",
    ),
    ("raw(2, 0, 1, b'12345') + raw(1, 5, 1, GET)", "200 a"),
    (
        "raw(4, 0, 0, b'\\x12\\x34\\0\\0\\0\\0') + raw(1, 5, 1, GET)",
        "200 a",
    ),
    (
        "raw(1, 4, 1, POST) + raw(0, 8, 1, b'\\x03ab\\0\\0\\0') + raw(0, 9, 1, b'\\0c')",
        "200 a",
    ),
    (
        "raw(1, 4, 1, POST) + raw(0, 0, 1, b'abc') + raw(1, 5, 1, b'\\0\\1a\\1b')",
        "200 a",
    ),
    ("raw(1, 5, 1, b'\\x20\\x3f\\xe1\\x1f' + GET)", "200 a"),
    (
        "raw(1, 5, 1, GET) + raw(8, 0, 1, b'\\0\\0\\0\\x08')",
        "200 a",
    ),
];

#[test]
fn the_error_is_the_standards() {
    let origin = Origin::recorded("a", |_, stream| reply(stream, 200, &[], "a"));
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let cases: Vec<_> = CASES.iter().map(|(sent, _)| *sent).collect();
    let script = format!(
        "import struct\n\
         GET = bytes([0x82, 0x86, 0x84, 0x41, 1]) + b'h'\nPOST = bytes([0x83, 0x86, 0x84, 0x41, 1]) + b'h'\n\
         def raw(kind, flags, stream, payload):\n    \
             return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload\n\
         for case in {cases:?}:\n    c = Client(sys.argv[1])\n    c.send(eval(case))\n    say(c.whole(1))"
    );
    let said = frames(&proxy, &script);
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said.len(), CASES.len());
    let wrong: Vec<_> = CASES
        .iter()
        .zip(&said)
        .filter(|((_, expected), said)| expected != *said)
        .map(|((sent, expected), said)| format!("{sent}: expected {expected}, got {said}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(proxy.get("/").text(), "a");
}

/// A client may use more than a window that it has not heard of yet, and no more than one that it has.
#[test]
fn a_window_holds_once_it_is_known() {
    let origin = Origin::answering("a", |_, stream| reply(stream, 200, &[], "a"));
    let lines = "pool = \"app\"\nhttp2 = { initial-window = \"16KiB\" }";
    let config = tidegate_tests::listener("web", lines);
    let proxy = Proxy::start(config + &tidegate_tests::pool("app", "", &[&origin]));
    let said = frames(
        &proxy,
        "c.request(1, 'POST', end=False)\nc.data(1, b'x' * 60000)\nsay(c.whole(1))\n\
         c.until(lambda: c.acks)\nc.send(frames.SettingsFrame(0, flags=['ACK']))\n\
         c.request(3, 'POST', '/held', end=False)\nc.data(3, b'x' * 70000)\nsay(c.whole(3))",
    );
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said[0], "200 a");
    assert!(["reset 3", "200 a"].contains(&said[1]), "{said:?}");
}

/// What HPACK's tables hold on either side is of the connection, whatever becomes of the streams.
#[test]
fn refused_and_reset_streams_leave_the_tables_in_step() {
    let origin = Origin::answering("a", |request, stream| {
        reply(
            stream,
            200,
            &[("x-seen", request.header("x-new").unwrap_or("none"))],
            "a",
        )
    });
    let lines = "pool = \"app\"\nhttp2 = { max-concurrent-streams = 1 }";
    let config = tidegate_tests::listener("web", lines);
    let proxy = Proxy::start(config + &tidegate_tests::pool("app", "", &[&origin]));
    let said = frames(
        &proxy,
        "for n in range(40):\n    s, value = 8 * n + 1, 'v' * (n * 20 % 700) + str(n)\n    \
             c.request(s, 'POST', fields=[('x-old', value)], end=False)\n    c.request(s + 2, fields=[('x-new', value)])\n    \
             assert str(c.whole(s + 2)) == 'reset 7'\n    c.data(s, b'')\n    assert str(c.whole(s)) == '200 a'\n    \
             c.request(s + 4, fields=[('x-new', value)])\n    assert str(c.whole(s + 4)) == '200 a'\n    \
             assert c.answer(s + 4).field('x-seen') == value\nsay('in step')",
    );
    assert_eq!(said, "in step\n");
}
