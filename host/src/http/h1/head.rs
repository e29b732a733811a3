//! Reading a message's head, strictly. What two readers could understand differently is refused (RFC 9112, 11.2): a proxy
//! that forwards it lets a client smuggle a request past whoever stands before or after.
//!
//! httparse splits the bytes; the rules it leaves open are held here. The result is an index into the bytes: nothing is
//! copied, nothing is allocated.

use std::net::Ipv6Addr;
use std::ops::Range;

use httparse::{Error as Syntax, Status};

use crate::http::known::{Known, is_like};

/// Fields in a head; more is 431. HAProxy's `tune.http.maxhdr`, which is 101.
pub const MOST_FIELDS: usize = 100;
/// Bytes of a method; the longest that is registered, `UPDATEREDIRECTREF`, has 17.
const MOST_METHOD: usize = 32;
/// Bytes of a request target; more is 414. Apache's `LimitRequestLine` less the rest of the line.
pub const MOST_TARGET: usize = 8_000;

/// A field of a head, as places in its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldAt {
    pub name: Range<u32>,
    pub value: Range<u32>,
    /// What the name is.
    pub known: Known,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIndex {
    /// Where the head ends, and a body or the next request begins.
    pub end: usize,
    pub method: Range<u32>,
    /// Path and query; of an absolute form what follows the authority, empty for none: `/` is meant.
    pub target: Range<u32>,
    /// The authority of an absolute form.
    pub authority: Option<Range<u32>>,
    pub version: Version,
    pub host: Option<Range<u32>>,
    pub framing: Framing,
    pub keep_alive: bool,
    /// `Expect: 100-continue`.
    pub expects: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseIndex {
    pub end: usize,
    pub status: u16,
    pub reason: Range<u32>,
    pub version: Version,
    pub framing: Framing,
    pub keep_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// How long the body is (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Nothing said: none in a request, until close in a response.
    Unsaid,
    Length(u64),
    Chunked,
}

/// Why a head is refused. Each has a status, a log word and a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Bytes that are no request line.
    RequestLine,
    Method,
    Target,
    TargetTooLong,
    /// Not HTTP/1.0 or HTTP/1.1.
    Version,
    StatusLine,
    FieldName,
    FieldValue,
    /// A line that begins with a blank (RFC 9112, 5.2).
    Folded,
    /// A CR or LF by itself (RFC 9112, 2.2).
    LineEnd,
    TooManyFields,
    LengthAndCoding,
    Length,
    Lengths,
    /// `chunked` twice, or not last, or in HTTP/1.0; two fields.
    Coding,
    /// One that we don't know.
    UnknownCoding,
    NoHost,
    Hosts,
    Host,
    /// An absolute form for another host than Host.
    OtherHost,
    Connect,
    Expectation,
}

impl Refused {
    /// All but the one that the pipeline has a page of its own for.
    pub const ALL: [Refused; 21] = [
        Refused::RequestLine,
        Refused::Method,
        Refused::Target,
        Refused::TargetTooLong,
        Refused::Version,
        Refused::StatusLine,
        Refused::FieldName,
        Refused::FieldValue,
        Refused::Folded,
        Refused::LineEnd,
        Refused::TooManyFields,
        Refused::LengthAndCoding,
        Refused::Length,
        Refused::Lengths,
        Refused::Coding,
        Refused::UnknownCoding,
        Refused::NoHost,
        Refused::Hosts,
        Refused::Host,
        Refused::OtherHost,
        Refused::Expectation,
    ];

