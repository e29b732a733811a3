//! Servers' answers, held to the same rules (RFC 9112, 4 to 7): what is no answer is 502, what breaks off within its body is
//! cut, and no connection is used again on which more came than was asked for.

use crate::case::{Answer, Seen, controls, join};

const GET: &str = "GET /case HTTP/1.1\r\nHost: h\r\n\r\n";
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

pub fn cases() -> Vec<Answer> {
    [
        status_lines(),
        heads(),
        framing(),
        interim(),
        cut(),
        whole(),
        surplus(),
    ]
    .concat()
}

fn bad(what: impl Into<String>, sent: impl Into<Vec<u8>>) -> Answer {
    Answer {
        what: what.into(),
        request: GET.into(),
        sent: sent.into(),
        closes: false,
        seen: Seen::Bad,
    }
}

fn broken_off(what: impl Into<String>, sent: impl Into<Vec<u8>>) -> Answer {
    Answer {
        seen: Seen::Cut,
        ..bad(what, sent)
    }
}

fn good(what: impl Into<String>, sent: impl Into<Vec<u8>>, body: &str, kept: bool) -> Answer {
    let seen = Seen::Whole {
        status: 200,
        body: body.into(),
        kept,
    };
    Answer {
        seen,
        ..bad(what, sent)
    }
}

impl Answer {
    fn closes(self) -> Answer {
        Answer {
            closes: true,
            ..self
        }
    }

    fn of(self, request: &str) -> Answer {
        Answer {
            request: request.into(),
            ..self
        }
    }

    fn for_head(self) -> Answer {
        self.of("HEAD /case HTTP/1.1\r\nHost: h\r\n\r\n")
    }

    fn for_old(self) -> Answer {
        self.of("GET /case HTTP/1.0\r\nHost: h\r\n\r\n")
    }

    fn status(mut self, of: u16) -> Answer {
        if let Seen::Whole { status, .. } = &mut self.seen {
            *status = of;
        }
        self
    }
}

fn status_lines() -> Vec<Answer> {
    let lines = [
        "HTTP/1.1 099 X",
        "HTTP/1.1 000 X",
        "HTTP/1.1 600 X",
        "HTTP/1.1 999 X",
        "HTTP/1.1 20 X",
        "HTTP/1.1 2000 X",
        "HTTP/1.1 abc X",
        "HTTP/1.1 2x0 X",
        "HTTP/1.1 +20 X",
        "HTTP/1.1 -20 X",
        "HTTP/1.1 200OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 ",
        "HTTP/1.1",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\x7fK",
        "HTTP/1.1 200 O\x0bK",
        "HTTP/2 200",
        "HTTP/2.0 200 OK",
        "HTTP/1.2 200 OK",
        "HTTP/0.9 200 OK",
        "http/1.1 200 OK",
        "ICY 200 OK",
        "SSH-2.0-OpenSSH_9.2",
        "220 mail.example ESMTP",
        " HTTP/1.1 200 OK",
        "200 OK",
        "GET / HTTP/1.1",
        "<html>hello</html>",
        "HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK",
        "\r\nHTTP/1.1 200 OK",
        "\nHTTP/1.1 200 OK",
        "\0HTTP/1.1 200 OK",
    ];
    let mut cases: Vec<Answer> = lines
        .into_iter()
        .map(|line| {
            bad(
                format!("status line: {line:?}"),
                format!("{line}\r\nContent-Length: 5\r\n\r\nhello"),
            )
        })
        .collect();
    cases.push(bad(
        "a frame of HTTP/2",
        b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80",
    ));
    cases.push(bad("a TLS alert", b"\x15\x03\x01\0\x02\x02\x46"));
    cases.push(bad("half a head", "HTTP/1.1 200 OK\r\nContent-Len").closes());
    cases.push(
        bad(
            "a head without its last line",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        )
        .closes(),
    );
    cases
}

