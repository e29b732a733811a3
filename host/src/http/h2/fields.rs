//! Heads and trailers on their way into HTTP/2: names in lower case, nothing that is for one connection alone (RFC 9113, 8.2.2).

use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::http::h1::chunk::may_be_trailer;
use crate::http::known::{HOP_BY_HOP, Known};
use crate::http::message::ResponseHead;

/// What HPACK counts for a field beside its text (RFC 7541, 4.1).
const A_FIELD: usize = 32;

/// Fields that say something else in each message. HPACK's table would be full of them, and each would be looked for among all the
/// others; so they are sent in the form that nobody keeps (RFC 7541, 6.2.3).
const NEVER_TWICE: [&str; 2] = ["x-request-id", "traceparent"];

fn marked(name: &HeaderName, mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(NEVER_TWICE.contains(&name.as_str()));
    value
}

/// An answer's head, and how long it is as text. `length` is its body's, where that is known and to be said.
pub(super) fn response(head: &ResponseHead, length: Option<u64>) -> (Response<()>, usize) {
    let hops = head.fields.kinds().meets(HOP_BY_HOP);
    let passes = |name: &[u8]| !hops || !HOP_BY_HOP.has(Known::of(name));
    let fields = head.fields.iter().filter(|(name, _)| passes(name));
    let (mut map, size) = map(fields);
    if let Some(length) = length.filter(|_| !map.contains_key(CONTENT_LENGTH)) {
        map.insert(CONTENT_LENGTH, length.into());
    }
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    *response.headers_mut() = map;
    (response, size + A_FIELD)
}

/// An interim answer's head.
pub(super) fn interim(head: &ResponseHead) -> Option<Response<()>> {
    let interim = head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS;
    interim.then(|| response(head, None).0)
}

/// These fields, and how long they are as text. The values share one buffer.
fn map<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> (HeaderMap, usize) {
    let mut values = BytesMut::with_capacity(512);
    let mut names: smallvec::SmallVec<[(HeaderName, usize); 16]> = smallvec::SmallVec::new();
    let mut size = 0;
    for (name, value) in fields {
        size += name.len() + value.len() + A_FIELD;
        if let Ok(name) = HeaderName::from_bytes(name) {
            values.put_slice(value);
            names.push((name, value.len()));
        }
    }
    let mut values = values.freeze();
    let mut map = HeaderMap::with_capacity(names.len() + 1);
    for (name, length) in names {
        // What HTTP/1.1's reader lets through is a value here too.
        if let Ok(value) = HeaderValue::from_maybe_shared(values.split_to(length)) {
            let value = marked(&name, value);
            map.append(name, value);
        }
    }
    (map, size)
}

/// The lines of a trailer section, each with its CRLF. None: there are none.
pub(super) fn trailers(lines: &[u8]) -> Option<HeaderMap> {
    let (map, _) = map(self::lines(lines));
    (!map.is_empty()).then_some(map)
}

/// The fields in lines that each end with CRLF.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|b| *b == b'\n').filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// A request's head as HTTP/1.1 has it becomes the fields of one in HTTP/2, its text the values' buffer.
pub(super) fn of_lines(text: Bytes) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(16);
    let place = |part: &[u8]| {
        let begin = part.as_ptr() as usize - text.as_ptr() as usize;
        text.slice(begin..begin + part.len())
    };
    for (name, value) in lines(&text) {
        let kind = Known::of(name);
        // `te: trailers` is all that may be said of it (RFC 9113, 8.2.2), and all that is.
        if kind == Known::Host || (HOP_BY_HOP.has(kind) && kind != Known::Te) {
            continue;
        }
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_maybe_shared(place(value)),
        ) {
            let value = marked(&name, value);
            map.append(name, value);
        }
    }
    map
}

/// Trailers as lines. What no trailer may hold (RFC 9110, 6.5.1) is left out.
pub(super) fn write_trailers(trailers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in trailers {
        if may_be_trailer(name.as_str()) && is_bare(value.as_bytes()) {
            write_line(name.as_str().as_bytes(), value.as_bytes(), &mut lines);
        }
    }
    lines
}

pub(super) fn write_line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether a value has no blanks around it, which none may have (RFC 9113, 8.2.1), and no line's end in it.
pub(super) fn is_bare(value: &[u8]) -> bool {
    value.trim_ascii().len() == value.len()
        && !value.iter().any(|b| matches!(b, b'\r' | b'\n' | b'\0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Fields;

    #[test]
    fn an_answers_head_is_in_lower_case_and_of_no_connection() {
        let mut head = ResponseHead::new(StatusCode::OK);
        head.fields = Fields::new();
        for (name, value) in [
            ("x-a", "1"),
            ("connection", "close"),
            ("upgrade", "x"),
            ("x-a", "2"),
            ("set-cookie", "a"),
        ] {
            head.fields.append(&HeaderName::from_static(name), value);
        }
        let (response, _) = response(&head, Some(7));
        let all: Vec<_> = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(
            all,
            [
                ("x-a", "1"),
                ("x-a", "2"),
                ("set-cookie", "a"),
                ("content-length", "7")
            ]
        );
    }

    #[test]
    fn trailers_are_the_same_both_ways() {
        let map = trailers(b"Grpc-Status: 0\r\nx: \r\n").unwrap();
        assert_eq!(map["grpc-status"], "0");
        assert_eq!(write_trailers(&map), b"grpc-status: 0\r\nx: \r\n");
        assert!(trailers(b"").is_none());
    }

    #[test]
    fn what_no_trailer_may_hold_is_left_out() {
        let mut map = HeaderMap::new();
        for name in ["content-length", "host", "x-forwarded-for", "x-sum"] {
            map.append(name, HeaderValue::from_static("1"));
        }
        assert_eq!(write_trailers(&map), b"x-sum: 1\r\n");
    }

    #[test]
    fn a_request_leaves_its_connection_behind() {
        let text =
            "Host: h\r\nconnection: te, upgrade\r\nupgrade: websocket\r\nte: trailers\r\nX-A:1\r\n";
        let map = of_lines(Bytes::from_static(text.as_bytes()));
        let names: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["te", "x-a"]);
        assert_eq!(map["x-a"], "1");
    }
}