    /// What the client is answered; towards a server it is always 502.
    pub fn status(self) -> u16 {
        match self {
            Refused::TargetTooLong => 414,
            Refused::TooManyFields => 431,
            Refused::Version => 505,
            Refused::UnknownCoding => 501,
            // This is no forward proxy.
            Refused::Connect => 405,
            Refused::Expectation => 417,
            _ => 400,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Refused::RequestLine => "bad-request-line",
            Refused::Method => "bad-method",
            Refused::Target => "bad-target",
            Refused::TargetTooLong => "target-too-long",
            Refused::Version => "bad-version",
            Refused::StatusLine => "bad-status-line",
            Refused::FieldName => "bad-field-name",
            Refused::FieldValue => "bad-field-value",
            Refused::Folded => "folded-field",
            Refused::LineEnd => "bare-line-end",
            Refused::TooManyFields => "too-many-fields",
            Refused::LengthAndCoding => "length-and-coding",
            Refused::Length => "bad-length",
            Refused::Lengths => "several-lengths",
            Refused::Coding => "bad-transfer-coding",
            Refused::UnknownCoding => "unknown-transfer-coding",
            Refused::NoHost => "no-host",
            Refused::Hosts => "several-hosts",
            Refused::Host => "bad-host",
            Refused::OtherHost => "host-differs",
            Refused::Connect => "connect",
            Refused::Expectation => "unknown-expectation",
        }
    }
}

/// None: the head is not whole yet. `fields` receives the index; it is cleared first.
///
/// Bytes may come in any pieces: what a longer piece is refused for, the shortest one that is refused is refused for too.
pub fn request(bytes: &[u8], fields: &mut Vec<FieldAt>) -> Result<Option<RequestIndex>, Refused> {
    match read_request(bytes, fields) {
        Err(why) => Err(earliest(bytes, why, |bytes| {
            read_request(bytes, fields).err()
        })),
        read => read,
    }
}

/// None: the head is not whole yet.
pub fn response(bytes: &[u8], fields: &mut Vec<FieldAt>) -> Result<Option<ResponseIndex>, Refused> {
    match read_response(bytes, fields) {
        Err(why) => Err(earliest(bytes, why, |bytes| {
            read_response(bytes, fields).err()
        })),
        read => read,
    }
}

/// The rule that was broken first. Whatever is refused is refused in every longer piece too, so the first wrong byte can be
/// searched by halves.
fn earliest(
    bytes: &[u8],
    mut why: Refused,
    mut read: impl FnMut(&[u8]) -> Option<Refused>,
) -> Refused {
    let (mut passed, mut refused) = (0, bytes.len());
    while passed + 1 < refused {
        let middle = passed.midpoint(refused);
        match read(&bytes[..middle]) {
            Some(earlier) => (why, refused) = (earlier, middle),
            None => passed = middle,
        }
    }
    why
}

fn read_request(bytes: &[u8], fields: &mut Vec<FieldAt>) -> Result<Option<RequestIndex>, Refused> {
    fields.clear();
    let skipped = leading_line(bytes)?;
    let rest = &bytes[skipped..];
    let mut slots = [const { std::mem::MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let end = match parsed.parse_with_uninit_headers(rest, &mut slots) {
        Ok(Status::Complete(end)) => end,
        Ok(Status::Partial) => {
            check_begun_target(rest)?;
            return check_line_ends(rest).map(|()| None);
        }
        Err(error) => return Err(refused(error, rest, Refused::RequestLine)),
    };
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Refused::RequestLine);
    };
    // In the order of the bytes: what could be refused before the head was whole comes first.
    if target.len() > MOST_TARGET {
        return Err(Refused::TargetTooLong);
    }
    check_whole_lines(&rest[..end], parsed.headers)?;
    let at = |part: &[u8]| place(bytes, part);
    let version = if version == 0 {
        Version::Http10
    } else {
        Version::Http11
    };
    let common = common(parsed.headers, version, at, fields)?;
    let form = target_form(method, target)?;
    let host = common.host.map(at);
    check_host(version, common.host, form.authority)?;
    if common.hosts > 1 {
        return Err(Refused::Hosts);
    }
    let expects = match common.expectation {
        None => false,
        Some(what) if is_continue(what) => version == Version::Http11,
        Some(_) => return Err(Refused::Expectation),
    };
    Ok(Some(RequestIndex {
        end: skipped + end,
        method: at(method.as_bytes()),
        target: at(form.path.as_bytes()),
        authority: form.authority.map(|authority| at(authority.as_bytes())),
        version,
        host,
        framing: common.framing,
        keep_alive: common.keep_alive,
        expects,
    }))
}