fn heads() -> Vec<Answer> {
    let with = |what: &str, lines: &[u8]| {
        bad(
            format!("head: {what}"),
            join(&[b"HTTP/1.1 200 OK\r\n", lines, b"\r\nhello"]),
        )
    };
    let mut cases = vec![
        with("folded", b"X: a\r\n b\r\nContent-Length: 5\r\n"),
        with("folded with a tab", b"X: a\r\n\tb\r\nContent-Length: 5\r\n"),
        with(
            "a blank before the first field",
            b" X: a\r\nContent-Length: 5\r\n",
        ),
        with(
            "a blank before the colon",
            b"X : a\r\nContent-Length: 5\r\n",
        ),
        with(
            "a blank before the colon of the length",
            b"Content-Length : 5\r\n",
        ),
        with("an empty name", b": a\r\nContent-Length: 5\r\n"),
        with("no colon", b"X\r\nContent-Length: 5\r\n"),
        with("a name of other bytes", b"X(: a\r\nContent-Length: 5\r\n"),
        with("a name beyond ASCII", b"\xff: a\r\nContent-Length: 5\r\n"),
        with("bare LF", b"X: a\nContent-Length: 5\r\n"),
        with(
            "bare CR",
            b"X: a\rContent-Length: 5\r\nContent-Length: 5\r\n",
        ),
        with("bare LF at the end", b"Content-Length: 5\r\n\n"),
        with("101 fields", "X: a\r\n".repeat(101).as_bytes()),
        with(
            "70,000 bytes in one field",
            format!("X: {}\r\nContent-Length: 5\r\n", "y".repeat(70_000)).as_bytes(),
        ),
        with(
            "70,000 bytes in a name",
            format!("{}: x\r\nContent-Length: 5\r\n", "y".repeat(70_000)).as_bytes(),
        ),
        with(
            "99 fields of 1,000 bytes",
            format!("X: {}\r\n", "y".repeat(1_000))
                .repeat(99)
                .as_bytes(),
        ),
        bad(
            "head: all LF",
            "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        ),
        bad(
            "head: 70,000 bytes so far",
            format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(70_000)),
        ),
    ];
    for byte in controls() {
        cases.push(with(
            &format!("byte {byte:02x} in a value"),
            &join(&[b"X: a", &[byte], b"b\r\nContent-Length: 5\r\n"]),
        ));
        cases.push(with(
            &format!("byte {byte:02x} in a name"),
            &join(&[b"X", &[byte], b"Y: b\r\nContent-Length: 5\r\n"]),
        ));
    }
    cases
}

fn framing() -> Vec<Answer> {
    let fields = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length:",
        "Content-Length: x",
        "Content-Length: 5 5",
        "Content-Length: 9223372036854775808",
        "Content-Length: 99999999999999999999",
        "Content_Length: 5",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Transfer_Encoding: chunked",
        "Transfer-Encoding: \x0bchunked",
    ];
    let mut cases: Vec<Answer> = fields
        .into_iter()
        .map(|fields| {
            bad(
                format!("framing: {fields:?}"),
                format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            )
        })
        .collect();
    cases.push(bad(
        "framing: chunked in HTTP/1.0",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ));
    cases.push(
        bad(
            "framing: both, for HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .for_head(),
    );
    cases.push(bad(
        "framing: both, in a 304",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ));
    cases
}

