//! Where a body ends (RFC 9112, 6), and what is said to make two readers differ about it.

use crate::case::{Refused, SMUGGLED, controls, join, post, refused};

pub fn cases() -> Vec<Refused> {
    [both(), lengths(), codings(), obfuscated()].concat()
}

/// Content-Length and Transfer-Encoding.
fn both() -> Vec<Refused> {
    let case = |what: &str, fields: &str, body: &str| {
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}");
        refused(
            format!("both: {what}"),
            400,
            "length-and-coding",
            join(&[head.as_bytes(), SMUGGLED]),
        )
    };
    vec![
        case(
            "CL.TE",
            "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\nG",
        ),
        case(
            "TE.CL",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            "5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n",
        ),
        case(
            "a length of 0",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        case(
            "the right length",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        case(
            "an unknown coding",
            "Content-Length: 5\r\nTransfer-Encoding: gzip\r\n",
            "0\r\n\r\n",
        ),
        case(
            "a tab before the coding",
            "Content-Length: 5\r\nTransfer-Encoding:\tchunked\r\n",
            "0\r\n\r\n",
        ),
        case(
            "with Connection: content-length",
            "Connection: content-length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        case(
            "with Connection: transfer-encoding",
            "Connection: transfer-encoding\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
    ]
}

fn lengths() -> Vec<Refused> {
    let values = [
        "5, 5",
        "5,5",
        "5, 6",
        "5,",
        ",5",
        "+5",
        "-5",
        "-0",
        "0x5",
        "0b1",
        "5h",
        "h5",
        "",
        "five",
        "5.0",
        "5e0",
        "5 5",
        "5\t5",
        "\"5\"",
        "'5'",
        "5;",
        "(5)",
        "5_000",
        "1,000",
        "\u{ff15}",
        "\u{660}",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551621",
        "99999999999999999999",
        "000000000000000000005",
    ];
    let mut cases: Vec<Refused> = values
        .into_iter()
        .map(|value| {
            refused(
                format!("length: {value:?}"),
                400,
                "bad-length",
                post(format!("Content-Length: {value}\r\n")),
            )
        })
        .collect();
    let several = [
        (
            "two that differ",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
        ),
        ("two alike", "Content-Length: 5\r\nContent-Length: 5\r\n"),
        (
            "two, one of them 0",
            "Content-Length: 0\r\nContent-Length: 5\r\n",
        ),
        (
            "two in other letters",
            "content-length: 5\r\nX: y\r\nCONTENT-LENGTH: 6\r\n",
        ),
        (
            "two, alike as numbers",
            "Content-Length: 5\r\nContent-Length: 05\r\n",
        ),
        (
            "three",
            "Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
        ),
    ];
    for (what, fields) in several {
        cases.push(refused(
            format!("length: {what}"),
            400,
            "several-lengths",
            post(fields),
        ));
    }
    cases.push(refused(
        "length: two, the second empty",
        400,
        "bad-length",
        post("Content-Length: 5\r\nContent-Length:\r\n"),
    ));
    cases.push(refused(
        "length: of a GET",
        400,
        "bad-length",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
    ));
    cases.push(refused(
        "length: of HTTP/1.0",
        400,
        "bad-length",
        "POST / HTTP/1.0\r\nContent-Length: 5, 5\r\n\r\nhello",
    ));
    cases
}

fn codings() -> Vec<Refused> {
    let case = |status: u16, word: &'static str, value: &str| {
        refused(
            format!("coding: {value:?}"),
            status,
            word,
            post(format!("Transfer-Encoding: {value}\r\n")),
        )
    };
    let wrong = [
        "",
        ",",
        "chunked, chunked",
        "chunked,chunked",
        "chunked, gzip",
        "chunked, identity",
        "gzip, chunked, chunked",
        "chunked, gzip, chunked",
        "chunked,",
        ",chunked",
        "chunked, ",
        ", chunked",
        "gzip,",
        "chunked,,",
    ];
    let unknown = [
        "gzip",
        "gzip, chunked",
        "deflate",
        "br, chunked",
        "identity",
        "identity, chunked",
        "xchunked",
        "chunkedx",
        "chunk",
        "chunked x",
        "x chunked",
        "chunked;q=1",
        "chunked; q=1",
        "chunked ;",
        "\"chunked\"",
        "'chunked'",
        "chunked\u{a0}",
        "\u{a0}chunked",
        "cow",
        "trailers",
        "chunked chunked",
        "chun ked",
        "c\u{ff48}unked",
    ];
    let mut cases: Vec<Refused> = wrong
        .into_iter()
        .map(|value| case(400, "bad-transfer-coding", value))
        .collect();
    cases.extend(
        unknown
            .into_iter()
            .map(|value| case(501, "unknown-transfer-coding", value)),
    );
    for byte in controls() {
        for (place, value) in [
            ("before", [&[byte][..], b"chunked"].concat()),
            ("behind", [b"chunked", &[byte][..]].concat()),
        ] {
            let sent = post(join(&[b"Transfer-Encoding: ", &value, b"\r\n"]));
            cases.push(refused(
                format!("coding: byte {byte:02x} {place} it"),
                400,
                "bad-field-value",
                sent,
            ));
        }
    }
    let several = [
        (
            "chunked twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "gzip, then chunked",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "chunked, then identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        ),
        (
            "chunked, then x",
            "Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n",
        ),
        (
            "empty, then chunked",
            "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n",
        ),
    ];
    for (what, fields) in several {
        cases.push(refused(
            format!("codings: {what}"),
            400,
            "bad-transfer-coding",
            post(fields),
        ));
    }
    cases.push(refused(
        "coding: in HTTP/1.0",
        400,
        "bad-transfer-coding",
        "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ));
    cases.push(refused(
        "coding: in HTTP/1.0 with a length",
        400,
        "bad-transfer-coding",
        "POST / HTTP/1.0\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ));
    cases
}

/// Ways to write a field so that one reader sees it and another does not, known from request smuggling.
fn obfuscated() -> Vec<Refused> {
    let coding_behind = |what: &str, word: &'static str, fields: &str| {
        let sent = post(format!("Content-Length: 5\r\n{fields}\r\n"));
        refused(format!("obfuscated: {what}"), 400, word, sent)
    };
    vec![
        coding_behind(
            "a blank before the colon",
            "bad-field-name",
            "Transfer-Encoding : chunked",
        ),
        coding_behind(
            "a blank before the name",
            "folded-field",
            " Transfer-Encoding: chunked",
        ),
        coding_behind(
            "a NUL before the name",
            "bad-field-name",
            "\0Transfer-Encoding: chunked",
        ),
        coding_behind(
            "a CR before the name",
            "bare-line-end",
            "\rTransfer-Encoding: chunked",
        ),
        coding_behind(
            "behind a bare LF",
            "bare-line-end",
            "X: y\nTransfer-Encoding: chunked",
        ),
        coding_behind(
            "behind a bare CR",
            "bare-line-end",
            "X: y\rTransfer-Encoding: chunked",
        ),
        coding_behind(
            "the colon on the next line",
            "bad-field-name",
            "Transfer-Encoding\r\n: chunked",
        ),
        coding_behind(
            "the value on the next line",
            "folded-field",
            "Transfer-Encoding:\r\n chunked",
        ),
        coding_behind(
            "a bare LF within the name",
            "bare-line-end",
            "Transfer-\nEncoding: chunked",
        ),
        coding_behind(
            "an equals sign for the colon",
            "bad-field-name",
            "Transfer-Encoding= chunked",
        ),
        coding_behind(
            "an underscore for the hyphen",
            "bad-field-name",
            "Transfer_Encoding: chunked",
        ),
        coding_behind(
            "a second length with a blank",
            "bad-field-name",
            "Content-Length : 6",
        ),
        coding_behind(
            "a second length with an underscore",
            "bad-field-name",
            "Content_Length: 6",
        ),
        coding_behind(
            "a second length over two lines",
            "folded-field",
            "X: y\r\n Content-Length: 6",
        ),
    ]
}