fn read_response(
    bytes: &[u8],
    fields: &mut Vec<FieldAt>,
) -> Result<Option<ResponseIndex>, Refused> {
    fields.clear();
    // httparse passes over empty lines; before a status line there are none (RFC 9112, 2.2).
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Err(Refused::StatusLine);
    }
    let mut slots = [const { std::mem::MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let end = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut slots) {
        Ok(Status::Complete(end)) => end,
        Ok(Status::Partial) => return check_line_ends(bytes).map(|()| None),
        Err(error) => return Err(refused(error, bytes, Refused::StatusLine)),
    };
    check_whole_lines(&bytes[..end], parsed.headers)?;
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
        return Err(Refused::StatusLine);
    };
    if !(100..=599).contains(&status) {
        return Err(Refused::StatusLine);
    }
    let at = |part: &[u8]| place(bytes, part);
    let version = if version == 0 {
        Version::Http10
    } else {
        Version::Http11
    };
    let reason = parsed.reason.unwrap_or_default();
    let common = common(parsed.headers, version, at, fields)?;
    Ok(Some(ResponseIndex {
        end,
        status,
        reason: if reason.is_empty() {
            0..0
        } else {
            at(reason.as_bytes())
        },
        version,
        framing: common.framing,
        keep_alive: common.keep_alive,
    }))
}

/// One empty line before a request is passed over (RFC 9112, 2.2); more is not.
fn leading_line(bytes: &[u8]) -> Result<usize, Refused> {
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    match bytes.get(skipped) {
        // The CR of an empty line whose LF has not come yet.
        Some(b'\r') if skipped == 0 && bytes.len() == 1 => Ok(0),
        Some(b'\r' | b'\n') => Err(Refused::RequestLine),
        _ => Ok(skipped),
    }
}

/// Of a head that is fine so far: a target that is too long need not be awaited.
fn check_begun_target(bytes: &[u8]) -> Result<(), Refused> {
    let Some(begin) = memchr::memchr(b' ', bytes) else {
        return Ok(());
    };
    match bytes[begin + 1..].get(..=MOST_TARGET) {
        Some(window) if memchr::memchr(b' ', window).is_none() => Err(Refused::TargetTooLong),
        _ => Ok(()),
    }
}

/// Every LF has a CR before it, and every CR an LF behind it, as far as the bytes go.
fn check_line_ends(bytes: &[u8]) -> Result<(), Refused> {
    for at in memchr::memchr2_iter(b'\r', b'\n', bytes) {
        let whole = match bytes[at] {
            b'\n' => at > 0 && bytes[at - 1] == b'\r',
            _ => bytes.get(at + 1).is_none_or(|next| *next == b'\n'),
        };
        if !whole {
            return Err(Refused::LineEnd);
        }
    }
    Ok(())
}

