//! What clients send, and what an origin gets of it: a strict reader must not refuse what is right.

use crate::case::{Accepted, SMUGGLED, join};

pub fn cases() -> Vec<Accepted> {
    [
        clients(),
        targets(),
        hosts(),
        fields(),
        connections(),
        bodies(),
        chunks(),
        pipelined(),
    ]
    .concat()
}

/// It arrives as it was sent.
fn same(what: &str, sent: impl Into<Vec<u8>>) -> Accepted {
    let sent = sent.into();
    changed(what, sent.clone(), sent)
}

fn changed(what: &str, sent: impl Into<Vec<u8>>, arrives: impl Into<Vec<u8>>) -> Accepted {
    Accepted {
        what: what.to_owned(),
        sent: sent.into(),
        arrives: arrives.into(),
    }
}

fn clients() -> Vec<Accepted> {
    vec![
        same(
            "curl",
            "GET / HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n",
        ),
        same(
            "curl with a form",
            "POST /form HTTP/1.1\r\nHost: h\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nContent-Length: 7\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\na=b&c=d",
        ),
        changed(
            "curl that expects to be asked for its body",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        ),
        changed(
            "a browser",
            "GET /?q=%C3%BC HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\nsec-ch-ua: \"Chromium\";v=\"142\", \"Not=A?Brand\";v=\"99\"\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: a=b; c=\"d\"; __Host-e=f=g\r\n\r\n",
            "GET /?q=%C3%BC HTTP/1.1\r\nHost: www.example.com\r\nCache-Control: max-age=0\r\nsec-ch-ua: \"Chromium\";v=\"142\", \"Not=A?Brand\";v=\"99\"\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: a=b; c=\"d\"; __Host-e=f=g\r\n\r\n",
        ),
        changed(
            "HTTP/1.0 with a Host",
            "GET / HTTP/1.0\r\nHost: h\r\nUser-Agent: ab\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: ab\r\n\r\n",
        ),
        // Its HTTP/1.1 to the server has one (RFC 9112, 3.2).
        changed(
            "HTTP/1.0 without a Host",
            "GET / HTTP/1.0\r\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nX: y\r\nhost: @origin\r\n\r\n",
        ),
        changed(
            "HTTP/1.0 that keeps its connection",
            "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        changed(
            "HTTP/1.0 with a body",
            "POST / HTTP/1.0\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        ),
        changed(
            "an empty line before",
            "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        same("HEAD", "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"),
        same("TRACE", "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n"),
        same(
            "a method that nobody knows",
            "M-SEARCH / HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        same(
            "a method of every kind of byte",
            "A!#$%&'*+-.^_`|~09 / HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        same(
            "a method of 32 bytes",
            format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", "M".repeat(32)),
        ),
    ]
}

fn targets() -> Vec<Accepted> {
    let long = format!("/{}", "a".repeat(7_999));
    let absolute = |target: &str, host: &str, method: &str, arrives: &str| {
        changed(
            &format!("target: {method} {target}"),
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            format!("{method} {arrives} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        )
    };
    vec![
        same("target: OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"),
        same(
            "target: every printable byte",
            "GET /!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~ HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        same(
            "target: two slashes",
            "GET //h/../x?y?z HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        same(
            "target: 8,000 bytes",
            format!("GET {long} HTTP/1.1\r\nHost: h\r\n\r\n"),
        ),
        absolute("http://h/x?y", "h", "GET", "/x?y"),
        absolute("http://h", "h", "GET", "/"),
        absolute("http://h?y", "h", "GET", "/?y"),
        absolute("HTTP://A.Example/x", "a.example", "GET", "/x"),
        absolute("http://h:80/", "h:80", "GET", "/"),
        absolute("http://[::1]:80/", "[::1]:80", "GET", "/"),
        absolute("https://h/", "h", "GET", "/"),
        absolute("http://h", "h", "OPTIONS", "*"),
        absolute("http://h/", "h", "OPTIONS", "/"),
        absolute("http://h?x", "h", "OPTIONS", "/?x"),
        changed(
            "target: an absolute form without Host, of HTTP/1.0",
            "GET http://h/x HTTP/1.0\r\nX: y\r\n\r\n",
            "GET /x HTTP/1.1\r\nX: y\r\nhost: h\r\n\r\n",
        ),
    ]
}

fn hosts() -> Vec<Accepted> {
    let hosts = [
        "h",
        "h:80",
        "h:",
        "h:0",
        "h:65535",
        "H.Example",
        "a.b.c.",
        "xn--bcher-kva.example",
        "under_score",
        "192.0.2.1",
        "192.0.2.1:8080",
        "[::1]",
        "[::1]:80",
        "[2001:db8::1]",
        "[::ffff:192.0.2.1]",
        "a%2Db",
        "a~b",
        "-",
    ];
    let mut cases: Vec<Accepted> = hosts
        .into_iter()
        .map(|host| {
            same(
                &format!("host: {host}"),
                format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            )
        })
        .collect();
    cases.push(same(
        "host: blanks around it",
        "GET / HTTP/1.1\r\nHost: \t h \t \r\n\r\n",
    ));
    cases.push(same(
        "host: no blank before it",
        "GET / HTTP/1.1\r\nhOST:h\r\n\r\n",
    ));
    cases.push(same(
        "host: behind other fields",
        "GET / HTTP/1.1\r\nX: y\r\nHost: h\r\n\r\n",
    ));
    cases
}

fn fields() -> Vec<Accepted> {
    let with = |what: &str, lines: &[u8]| {
        same(
            what,
            join(&[b"GET / HTTP/1.1\r\nHost: h\r\n", lines, b"\r\n"]),
        )
    };
    let large = format!("X: {}\r\n", "y".repeat(32_000));
    vec![
        with("fields: empty values", b"A:\r\nB: \r\nC:\t\r\nD:  \t \r\n"),
        with("fields: tabs within", b"A: a\tb\r\nB:\tc\r\n"),
        with("fields: blanks behind", b"A: a  \r\nB: b\t\r\n"),
        with("fields: many blanks before", b"A:      a\r\n"),
        with("fields: bytes beyond ASCII", b"A: \x80\xff\xc3\xbc\xe2\x82\xac\r\n"),
        with("fields: every printable byte", b"A: !\"#$%&'()*+,-./0:;<=>?@[\\]^_`{|}~\r\n"),
        with("fields: every kind of byte in a name", b"A!#$%&'*+-.^_`|~09: b\r\n"),
        with("fields: names that begin oddly", b"-: a\r\n_: b\r\n9: c\r\n'x': d\r\n"),
        with("fields: an underscore", b"X_Y: a\r\n"),
        with("fields: colons in a value", b"A: b:c: d\r\nB:::\r\n"),
        with("fields: several of a name", b"A: a\r\nB: x\r\na: b\r\nA: a\r\n"),
        with("fields: exactly 100", "A: b\r\n".repeat(99).as_bytes()),
        with("fields: 32,000 bytes", large.as_bytes()),
        with("fields: like those that frame", b"Content-Lengthx: 5\r\nXTransfer-Encoding: chunked\r\nTransfer%2DEncoding: chunked\r\n"),
        changed(
            "fields: nobody's word about the client",
            "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\nx-forwarded-proto: https\r\nX-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nX-Request-Id: mine\r\nX-Forwarded-Host: evil\r\nA: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n",
        ),
        changed(
            "fields: nobody's word about the client, with underscores",
            "GET / HTTP/1.1\r\nHost: h\r\nX_Forwarded_For: 192.0.2.1\r\nx_forwarded-proto: https\r\nX_Real_IP: 192.0.2.1\r\nX-Request_Id: mine\r\nA: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n",
        ),
    ]
}

fn connections() -> Vec<Accepted> {
    let with = |what: &str, lines: &str, arrives: &str| {
        changed(
            &format!("connection: {what}"),
            format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}Content-Length: 5\r\n\r\nhello"),
            format!("POST / HTTP/1.1\r\nHost: h\r\n{arrives}\r\nhello"),
        )
    };
    vec![
        with("close", "Connection: close\r\n", "Content-Length: 5\r\n"),
        with(
            "names a field",
            "Connection: X, y\r\nX: 1\r\nY: 2\r\nZ: 3\r\n",
            "Z: 3\r\nContent-Length: 5\r\n",
        ),
        with(
            "names the length",
            "Connection: Content-Length\r\n",
            "Content-Length: 5\r\n",
        ),
        with(
            "names the coding and the host",
            "Connection: transfer-encoding, host, close\r\n",
            "Content-Length: 5\r\n",
        ),
        with(
            "names what authorises",
            "Connection: authorization, cookie\r\nAuthorization: a\r\nCookie: b=c\r\n",
            "Authorization: a\r\nCookie: b=c\r\nContent-Length: 5\r\n",
        ),
        with(
            "of a proxy",
            "Proxy-Connection: keep-alive\r\nKeep-Alive: 5\r\n",
            "Content-Length: 5\r\n",
        ),
        with(
            "upgrade to HTTP/2",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            "Content-Length: 5\r\n",
        ),
        with(
            "upgrade to HTTP/2 without settings",
            "Connection: Upgrade\r\nUpgrade: H2C\r\n",
            "Content-Length: 5\r\n",
        ),
        with(
            "upgrade that Connection does not name",
            "Upgrade: websocket\r\n",
            "Content-Length: 5\r\n",
        ),
        with(
            "trailers are welcome",
            "TE: trailers, gzip;q=0.5\r\nConnection: TE\r\n",
            "Content-Length: 5\r\nte: trailers\r\nconnection: te\r\n",
        ),
        changed(
            "connection: upgrade to a WebSocket",
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Version: 13\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        ),
    ]
}

fn bodies() -> Vec<Accepted> {
    let looks_like_a_request = join(&[
        format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
            SMUGGLED.len()
        )
        .as_bytes(),
        SMUGGLED,
    ]);
    vec![
        same(
            "body: empty",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        ),
        same("body: none said", "POST / HTTP/1.1\r\nHost: h\r\n\r\n"),
        same(
            "body: zeros before its length",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 005\r\n\r\nhello",
        ),
        same(
            "body: blanks around its length",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \t5 \t\r\n\r\nhello",
        ),
        same(
            "body: of a GET",
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        ),
        same(
            "body: of a DELETE",
            "DELETE /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        ),
        same("body: that looks like a request", looks_like_a_request),
        same(
            "body: every byte",
            join(&[
                b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 256\r\n\r\n",
                &(0..=255).collect::<Vec<u8>>(),
            ]),
        ),
    ]
}

fn chunks() -> Vec<Accepted> {
    let with = |what: &str, body: &str, arrives: &str| {
        changed(
            &format!("chunked: {what}"),
            format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}"),
            format!("POST / HTTP/1.1\r\nHost: h\r\ntransfer-encoding: chunked\r\n\r\n{arrives}"),
        )
    };
    vec![
        with("one", "5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        with("none", "0\r\n\r\n", "0\r\n\r\n"),
        with(
            "several",
            "5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n",
            "5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n",
        ),
        with(
            "capitals and small letters",
            "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
            "a\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        ),
        with(
            "zeros before a size",
            "0000000000000005\r\nhello\r\n000\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        with(
            "extensions",
            "5;a;b=c;d=\"e f\"\r\nhello\r\n0;z\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        with(
            "a blank before an extension",
            "5 ; a = b\r\nhello\r\n0\t;z\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        with(
            "blanks behind a size, as old servers pad them",
            "5  \r\nhello\r\n0 \r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        with(
            "line ends in the data",
            "6\r\na\r\n\r\nb\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n",
            "6\r\na\r\n\r\nb\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n",
        ),
        with(
            "trailers",
            "5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-T:\r\n\r\n",
            "5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-T:\r\n\r\n",
        ),
        with(
            "trailers without data",
            "0\r\nX-Sum: \u{e4}\r\n\r\n",
            "0\r\nX-Sum: \u{e4}\r\n\r\n",
        ),
        changed(
            "chunked: in other letters",
            "POST / HTTP/1.1\r\nHost: h\r\nTRANSFER-ENCODING:CHUNKED \t\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        changed(
            "chunked: with its trailer announced",
            "POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum\r\ntransfer-encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n",
        ),
        changed(
            "chunked: of a GET",
            "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        changed(
            "chunked: named by Connection",
            "POST / HTTP/1.1\r\nHost: h\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        changed(
            "chunked: with a content coding that looks like it",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    ]
}

/// Several requests at once: the origin gets them in order, each where the one before it ends.
fn pipelined() -> Vec<Accepted> {
    let get = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n";
    let sized = "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n";
    let empty = "POST /4 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";
    let rechunked = chunked.replace("Transfer-Encoding", "transfer-encoding");
    let several = |what: &str, sent: String, arrives: String| {
        changed(&format!("pipelined: {what}"), sent, arrives)
    };
    vec![
        several("three alike", get.repeat(3), get.repeat(3)),
        several(
            "every framing",
            [get, sized, chunked, empty, get].concat(),
            [get, sized, &rechunked, empty, get].concat(),
        ),
        several(
            "an empty line between",
            format!("{sized}\r\n{get}"),
            [sized, get].concat(),
        ),
        several(
            "nothing behind Connection: close",
            format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n{get}"),
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n".into(),
        ),
        several(
            "nothing behind HTTP/1.0",
            format!("GET / HTTP/1.0\r\nHost: h\r\n\r\n{get}"),
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n".into(),
        ),
        several(
            "behind a length of 0, what looks like a body",
            format!("{empty}{get}"),
            format!("{empty}{get}"),
        ),
    ]
}
