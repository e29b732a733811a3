//! Field lines (RFC 9112, 5), Host (3.2) and Expect (RFC 9110, 10.1.1).

use crate::case::{Refused, controls, get, join, post, refused};

pub fn cases() -> Vec<Refused> {
    [
        names(),
        values(),
        folded(),
        sizes(),
        hosts(),
        differing(),
        expectations(),
    ]
    .concat()
}

fn names() -> Vec<Refused> {
    let lines = [
        "X : y",
        "X\t: y",
        "Host : h",
        "Content-Length : 5",
        "Transfer-Encoding : chunked",
        "X Y: z",
        ": x",
        "X",
        "nonsense",
        "\"X\": y",
        "Content_Length: 5",
        "CONTENT_LENGTH: 5",
        "Transfer_Encoding: chunked",
        "transfer\u{2010}encoding: chunked",
        "Transfer-Encoding\r\n : chunked",
    ];
    let mut cases: Vec<Refused> = lines
        .into_iter()
        .map(|line| {
            refused(
                format!("name: {line:?}"),
                400,
                "bad-field-name",
                post(format!("{line}\r\n")),
            )
        })
        .collect();
    for byte in controls().chain(*b"\"(),/;<=>?@[\\]{}\x80\xff") {
        let sent = get(join(&[b"X", &[byte], b"Y: z\r\n"]));
        cases.push(refused(
            format!("name: with byte {byte:02x}"),
            400,
            "bad-field-name",
            sent,
        ));
    }
    cases
}

fn values() -> Vec<Refused> {
    let mut cases = Vec::new();
    for byte in controls() {
        for (place, begin, end) in [
            ("in", &b"a"[..], &b"b"[..]),
            ("before", b"", b"b"),
            ("behind", b"a", b""),
        ] {
            let sent = get(join(&[b"X: ", begin, &[byte], end, b"\r\n"]));
            cases.push(refused(
                format!("value: byte {byte:02x} {place}"),
                400,
                "bad-field-value",
                sent,
            ));
        }
    }
    cases
}

fn folded() -> Vec<Refused> {
    let heads = [
        (
            "a second line",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
        ),
        (
            "with a tab",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n",
        ),
        (
            "an empty value",
            "GET / HTTP/1.1\r\nHost: h\r\nX:\r\n b\r\n\r\n",
        ),
        ("the Host", "GET / HTTP/1.1\r\nHost: h\r\n .evil\r\n\r\n"),
        ("a line of blanks", "GET / HTTP/1.1\r\nHost: h\r\n \r\n\r\n"),
        (
            "a blank before the first field",
            "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        ),
        (
            "a tab before the first field",
            "GET / HTTP/1.1\r\n\tHost: h\r\n\r\n",
        ),
        (
            "hides a coding",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n Transfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "a coding over two lines",
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
        ),
        (
            "a length over two lines",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n 0\r\n\r\n",
        ),
    ];
    let case =
        |(what, head): (&str, &str)| refused(format!("folded: {what}"), 400, "folded-field", head);
    heads.into_iter().map(case).collect()
}

fn sizes() -> Vec<Refused> {
    let name = "N".repeat(33_000);
    let lines = "X: y\r\n".repeat(100);
    let kilobyte = format!("X: {}\r\n", "y".repeat(1_000));
    vec![
        refused("fields: 101", 431, "too-many-fields", get(&lines)),
        refused(
            "fields: 101 so far",
            431,
            "too-many-fields",
            format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}"),
        ),
        refused(
            "head: a value of 33,000 bytes",
            431,
            "request-head-too-large",
            get(format!("X: {name}\r\n")),
        ),
        refused(
            "head: a name of 33,000 bytes",
            431,
            "request-head-too-large",
            get(format!("{name}: x\r\n")),
        ),
        refused(
            "head: 40 fields of 1,000 bytes",
            431,
            "request-head-too-large",
            get(kilobyte.repeat(40)),
        ),
        refused(
            "head: a method of 33,000 bytes",
            431,
            "request-head-too-large",
            format!("{name} / HTTP/1.1\r\nHost: h\r\n\r\n"),
        ),
        refused(
            "head: 33,000 bytes so far",
            431,
            "request-head-too-large",
            format!("GET / HTTP/1.1\r\nX: {name}"),
        ),
    ]
}