/// The same for a head that httparse has split: it takes a bare LF for a line's end, and no bare CR for anything. So it is enough
/// to look where the lines meet: before each name, and at the end.
fn check_whole_lines(head: &[u8], headers: &[httparse::Header<'_>]) -> Result<(), Refused> {
    let ends_whole = |at: usize| head[..at].ends_with(b"\r\n");
    let mut names = headers
        .iter()
        .map(|header| place(head, header.name.as_bytes()));
    let whole = head.ends_with(b"\r\n\r\n") && names.all(|name| ends_whole(name.start as usize));
    if whole { Ok(()) } else { Err(Refused::LineEnd) }
}

/// What httparse found, by our names; `line` is that of a first line. The last byte is the wrong one: `earliest` sees to that.
fn refused(error: Syntax, bytes: &[u8], line: Refused) -> Refused {
    if check_line_ends(bytes).is_err() {
        return Refused::LineEnd;
    }
    match error {
        Syntax::TooManyHeaders => Refused::TooManyFields,
        Syntax::Version if is_in_version(bytes) => Refused::Version,
        Syntax::Version | Syntax::NewLine => line,
        Syntax::Status => Refused::StatusLine,
        Syntax::HeaderValue => Refused::FieldValue,
        Syntax::HeaderName if bytes.ends_with(b"\n ") || bytes.ends_with(b"\n\t") => {
            Refused::Folded
        }
        Syntax::HeaderName => Refused::FieldName,
        Syntax::Token if is_in_target(bytes) => Refused::Target,
        Syntax::Token => line,
    }
}

/// Whether what came last would be a version, but for its number.
fn is_in_version(bytes: &[u8]) -> bool {
    let last = bytes.rsplit(|b| *b == b' ').next();
    last.is_some_and(|text| text.starts_with(b"HTTP/"))
}

/// Whether the last byte is one that no target may hold; a line that ends without a version is no request line.
fn is_in_target(bytes: &[u8]) -> bool {
    match bytes.split_last() {
        Some((b'\r', _)) | None => false,
        Some((b' ', before)) => before.contains(&b' ') && !before.ends_with(b" "),
        Some((_, before)) => before.contains(&b' '),
    }
}

fn place(bytes: &[u8], part: &[u8]) -> Range<u32> {
    let begin = (part.as_ptr() as usize).saturating_sub(bytes.as_ptr() as usize);
    // A head is bounded far below 4 GiB.
    begin as u32..(begin + part.len()) as u32
}

/// What the fields of either kind of message say of its framing and its connection.
struct Common<'a> {
    framing: Framing,
    keep_alive: bool,
    expectation: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
    hosts: u32,
}

fn common<'a>(
    headers: &[httparse::Header<'a>],
    version: Version,
    at: impl Fn(&[u8]) -> Range<u32>,
    fields: &mut Vec<FieldAt>,
) -> Result<Common<'a>, Refused> {
    let mut common = Common {
        framing: Framing::Unsaid,
        keep_alive: version == Version::Http11,
        expectation: None,
        host: None,
        hosts: 0,
    };
    let (mut coding, mut codings) = (None, 0);
    let mut close = false;
    for header in headers {
        let (name, value) = (header.name.as_bytes(), header.value);
        let value = value.trim_ascii_end();
        let known = Known::of(name);
        match known {
            Known::Host => {
                common.hosts += 1;
                common.host = Some(value);
            }
            Known::Expect => {
                // One that we know does not hide another.
                let known = common.expectation.filter(|value| !is_continue(value));
                common.expectation = known.or(Some(value));
            }
            // As nearly everybody says it.
            Known::Connection if value.eq_ignore_ascii_case(b"keep-alive") => {
                common.keep_alive = true;
            }
            Known::Connection => {
                common.keep_alive |= lists(value, b"keep-alive");
                close |= lists(value, b"close");
            }
            Known::ContentLength => length(value, &mut common.framing)?,
            Known::TransferEncoding => {
                codings += 1;
                coding = Some(value);
            }
            Known::Other => refuse_double(name)?,
            _ => {}
        }
        fields.push(FieldAt {
            name: at(name),
            value: at(value),
            known,
        });
    }
    // `close` wins over `keep-alive` (RFC 9112, 9.3).
    common.keep_alive &= !close;
    if codings > 1 {
        return Err(Refused::Coding);
    }
    if let Some(coding) = coding {
        common.framing = transfer_coding(coding, version, common.framing)?;
    }
    Ok(common)
}

/// With `_` for `-` it is no field that frames a body, but whoever makes variables of fields (RFC 3875, 4.1.18) takes it for one.
fn refuse_double(name: &[u8]) -> Result<(), Refused> {
    let field: &[u8] = match name.len() {
        14 => b"content-length",
        17 => b"transfer-encoding",
        _ => return Ok(()),
    };
    match is_like(name, field) {
        true => Err(Refused::FieldName),
        false => Ok(()),
    }
}

fn is_continue(expectation: &[u8]) -> bool {
    expectation.eq_ignore_ascii_case(b"100-continue")
}

