//! Chunked bodies that are none (RFC 9112, 7.1). Behind each stands a request that must never be seen as one.

use crate::case::{Broken, SMUGGLED, controls, join};

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

pub fn cases() -> Vec<Broken> {
    [sizes(), extensions(), data(), trailers()].concat()
}

fn broken(what: String, body: impl AsRef<[u8]>) -> Broken {
    let sent = join(&[HEAD, body.as_ref(), SMUGGLED]);
    Broken { what, sent }
}

fn sizes() -> Vec<Broken> {
    let lines = [
        "",
        "x",
        " 5",
        "\t5",
        "+5",
        "-5",
        "0x5",
        "5x",
        "x5",
        "5h",
        "5,",
        "5.",
        "5.0",
        "\"5\"",
        "5 5",
        "5 x",
        "5\t5",
        "5 \t5",
        "00000000000000005",
        "FFFFFFFFFFFFFFFF",
        "8000000000000000",
        "10000000000000005",
        "fffffffffffffffff",
        "\u{ff15}",
        "5\0",
        "\u{b}5",
        "5\u{b}",
    ];
    let mut cases: Vec<Broken> = lines
        .into_iter()
        .map(|line| {
            broken(
                format!("chunk size: {line:?}"),
                format!("{line}\r\nhello\r\n0\r\n\r\n"),
            )
        })
        .collect();
    cases.push(broken(
        "chunk size: bare LF".into(),
        "5\nhello\r\n0\r\n\r\n",
    ));
    cases.push(broken(
        "chunk size: bare CR".into(),
        "5\rhello\r\n0\r\n\r\n",
    ));
    cases.push(broken(
        "chunk size: CR twice".into(),
        "5\r\r\nhello\r\n0\r\n\r\n",
    ));
    cases.push(broken("chunk size: all LF".into(), "5\nhello\n0\n\n"));
    cases.push(broken(
        "chunk size: a negative end".into(),
        "5\r\nhello\r\n-0\r\n\r\n",
    ));
    cases
}

fn extensions() -> Vec<Broken> {
    let mut cases: Vec<Broken> = controls()
        .map(|byte| {
            let body = join(&[b"5;a", &[byte], b"b\r\nhello\r\n0\r\n\r\n"]);
            broken(format!("chunk extension: byte {byte:02x}"), body)
        })
        .collect();
    cases.push(broken(
        "chunk extension: bare LF".into(),
        "5;a\nhello\r\n0\r\n\r\n",
    ));
    cases.push(broken(
        "chunk extension: bare CR".into(),
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
    ));
    cases.push(broken(
        "chunk extension: bare LF in quotes".into(),
        "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
    ));
    cases.push(broken(
        "chunk extension: 300 bytes".into(),
        format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(300)),
    ));
    cases.push(broken(
        "chunk extension: blanks, 300 bytes".into(),
        format!("5{}\r\nhello\r\n0\r\n\r\n", " ".repeat(300)),
    ));
    cases.push(broken(
        "chunk extension: of the last chunk, bare LF".into(),
        "5\r\nhello\r\n0;a\n\r\n",
    ));
    cases
}

fn data() -> Vec<Broken> {
    let bodies = [
        ("nothing behind the data", "5\r\nhello0\r\n\r\n"),
        ("bare LF behind the data", "5\r\nhello\n0\r\n\r\n"),
        ("bare CR behind the data", "5\r\nhello\r0\r\n\r\n"),
        ("more data than the size", "3\r\nhello\r\n0\r\n\r\n"),
        ("less data than the size", "6\r\nhello\r\n0\r\n\r\n"),
        (
            "two line ends behind the data",
            "5\r\nhello\r\n\r\n0\r\n\r\n",
        ),
    ];
    bodies
        .into_iter()
        .map(|(what, body)| broken(format!("chunk: {what}"), body))
        .collect()
}

fn trailers() -> Vec<Broken> {
    let case =
        |what: String, lines: &[u8]| broken(what, join(&[b"5\r\nhello\r\n0\r\n", lines, b"\r\n"]));
    let lines: [&[u8]; 17] = [
        b"X: a\n",
        b"X: a\r",
        b"X: a\rb\r\n",
        b"\n",
        b"\r",
        b" X: a\r\n",
        b"\tX: a\r\n",
        b"X: a\r\n b\r\n",
        b"X : a\r\n",
        b": a\r\n",
        b"X\r\n",
        b"X: \0\r\n",
        b"X\0: a\r\n",
        b"X: \x7f\r\n",
        b"X Y: a\r\n",
        b"X(: a\r\n",
        b"\xff: a\r\n",
    ];
    let mut cases: Vec<Broken> = lines
        .into_iter()
        .map(|lines| {
            case(
                format!("trailer: {:?}", String::from_utf8_lossy(lines)),
                lines,
            )
        })
        .collect();
    let never = [
        "Transfer-Encoding: chunked",
        "Content-Length: 5",
        "content-length: 5",
        "Host: evil",
        "Connection: close",
        "Trailer: X",
        "TE: trailers",
        "Upgrade: h2c",
        "Expect: 100-continue",
        "Authorization: Basic eA==",
        "Cookie: a=b",
        "Set-Cookie: a=b",
        "Content-Encoding: gzip",
        "Content-Type: text/html",
        "Content-Range: bytes 0-1/2",
        "X-Forwarded-For: 192.0.2.1",
        "x-forwarded-proto: https",
        "X-Real-IP: 192.0.2.1",
        "Forwarded: for=192.0.2.1",
        "X-Request-Id: mine",
    ];
    for line in never {
        cases.push(case(
            format!("trailer: {line}"),
            format!("X: y\r\n{line}\r\n").as_bytes(),
        ));
    }
    cases.push(case(
        "trailers: 9,000 bytes".into(),
        format!("X: {}\r\n", "y".repeat(9_000)).as_bytes(),
    ));
    cases.push(case(
        "trailers: 101 fields".into(),
        "X: y\r\n".repeat(101).as_bytes(),
    ));
    cases
}