fn hosts() -> Vec<Refused> {
    let with = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
    let mut cases = vec![
        refused("host: none", 400, "no-host", with("")),
        refused(
            "host: none, but others",
            400,
            "no-host",
            with("X: y\r\nForwarded: host=h\r\n"),
        ),
        refused(
            "host: twice",
            400,
            "several-hosts",
            with("Host: a\r\nHost: b\r\n"),
        ),
        refused(
            "host: twice the same",
            400,
            "several-hosts",
            with("Host: a\r\nHost: a\r\n"),
        ),
        refused(
            "host: twice, in other letters",
            400,
            "several-hosts",
            with("HOST: a\r\nX: y\r\nhost: a\r\n"),
        ),
        refused(
            "host: twice in HTTP/1.0",
            400,
            "several-hosts",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        ),
        refused(
            "host: twice in the absolute form",
            400,
            "several-hosts",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        ),
    ];
    let wrong = [
        "",
        ":80",
        "a,b",
        "a, b",
        "a b",
        "a\tb",
        "a/",
        "a/b",
        "/",
        "a?b",
        "a#b",
        "a\\b",
        "u@a",
        "u:p@a",
        "@",
        "a::80",
        "a:80:80",
        "a:x",
        "a:-1",
        "a:+80",
        "a:080x",
        "a:65536",
        "a:000080",
        "[",
        "]",
        "[]",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]80",
        "[::1]:x",
        "[1]",
        "[::::]",
        "[1.2.3.4]",
        "[fe80::1%25eth0]",
        "[v1.x]",
        "[g::]",
        "a%",
        "a%2",
        "a%2x",
        "\"a\"",
        "<a>",
        "a|b",
        "a^b",
        "{a}",
        "http://a",
        "\u{fc}.example",
    ];
    for host in wrong {
        cases.push(refused(
            format!("host: {host:?}"),
            400,
            "bad-host",
            with(&format!("Host: {host}\r\n")),
        ));
    }
    cases.push(refused(
        "host: empty in HTTP/1.0",
        400,
        "bad-host",
        "GET / HTTP/1.0\r\nHost:\r\n\r\n",
    ));
    cases.push(refused(
        "host: byte ff",
        400,
        "bad-host",
        join(&[b"GET / HTTP/1.1\r\nHost: a\xff\r\n\r\n"]),
    ));
    cases
}

fn differing() -> Vec<Refused> {
    let pairs = [
        ("http://a/", "b"),
        ("http://a/", "a:80"),
        ("http://a:80/", "a"),
        ("http://a:80/", "a:8080"),
        ("http://a/", "a."),
        ("http://a.example/", "a"),
        ("https://a/", "b"),
        ("HTTP://A/", "b"),
        ("http://[::1]/", "[::2]"),
    ];
    pairs
        .into_iter()
        .map(|(target, host)| {
            let sent = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            refused(
                format!("host: {target} for {host}"),
                400,
                "host-differs",
                sent,
            )
        })
        .collect()
}

fn expectations() -> Vec<Refused> {
    let values = [
        "200-ok",
        "",
        "100-continue, x",
        "100-continue;q=1",
        "100",
        "100-continue-x",
    ];
    let mut cases: Vec<Refused> = values
        .into_iter()
        .map(|value| {
            let sent = post(format!("Content-Length: 5\r\nExpect: {value}\r\n"));
            refused(
                format!("expect: {value:?}"),
                417,
                "unknown-expectation",
                sent,
            )
        })
        .collect();
    let twice = post("Content-Length: 5\r\nExpect: x\r\nExpect: 100-continue\r\n");
    cases.push(refused(
        "expect: hidden by another",
        417,
        "unknown-expectation",
        twice,
    ));
    cases
}