fn lists(value: &[u8], token: &[u8]) -> bool {
    value
        .split(|b| *b == b',')
        .any(|element| element.trim_ascii().eq_ignore_ascii_case(token))
}

/// Digits alone, and said once: who says the same length twice may be two people (RFC 9110, 8.6 lets us refuse). More than
/// 63 bits are a negative number to some.
fn length(value: &[u8], framing: &mut Framing) -> Result<(), Refused> {
    let digits = !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
    if !digits {
        return Err(Refused::Length);
    }
    let length = value
        .iter()
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    if length > i64::MAX as u64 {
        return Err(Refused::Length);
    }
    if *framing != Framing::Unsaid {
        return Err(Refused::Lengths);
    }
    *framing = Framing::Length(length);
    Ok(())
}

fn transfer_coding(value: &[u8], version: Version, framing: Framing) -> Result<Framing, Refused> {
    if version == Version::Http10 {
        return Err(Refused::Coding);
    }
    if framing != Framing::Unsaid {
        return Err(Refused::LengthAndCoding);
    }
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(Framing::Chunked);
    }
    let codings = || value.split(|b| *b == b',').map(<[u8]>::trim_ascii);
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let chunked = codings().filter(|coding| is_chunked(coding)).count();
    let last = codings().next_back().is_some_and(is_chunked);
    let wrong = codings().any(<[u8]>::is_empty) || chunked > 1 || (chunked == 1 && !last);
    Err(if wrong {
        Refused::Coding
    } else {
        Refused::UnknownCoding
    })
}

struct Form<'a> {
    path: &'a str,
    authority: Option<&'a str>,
}

/// RFC 9112, 3.2.
fn target_form<'a>(method: &str, target: &'a str) -> Result<Form<'a>, Refused> {
    // `get` is another method than `GET`, but not to everybody.
    if method.len() > MOST_METHOD || method.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(Refused::Method);
    }
    // httparse lets bytes beyond ASCII through; a fragment is never sent (RFC 9110, 7.1).
    if target.bytes().any(|b| !b.is_ascii_graphic() || b == b'#') {
        return Err(Refused::Target);
    }
    if method == "CONNECT" {
        return Err(Refused::Connect);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(Form {
            path: target,
            authority: None,
        });
    }
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        target
            .get(..scheme.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    });
    let rest = &target[scheme.ok_or(Refused::Target)?.len()..];
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !is_authority(authority.as_bytes()) {
        return Err(Refused::Target);
    }
    Ok(Form {
        path,
        authority: Some(authority),
    })
}

fn check_host(
    version: Version,
    host: Option<&[u8]>,
    authority: Option<&str>,
) -> Result<(), Refused> {
    let Some(host) = host else {
        return if version == Version::Http10 {
            Ok(())
        } else {
            Err(Refused::NoHost)
        };
    };
    // Empty, it would make an http URI without a host, which is none (RFC 9110, 4.2.1).
    if !is_authority(host) {
        return Err(Refused::Host);
    }
    match authority {
        Some(authority) if !authority.as_bytes().eq_ignore_ascii_case(host) => {
            Err(Refused::OtherHost)
        }
        _ => Ok(()),
    }
}

