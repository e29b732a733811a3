//! Request lines, and what stands before them (RFC 9112, 2.2 and 3).

use crate::case::{Refused, SMUGGLED, controls, get, join, line, refused};

pub fn cases() -> Vec<Refused> {
    [
        before(),
        malformed(),
        methods(),
        targets(),
        versions(),
        line_ends(),
    ]
    .concat()
}

fn before() -> Vec<Refused> {
    let case = |what: &str, before: &[u8]| {
        let sent = join(&[before, &get("")]);
        refused(
            format!("before the line: {what}"),
            400,
            "bad-request-line",
            sent,
        )
    };
    vec![
        case("two empty lines", b"\r\n\r\n"),
        case("an empty line that is a bare LF", b"\n"),
        case("a CR", b"\r"),
        case("an empty line and a bare LF", b"\r\n\n"),
        case("a blank", b" "),
        case("a tab", b"\t"),
        case("an empty line and a blank", b"\r\n "),
        case("NUL", b"\0"),
        case("DEL", b"\x7f"),
        case("a byte order mark", b"\xef\xbb\xbf"),
        case("a TLS hello", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
        case("an SSH banner", b"SSH-2.0-OpenSSH_9.2\r\n"),
        case(
            "a PROXY line that nobody asked for",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        ),
        case("a PROXY header, version 2", b"\r\n\r\n\0\r\nQUIT\n"),
        case("a word of SMTP", b"EHLO x\r\n"),
        case("a status line", b"HTTP/1.1 200 OK\r\n"),
        refused(
            "before the line: the preface of HTTP/2",
            505,
            "bad-version",
            join(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &get("")]),
        ),
    ]
}

fn malformed() -> Vec<Refused> {
    let case = |what: &str, text: &str| {
        refused(
            format!("request line: {what}"),
            400,
            "bad-request-line",
            line(text),
        )
    };
    vec![
        case("of HTTP/0.9", "GET /"),
        case("a method alone", "GET"),
        case("no target", "GET HTTP/1.1"),
        case("an empty target", "GET  HTTP/1.1"),
        case("no method", "/ HTTP/1.1"),
        case("two blanks before the target", "GET  / HTTP/1.1"),
        case("two blanks before the version", "GET /  HTTP/1.1"),
        case("a tab behind the method", "GET\t/ HTTP/1.1"),
        case("a blank in the target", "GET /a b HTTP/1.1"),
        case("a blank behind the version", "GET / HTTP/1.1 "),
        case("a tab behind the version", "GET / HTTP/1.1\t"),
        case("more behind the version", "GET / HTTP/1.1x"),
        case("two versions", "GET / HTTP/1.1 HTTP/1.1"),
        case("an empty version", "GET / "),
        case("a comma for a blank", "GET,/,HTTP/1.1"),
    ]
}

fn methods() -> Vec<Refused> {
    let mut cases = Vec::new();
    for method in ["get", "Get", "gET", "post", "head", "connect", "x"] {
        let sent = line(&format!("{method} / HTTP/1.1"));
        cases.push(refused(
            format!("method: {method}"),
            400,
            "bad-method",
            sent,
        ));
    }
    let long = line(&format!("{} / HTTP/1.1", "M".repeat(33)));
    cases.push(refused("method: 33 bytes", 400, "bad-method", long));
    for byte in controls().chain(*b"\"(),/:;<=>?@[\\]{}\x80\xff") {
        let sent = join(&[b"G", &[byte], b"T / HTTP/1.1\r\nHost: h\r\n\r\n"]);
        let what = format!("method: with byte {byte:02x}");
        cases.push(refused(what, 400, "bad-request-line", sent));
    }
    cases.push(refused(
        "method: CONNECT",
        405,
        "connect-method",
        "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
    ));
    cases.push(refused(
        "method: CONNECT with a path",
        405,
        "connect-method",
        line("CONNECT / HTTP/1.1"),
    ));
    cases
}