/// Heads before the answer's (RFC 9110, 15.2).
fn interim() -> Vec<Answer> {
    let continues = "HTTP/1.1 100 Continue\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    vec![
        good(
            "interim: a few",
            format!(
                "{continues}HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n{answer}"
            ),
            "hello",
            true,
        ),
        bad("interim: a flood", continues.repeat(1_000) + answer),
        bad("interim: none behind it", continues).closes(),
        bad(
            "interim: with a body",
            format!("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello{answer}"),
        ),
        bad(
            "interim: ambiguous itself",
            format!(
                "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{answer}"
            ),
        ),
        bad("interim: and then junk", format!("{continues}junk\r\n\r\n")),
        bad(
            "interim: an empty line between",
            format!("{continues}\r\n{answer}"),
        ),
        bad(
            "a change of protocol that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
        bad(
            "a change of protocol behind another interim head",
            format!("{continues}HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        ),
        bad(
            "a change to HTTP/2, which was not asked of it",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .of("GET /case HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
    ]
}

/// What breaks within the body: the client must not take it for whole.
fn cut() -> Vec<Answer> {
    let chunked = |what: &str, body: &str| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        broken_off(format!("cut: {what}"), format!("{head}{body}"))
    };
    vec![
        broken_off(
            "cut: less than the length",
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        )
        .closes(),
        broken_off(
            "cut: none of the length",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        )
        .closes(),
        chunked("no last chunk", "5\r\nhello\r\n").closes(),
        chunked("within a chunk", "50\r\nhello").closes(),
        chunked("within the last line", "5\r\nhello\r\n0\r\n").closes(),
        chunked("within the trailers", "5\r\nhello\r\n0\r\nX: y").closes(),
        chunked("no last chunk, to HTTP/1.0", "5\r\nhello\r\n")
            .closes()
            .for_old(),
        chunked("no size", "5\r\nhello\r\nx\r\n\r\n0\r\n\r\n"),
        chunked(
            "an overflowing size",
            "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        ),
        chunked("a sign", "-5\r\nhello\r\n0\r\n\r\n"),
        chunked("digits behind a blank", "5 5\r\nhello\r\n0\r\n\r\n"),
        chunked("a bare LF behind a size", "5\nhello\r\n0\r\n\r\n"),
        chunked("a bare LF behind data", "5\r\nhello\n0\r\n\r\n"),
        chunked("more data than the size", "3\r\nhello\r\n0\r\n\r\n"),
        chunked(
            "a control byte in an extension",
            "5;\0\r\nhello\r\n0\r\n\r\n",
        ),
        chunked(
            "an overflowing size, to HTTP/1.0",
            "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        )
        .for_old(),
        chunked(
            "a trailer that frames",
            "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        ),
        chunked("a trailer that is none", "5\r\nhello\r\n0\r\nX : y\r\n\r\n"),
        chunked("a folded trailer", "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n"),
        chunked("a bare LF for the last line", "5\r\nhello\r\n0\r\n\n"),
    ]
}

/// What servers send.
fn whole() -> Vec<Answer> {
    vec![
        good(
            "whole: by length",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
            true,
        ),
        good(
            "whole: empty",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "",
            true,
        ),
        good(
            "whole: chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n",
            "hello",
            true,
        ),
        good(
            "whole: chunked, to HTTP/1.0",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
            "hello",
            true,
        )
        .for_old(),
        good(
            "whole: chunks padded with blanks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5  \r\nhello\r\n0  \r\n\r\n",
            "hello",
            true,
        ),
        good(
            "whole: until close",
            "HTTP/1.1 200 OK\r\n\r\nhello",
            "hello",
            false,
        )
        .closes(),
        good(
            "whole: until close, HTTP/1.0",
            "HTTP/1.0 200 OK\r\nServer: old\r\n\r\nhello",
            "hello",
            false,
        )
        .closes(),
        good(
            "whole: by length, HTTP/1.0",
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
            false,
        ),
        good(
            "whole: HTTP/1.0 that keeps its connection",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
            true,
        ),
        good(
            "whole: Connection: close",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
            false,
        ),
        good(
            "whole: no reason",
            "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello",
            "hello",
            true,
        ),
        good(
            "whole: no blank before no reason",
            "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
            true,
        ),
        good(
            "whole: a reason beyond ASCII",
            b"HTTP/1.1 200 \xc3\x84h\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
            "hello",
            true,
        ),
        good(
            "whole: values beyond ASCII, empty and with tabs",
            b"HTTP/1.1 200 OK\r\nA: \xff\r\nB:\r\nC: a\tb\r\nContent-Length: 5\r\n\r\nhello"
                .to_vec(),
            "hello",
            true,
        ),
        good(
            "whole: a field of requests",
            "HTTP/1.1 200 OK\r\nExpect: x\r\nHost: a, b\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
            true,
        ),
        good(
            "whole: a status that nobody knows",
            "HTTP/1.1 599 X\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
            true,
        )
        .status(599),
        good(
            "whole: 60,000 bytes of head",
            format!(
                "HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 5\r\n\r\nhello",
                "y".repeat(60_000)
            ),
            "hello",
            true,
        ),
        good(
            "whole: for HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            "",
            true,
        )
        .for_head(),
        good(
            "whole: for HEAD, chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "",
            true,
        )
        .for_head(),
        good(
            "whole: for HEAD, no length",
            "HTTP/1.1 200 OK\r\n\r\n",
            "",
            true,
        )
        .for_head(),
        good("whole: 204", "HTTP/1.1 204 No Content\r\n\r\n", "", true).status(204),
        good(
            "whole: 304 with a length",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            "",
            true,
        )
        .status(304),
    ]
}

/// More than was asked for: the answer stands, but the connection may hold bytes that would be taken for the next one.
fn surplus() -> Vec<Answer> {
    vec![
        good(
            "surplus: another answer",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello{POISON}"),
            "hello",
            false,
        ),
        good(
            "surplus: another answer behind chunks",
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{POISON}"
            ),
            "hello",
            false,
        ),
        good(
            "surplus: a byte",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!",
            "hello",
            false,
        ),
        good(
            "surplus: an empty line",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\r\n",
            "hello",
            false,
        ),
        good(
            "surplus: behind no body",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{POISON}"),
            "",
            false,
        ),
        good(
            "surplus: a body for HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "",
            false,
        )
        .for_head(),
        good(
            "surplus: another answer for HEAD",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{POISON}"),
            "",
            false,
        )
        .for_head(),
        good(
            "surplus: a body with 204",
            format!(
                "HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n{POISON}",
                POISON.len()
            ),
            "",
            false,
        )
        .status(204),
        good(
            "surplus: chunks with 204",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "",
            false,
        )
        .status(204),
        good(
            "surplus: a body with 304",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
            "",
            false,
        )
        .status(304),
        good(
            "surplus: an answer larger than a read",
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}{POISON}",
                "x".repeat(100_000)
            ),
            &"x".repeat(100_000),
            false,
        ),
    ]
}