/// `host`, `host:port`, `[address]:port` (RFC 3986, 3.2, without user information).
fn is_authority(text: &[u8]) -> bool {
    let (host_ok, port) = match text.strip_prefix(b"[") {
        Some(rest) => {
            let Some(close) = memchr::memchr(b']', rest) else {
                return false;
            };
            (is_ipv6(&rest[..close]), &rest[close + 1..])
        }
        None => {
            let (name, port) = text.split_at(memchr::memchr(b':', text).unwrap_or(text.len()));
            (is_name(name), port)
        }
    };
    let port_ok = match port.split_first() {
        None => true,
        Some((b':', digits)) => is_port(digits),
        Some(_) => false,
    };
    host_ok && port_ok
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// What RFC 3986 allows in a name, less the comma: two hosts that somebody joined to one list have one.
fn is_name(text: &[u8]) -> bool {
    let mut escapes = false;
    let mut allowed = |b: &u8| {
        escapes |= *b == b'%';
        b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(b)
    };
    let escapes_ok = |text: &[u8]| {
        memchr::memchr_iter(b'%', text)
            .all(|at| matches!(text.get(at + 1..at + 3), Some(hex) if hex.iter().all(u8::is_ascii_hexdigit)))
    };
    !text.is_empty() && text.iter().all(&mut allowed) && (!escapes || escapes_ok(text))
}

/// Empty is the scheme's own.
fn is_port(digits: &[u8]) -> bool {
    let value = |digits: &[u8]| {
        digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
    };
    digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) && value(digits) <= 65_535
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<RequestIndex>, Refused> {
        request(text.as_bytes(), &mut Vec::new())
    }

    fn answer(text: &str) -> Result<Option<ResponseIndex>, Refused> {
        response(text.as_bytes(), &mut Vec::new())
    }

    fn part<'a>(text: &'a str, at: &Range<u32>) -> &'a str {
        &text[at.start as usize..at.end as usize]
    }

    #[test]
    fn a_request_is_indexed() {
        let text =
            "\r\nPOST /a?b HTTP/1.1\r\nHost: h:80\r\nX-A:  v \r\nContent-Length: 12\r\n\r\nbody";
        let mut fields = Vec::new();
        let head = request(text.as_bytes(), &mut fields).unwrap().unwrap();
        assert_eq!(part(text, &head.method), "POST");
        assert_eq!(part(text, &head.target), "/a?b");
        assert_eq!(part(text, &head.host.unwrap()), "h:80");
        assert_eq!(&text[head.end..], "body");
        assert_eq!((head.framing, head.keep_alive), (Framing::Length(12), true));
        assert_eq!(
            (part(text, &fields[1].name), part(text, &fields[1].value)),
            ("X-A", "v")
        );
    }

    #[test]
    fn an_absolute_form_names_the_host_that_host_names() {
        let text = "GET http://A.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n";
        let head = read(text).unwrap().unwrap();
        assert_eq!(part(text, &head.target), "/x");
        assert_eq!(part(text, &head.authority.unwrap()), "A.example");
        let head = read("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap()
            .unwrap();
        assert!(head.target.is_empty());
    }

    #[test]
    fn connections_persist_as_their_version_has_it() {
        let keeps = |version, connection: &str| {
            let text = format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n");
            read(&text).unwrap().unwrap().keep_alive
        };
        assert!(keeps("1.1", ""));
        assert!(!keeps("1.1", "Connection: x, Close\r\n"));
        assert!(!keeps(
            "1.1",
            "Connection: close\r\nConnection: keep-alive\r\n"
        ));
        assert!(!keeps("1.0", ""));
        assert!(keeps("1.0", "Connection: Keep-Alive\r\n"));
    }

    #[test]
    fn what_is_ambiguous_or_wrong_is_refused() {
        let host = "Host: h\r\n";
        let with = |fields: &str| format!("POST / HTTP/1.1\r\n{host}{fields}\r\n");
        let cases = [
            (
                with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
                Refused::LengthAndCoding,
            ),
            (
                with("Content-Length: 1\r\nContent-Length: 2\r\n"),
                Refused::Lengths,
            ),
            (
                with("Content-Length: 1\r\nContent-Length: 1\r\n"),
                Refused::Lengths,
            ),
            (with("Content-Length: 1, 1\r\n"), Refused::Length),
            (with("Content-Length: +1\r\n"), Refused::Length),
            (with("Content-Length: -1\r\n"), Refused::Length),
            (with("Content-Length: 0x1\r\n"), Refused::Length),
            (with("Content-Length: \r\n"), Refused::Length),
            (
                with("Content-Length: 99999999999999999999\r\n"),
                Refused::Length,
            ),
            (
                with("Content-Length: 9223372036854775808\r\n"),
                Refused::Length,
            ),
            (
                with("Transfer-Encoding: chunked, chunked\r\n"),
                Refused::Coding,
            ),
            (
                with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
                Refused::Coding,
            ),
            (
                with("Transfer-Encoding: chunked, gzip\r\n"),
                Refused::Coding,
            ),
            (with("Transfer-Encoding: chunked,\r\n"), Refused::Coding),
            (
                with("Transfer-Encoding: gzip, chunked\r\n"),
                Refused::UnknownCoding,
            ),
            (with("Content_Length: 1\r\n"), Refused::FieldName),
            (with("transfer_encoding: chunked\r\n"), Refused::FieldName),
            (
                with("Transfer-Encoding: xchunked\r\n"),
                Refused::UnknownCoding,
            ),
            (with("Transfer-Encoding: \r\n"), Refused::Coding),
            (
                with("Transfer-Encoding: \u{b}chunked\r\n"),
                Refused::FieldValue,
            ),
            (with("X-A: a\r\n b\r\n"), Refused::Folded),
            (with("X-A : a\r\n"), Refused::FieldName),
            (with("X A: a\r\n"), Refused::FieldName),
            (with(": a\r\n"), Refused::FieldName),
            (with("X-A: a\0\r\n"), Refused::FieldValue),
            (with("X-A: a\u{7f}\r\n"), Refused::FieldValue),
            (with("X-A: a\nX-B: b\r\n"), Refused::LineEnd),
            (with("X-A: a\rX-B: b\r\n"), Refused::LineEnd),
            (with("Host: h\r\n"), Refused::Hosts),
            (with("Expect: 200-ok\r\n"), Refused::Expectation),
            (
                with("Expect: 200-ok\r\nExpect: 100-continue\r\n"),
                Refused::Expectation,
            ),
            ("GET / HTTP/1.1\n\n".into(), Refused::LineEnd),
            ("GET / HTTP/1.1\r\n\r\n".into(), Refused::NoHost),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), Refused::Host),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), Refused::Host),
            ("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n".into(), Refused::Host),
            ("GET / HTTP/1.1\r\nHost: h:x\r\n\r\n".into(), Refused::Host),
            (
                "GET / HTTP/1.1\r\nHost: h:65536\r\n\r\n".into(),
                Refused::Host,
            ),
            ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n".into(), Refused::Host),
            ("GET / HTTP/1.1\r\nHost: a%2\r\n\r\n".into(), Refused::Host),
            ("GET / HTTP/1.1\r\nHost: [1]\r\n\r\n".into(), Refused::Host),
            ("GET / HTTP/1.1\r\nHost: \r\n\r\n".into(), Refused::Host),
            (
                format!("GET http://other/ HTTP/1.1\r\n{host}\r\n"),
                Refused::OtherHost,
            ),
            (
                format!("GET http://u@h/ HTTP/1.1\r\n{host}\r\n"),
                Refused::Target,
            ),
            (format!("GET x HTTP/1.1\r\n{host}\r\n"), Refused::Target),
            (format!("GET * HTTP/1.1\r\n{host}\r\n"), Refused::Target),
            (format!("GET /a#b HTTP/1.1\r\n{host}\r\n"), Refused::Target),
            (format!("GET /a\0 HTTP/1.1\r\n{host}\r\n"), Refused::Target),
            (format!("get / HTTP/1.1\r\n{host}\r\n"), Refused::Method),
            (
                format!("GET /\u{fc} HTTP/1.1\r\n{host}\r\n"),
                Refused::Target,
            ),
            (
                format!("CONNECT h:443 HTTP/1.1\r\n{host}\r\n"),
                Refused::Connect,
            ),
            (
                format!("G(T / HTTP/1.1\r\n{host}\r\n"),
                Refused::RequestLine,
            ),
            (
                format!("{} / HTTP/1.1\r\n{host}\r\n", "M".repeat(33)),
                Refused::Method,
            ),
            (format!("GET / HTTP/2.0\r\n{host}\r\n"), Refused::Version),
            (format!("GET / HTTP/1.2\r\n{host}\r\n"), Refused::Version),
            (
                format!("GET / http/1.1\r\n{host}\r\n"),
                Refused::RequestLine,
            ),
            (
                format!("GET  / HTTP/1.1\r\n{host}\r\n"),
                Refused::RequestLine,
            ),
            (
                format!("\r\n\r\nGET / HTTP/1.1\r\n{host}\r\n"),
                Refused::RequestLine,
            ),
            ("\nGET / HTTP/1.1\r\n".into(), Refused::RequestLine),
            (
                format!("\0GET / HTTP/1.1\r\n{host}\r\n"),
                Refused::RequestLine,
            ),
            ("\u{16}\u{3}\u{1}\u{2}".into(), Refused::RequestLine),
            (
                format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(MOST_TARGET)),
                Refused::TargetTooLong,
            ),
            (
                format!("GET /{}", "a".repeat(MOST_TARGET + 9)),
                Refused::TargetTooLong,
            ),
            (
                with(&"A: b\r\n".repeat(MOST_FIELDS)),
                Refused::TooManyFields,
            ),
            (
                "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
                Refused::Coding,
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(&text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn the_first_rule_that_is_broken_counts() {
        let many = "A: b\r\n".repeat(MOST_FIELDS + 1);
        let long = "a".repeat(MOST_TARGET);
        let cases = [
            (
                format!("GET / HTTP/1.1\nHost: h\r\n{many}\r\n"),
                Refused::LineEnd,
            ),
            (
                format!("GET / HTTP/1.1\r\nA b\r\n{many}\r\n"),
                Refused::FieldName,
            ),
            (
                "GET / HTTP/1.1\r\nA: \0\r\n b\n\n".into(),
                Refused::FieldValue,
            ),
            (format!("GET /\0{long} HTTP/1.1\r\n\r\n"), Refused::Target),
            (
                format!("GET /{long}\0 HTTP/1.1\r\n\r\n"),
                Refused::TargetTooLong,
            ),
            (
                format!("GET /{long} HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n"),
                Refused::TargetTooLong,
            ),
        ];
        for (text, expected) in cases {
            for end in 0..=text.len() {
                let verdict = read(&text[..end]);
                assert!(
                    matches!(verdict, Ok(None)) || verdict == Err(expected),
                    "{verdict:?}: {text:?}"
                );
            }
            assert_eq!(read(&text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn an_answer_may_say_what_only_a_request_means() {
        assert!(
            answer("HTTP/1.1 200 OK\r\nExpect: x\r\n\r\n")
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn an_old_client_need_not_name_a_host() {
        assert!(read("GET / HTTP/1.0\r\n\r\n").unwrap().is_some());
        assert!(
            read("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n")
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn a_response_is_indexed_or_refused() {
        let text = "HTTP/1.1 404 Nothing here\r\nTransfer-Encoding: Chunked\r\n\r\n";
        let head = answer(text).unwrap().unwrap();
        assert_eq!((head.status, head.framing), (404, Framing::Chunked));
        assert_eq!(part(text, &head.reason), "Nothing here");
        let cases = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Refused::LengthAndCoding,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                Refused::Lengths,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
                Refused::UnknownCoding,
            ),
            ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", Refused::Folded),
            ("HTTP/1.1 200 OK\nX: a\n\n", Refused::LineEnd),
            ("HTTP/1.1 099 Odd\r\n\r\n", Refused::StatusLine),
            ("HTTP/1.1 999 Odd\r\n\r\n", Refused::StatusLine),
            ("HTTP/1.1 20 OK\r\n\r\n", Refused::StatusLine),
            ("ICY 200 OK\r\n\r\n", Refused::StatusLine),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", Refused::StatusLine),
            ("HTTP/2 200\r\n\r\n", Refused::Version),
        ];
        for (text, expected) in cases {
            assert_eq!(answer(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn any_split_into_reads_gives_the_same() {
        let whole = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), Ok(None), "{:?}", &whole[..cut]);
        }
        assert!(read(whole).unwrap().is_some());
    }
}