fn targets() -> Vec<Refused> {
    let texts = [
        "index.html",
        "h/",
        "h:80",
        "?x",
        "*",
        "*x",
        "#",
        "/a#b",
        "http:/x",
        "http:x",
        "http://",
        "http:///x",
        "http://h#f",
        "http://h/#f",
        "http://u@h/",
        "http://u:p@h/",
        "http://h:x/",
        "http://h:80:80/",
        "http://h,h/",
        "http://h\\x/",
        "http://[1]/",
        "ftp://h/",
        "ws://h/",
        "file:///etc/passwd",
        "javascript:x",
        "mailto:a@h",
        "/\u{fc}",
        "/\u{2028}",
    ];
    let mut cases: Vec<Refused> = texts
        .into_iter()
        .map(|target| {
            let sent = line(&format!("GET {target} HTTP/1.1"));
            refused(format!("target: {target}"), 400, "bad-target", sent)
        })
        .collect();
    for byte in controls().chain([b'\t', 0x80, 0xff]) {
        let sent = join(&[b"GET /a", &[byte], b"b HTTP/1.1\r\nHost: h\r\n\r\n"]);
        cases.push(refused(
            format!("target: with byte {byte:02x}"),
            400,
            "bad-target",
            sent,
        ));
    }
    cases.push(refused(
        "target: * with more for OPTIONS",
        400,
        "bad-target",
        line("OPTIONS *x HTTP/1.1"),
    ));
    let long = format!("/{}", "a".repeat(8_000));
    cases.push(refused(
        "target: 8,001 bytes",
        414,
        "target-too-long",
        line(&format!("GET {long} HTTP/1.1")),
    ));
    cases.push(refused(
        "target: 8,001 bytes so far",
        414,
        "target-too-long",
        format!("GET {long}"),
    ));
    cases
}

fn versions() -> Vec<Refused> {
    let mut cases = Vec::new();
    for version in [
        "HTTP/2.0",
        "HTTP/2",
        "HTTP/3",
        "HTTP/1.2",
        "HTTP/0.9",
        "HTTP/1",
        "HTTP/01.1",
        "HTTP/1,1",
        "HTTP/-1.1",
        "HTTP/",
    ] {
        let sent = line(&format!("GET / {version}"));
        cases.push(refused(
            format!("version: {version}"),
            505,
            "bad-version",
            sent,
        ));
    }
    for version in [
        "HTTP/ 1.1",
        "http/1.1",
        "Http/1.1",
        "HTTP 1.1",
        "HTTP1.1",
        "HTTPS/1.1",
        "XTTP/1.1",
        "1.1",
        "HTTP/1.10",
        "HTTP/1.1.1",
    ] {
        let sent = line(&format!("GET / {version}"));
        cases.push(refused(
            format!("version: {version}"),
            400,
            "bad-request-line",
            sent,
        ));
    }
    for byte in controls() {
        let sent = join(&[b"GET / HTTP/1.1", &[byte], b"\r\nHost: h\r\n\r\n"]);
        cases.push(refused(
            format!("version: with byte {byte:02x}"),
            400,
            "bad-request-line",
            sent,
        ));
    }
    cases
}

/// A CR or LF by itself, wherever a line of a head ends.
fn line_ends() -> Vec<Refused> {
    let heads = [
        ("LF: all", "GET / HTTP/1.1\nHost: h\n\n"),
        ("LF: the first line", "GET / HTTP/1.1\nHost: h\r\n\r\n"),
        ("LF: in the method", "GE\nT / HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("LF: in the target", "GET /a\nb HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("LF: behind the target", "GET /\nHost: h\r\n\r\n"),
        ("LF: a field", "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n"),
        (
            "LF: an empty field",
            "GET / HTTP/1.1\r\nHost: h\r\nX:\nY: z\r\n\r\n",
        ),
        (
            "LF: in a name",
            "GET / HTTP/1.1\r\nHost: h\r\nX\nY: z\r\n\r\n",
        ),
        (
            "LF: hides a field",
            "GET / HTTP/1.1\r\nHost: h\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("LF: the last line", "GET / HTTP/1.1\r\nHost: h\r\n\n"),
        ("LF: and CR", "GET / HTTP/1.1\r\nHost: h\n\rX: y\r\n\r\n"),
        ("CR: the first line", "GET / HTTP/1.1\rHost: h\r\n\r\n"),
        (
            "CR: in a value",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
        ),
        (
            "CR: begins a value",
            "GET / HTTP/1.1\r\nHost: h\r\nX:\rb\r\n\r\n",
        ),
        (
            "CR: hides a field",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "CR: ends a field",
            "GET / HTTP/1.1\r\nHost: h\rX: a\r\n\r\n",
        ),
        ("CR: twice", "GET / HTTP/1.1\r\nHost: h\r\r\n\r\n"),
        (
            "CR: begins a line",
            "GET / HTTP/1.1\r\nHost: h\r\n\rX: y\r\n\r\n",
        ),
        (
            "CR: twice in the last line",
            "GET / HTTP/1.1\r\nHost: h\r\n\r\r\n",
        ),
        (
            "CR: for the last line",
            "GET / HTTP/1.1\r\nHost: h\r\n\rGET / HTTP/1.1\r\n\r\n",
        ),
    ];
    let case = |(what, head): (&str, &str)| {
        refused(
            what,
            400,
            "bare-line-end",
            join(&[head.as_bytes(), SMUGGLED]),
        )
    };
    heads.into_iter().map(case).collect()
}
