//! What a case says, and the words that the tables are written in.

/// A request that is refused by its head.
#[derive(Clone, Debug)]
pub struct Refused {
    pub what: String,
    pub status: u16,
    /// The access log's `fault`.
    pub word: &'static str,
    pub sent: Vec<u8>,
}

/// A request whose body breaks its coding: 400, `request-body-broken`. Its head may be on its way to a server by then.
#[derive(Clone, Debug)]
pub struct Broken {
    pub what: String,
    pub sent: Vec<u8>,
}

/// Requests that are answered with 200.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub what: String,
    pub sent: Vec<u8>,
    /// What the origin gets, without the fields that the proxy adds to every request; `@origin` is its address.
    pub arrives: Vec<u8>,
}

/// A server's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub what: String,
    /// What it answers; its target is `/case`.
    pub request: Vec<u8>,
    pub sent: Vec<u8>,
    /// The server closes behind it.
    pub closes: bool,
    pub seen: Seen,
}

/// What the client makes of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// 502, `bad-response`.
    Bad,
    /// The head, and a body that never ends as it should: `server-aborted`.
    Cut,
    /// A status and a body. `kept`: the connection to the server is used again.
    Whole {
        status: u16,
        body: Vec<u8>,
        kept: bool,
    },
}

pub fn refused(
    what: impl Into<String>,
    status: u16,
    word: &'static str,
    sent: impl Into<Vec<u8>>,
) -> Refused {
    Refused {
        what: what.into(),
        status,
        word,
        sent: sent.into(),
    }
}

/// A GET with this request line.
pub fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: h\r\n\r\n").into()
}

/// A GET with these field lines behind its Host, each with its line end.
pub fn get(fields: impl AsRef<[u8]>) -> Vec<u8> {
    join(&[b"GET / HTTP/1.1\r\nHost: h\r\n", fields.as_ref(), b"\r\n"])
}

/// A POST with these field lines behind its Host, and bytes that would be a body, or a request to smuggle.
pub fn post(fields: impl AsRef<[u8]>) -> Vec<u8> {
    let head: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\n";
    join(&[head, fields.as_ref(), b"\r\n", SMUGGLED])
}

/// What no origin may ever see as a request.
pub const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

pub fn join(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

/// The control bytes that no part of a head may hold.
pub fn controls() -> impl Iterator<Item = u8> {
    (0..0x20)
        .chain([0x7f])
        .filter(|byte| !matches!(byte, b'\t' | b'\r' | b'\n'))
}
