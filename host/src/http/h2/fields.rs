//! Heads and trailers between HTTP/1.1's text and HTTP/2's blocks: names in lower case, nothing that is for one connection alone
//! (RFC 9113, 8.2.2), nothing that could be taken for the end of a line.

use http::StatusCode;

use super::hpack::Encoder;
use crate::http::h1::chunk::may_be_trailer;
use crate::http::h1::sink::decimal;
use crate::http::known::{HOP_BY_HOP, Known};
use crate::http::message::ResponseHead;

/// Bytes of a name that is said in lower case.
const LONGEST_NAME: usize = 256;

/// An answer's head. `length` is its body's, where that is known and to be said.
pub(super) fn response(
    head: &ResponseHead,
    length: Option<u64>,
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) {
    encoder.status(head.status.as_u16(), out);
    let hops = head.fields.kinds().meets(HOP_BY_HOP);
    let mut lower = [0; LONGEST_NAME];
    for (name, value) in head.fields.iter() {
        if !hops || !HOP_BY_HOP.has(Known::of(name)) {
            field(name, value, &mut lower, encoder, out);
        }
    }
    let said = || head.fields.first_of(Known::ContentLength).is_some();
    if let Some(length) = length.filter(|_| !said()) {
        content_length(length, encoder, out);
    }
}

/// Whether it is an interim answer that can be passed on.
pub(super) fn is_interim(head: &ResponseHead) -> bool {
    head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS
}

/// The fields of a request's head, which is text as HTTP/1.1 has it. Host has become the authority.
pub(super) fn request(text: &[u8], length: Option<u64>, encoder: &mut Encoder, out: &mut Vec<u8>) {
    let (mut said, mut lower) = (false, [0; LONGEST_NAME]);
    for (name, value) in lines(text) {
        let kind = Known::of(name);
        // `te: trailers` is all that may be said of it, and all that is.
        if kind == Known::Host || (HOP_BY_HOP.has(kind) && kind != Known::Te) {
            continue;
        }
        said |= kind == Known::ContentLength;
        field(name, value, &mut lower, encoder, out);
    }
    if let Some(length) = length.filter(|length| *length > 0 && !said) {
        content_length(length, encoder, out);
    }
}

/// The lines of a trailer section, each with its CRLF.
pub(super) fn trailers(text: &[u8], encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.trailers(out);
    let mut lower = [0; LONGEST_NAME];
    for (name, value) in lines(text) {
        field(name, value, &mut lower, encoder, out);
    }
}

fn field(
    name: &[u8],
    value: &[u8],
    lower: &mut [u8; LONGEST_NAME],
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
) {
    match lower.get_mut(..name.len()) {
        Some(lower) => {
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            encoder.field(lower, value, out);
        }
        None => encoder.field(&name.to_ascii_lowercase(), value, out),
    }
}

fn content_length(length: u64, encoder: &mut Encoder, out: &mut Vec<u8>) {
    let mut digits = Vec::with_capacity(20);
    decimal(length, &mut digits);
    encoder.field(b"content-length", &digits, out);
}

/// The fields in lines that each end with CRLF.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|b| *b == b'\n').filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

pub(super) fn write_line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether a field may be called so: a token without capitals (RFC 9113, 8.2.1).
pub(super) fn is_name(name: &[u8]) -> bool {
    const PART: [bool; 256] = {
        let mut part = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            part[byte] = matches!(
                byte as u8,
                b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'
                    | b'_' | b'`' | b'|' | b'~'
            );
            byte += 1;
        }
        part
    };
    !name.is_empty() && name.iter().all(|byte| PART[usize::from(*byte)])
}

/// Whether nothing in a value ends a line or a text (RFC 9113, 8.2.1).
pub(super) fn is_one_line(value: &[u8]) -> bool {
    memchr::memchr3(b'\r', b'\n', b'\0', value).is_none()
}

/// Whether a value has no blanks around it, which none may have (RFC 9113, 8.2.1).
pub(super) fn is_bare(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !blank(value.first()) && !blank(value.last())
}

/// An answer's head as it comes, field by field, written down as HTTP/1.1 has it.
pub(super) struct Answer {
    text: Vec<u8>,
    status: Option<StatusCode>,
    length: Option<u64>,
    malformed: bool,
    most: usize,
}

/// The same, whole.
pub(super) struct AnswerHead {
    pub text: Vec<u8>,
    pub interim: bool,
    /// No body follows it whatever was asked.
    pub bodiless: bool,
    pub length: Option<u64>,
}

impl Answer {
    /// `most`: bytes that it may have.
    pub fn new(most: usize) -> Answer {
        Answer {
            text: Vec::with_capacity(512),
            status: None,
            length: None,
            malformed: false,
            most,
        }
    }

    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        if !self.malformed {
            self.malformed = self.take(name, value).is_none() || self.text.len() > self.most;
        }
    }

    /// None: that is malformed.
    fn take(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        if name == b":status" {
            if self.status.is_some() {
                return None;
            }
            let status = StatusCode::from_bytes(value).ok()?;
            self.status = Some(status);
            self.text.extend_from_slice(b"HTTP/1.1 ");
            self.text.extend_from_slice(status.as_str().as_bytes());
            self.text.push(b' ');
            let reason = status.canonical_reason().unwrap_or_default();
            self.text.extend_from_slice(reason.as_bytes());
            self.text.extend_from_slice(b"\r\n");
            return Some(());
        }
        // No other pseudo-field is a name.
        let sane = is_name(name) && is_one_line(value) && is_bare(value);
        let kind = Known::of(name);
        if !sane || self.status.is_none() || HOP_BY_HOP.has(kind) {
            return None;
        }
        if kind == Known::ContentLength && self.length.is_none() {
            self.length = std::str::from_utf8(value).ok()?.parse().ok();
        }
        write_line(name, value, &mut self.text);
        Some(())
    }

    /// None: it is malformed.
    pub fn end(mut self) -> Option<AnswerHead> {
        let status = self.status.filter(|_| !self.malformed)?;
        self.text.extend_from_slice(b"\r\n");
        let interim = status.is_informational();
        let none = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        // There is nothing to switch to (RFC 9113, 8.6).
        (status != StatusCode::SWITCHING_PROTOCOLS).then_some(AnswerHead {
            text: self.text,
            interim,
            bodiless: none.contains(&status),
            length: self.length,
        })
    }
}

/// A trailer section as it comes. What no trailer may hold (RFC 9110, 6.5.1) is left out.
#[derive(Default)]
pub(super) struct Trailers {
    lines: Vec<u8>,
    malformed: bool,
}

/// Bytes of a trailer section, as with HTTP/1.1.
const MOST_TRAILERS: usize = 8 << 10;

impl Trailers {
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        if self.malformed {
            return;
        }
        self.malformed = !is_name(name) || !is_one_line(value) || self.lines.len() > MOST_TRAILERS;
        if self.malformed || !is_bare(value) {
            return;
        }
        if std::str::from_utf8(name).is_ok_and(may_be_trailer) {
            write_line(name, value, &mut self.lines);
        }
    }

    /// None: it is malformed.
    pub fn end(self) -> Option<Vec<u8>> {
        (!self.malformed).then_some(self.lines)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::super::hpack::Decoder;
    use super::*;
    use crate::http::Fields;

    fn said(write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> Vec<(String, String)> {
        let (mut block, mut all) = (Vec::new(), Vec::new());
        write(&mut Encoder::default(), &mut block);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Decoder::default()
            .decode(&block, |name, value| all.push((text(name), text(value))))
            .unwrap();
        all
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        list.iter().map(pair).collect()
    }

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
        let all = said(|encoder, out| response(&head, Some(7), encoder, out));
        let expected = [
            (":status", "200"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("set-cookie", "a"),
            ("content-length", "7"),
        ];
        assert_eq!(all, pairs(&expected));
    }

    #[test]
    fn a_request_leaves_its_connection_behind() {
        let text =
            b"Host: h\r\nconnection: te, upgrade\r\nupgrade: websocket\r\nte: trailers\r\nX-A:1\r\n";
        let all = said(|encoder, out| request(text, Some(3), encoder, out));
        let expected = [("te", "trailers"), ("x-a", "1"), ("content-length", "3")];
        assert_eq!(all, pairs(&expected));
    }

    #[test]
    fn trailers_are_the_same_both_ways() {
        let all = said(|encoder, out| trailers(b"Grpc-Status: 0\r\nx: \r\n", encoder, out));
        assert_eq!(all, pairs(&[("grpc-status", "0"), ("x", "")]));
        let mut read = Trailers::default();
        for name in ["content-length", "host", "x-forwarded-for", "x-sum"] {
            read.field(name.as_bytes(), b"1");
        }
        assert_eq!(read.end().unwrap(), b"x-sum: 1\r\n");
        for (name, value) in [(":status", "200"), ("X", "1"), ("x", "1\r\ny: 2")] {
            let mut read = Trailers::default();
            read.field(name.as_bytes(), value.as_bytes());
            assert!(read.end().is_none(), "{name}");
        }
    }

    #[test]
    fn an_answer_that_http_1_could_not_carry_is_malformed() {
        let of = |fields: &[(&str, &str)]| {
            let mut answer = Answer::new(1_000);
            for (name, value) in fields {
                answer.field(name.as_bytes(), value.as_bytes());
            }
            answer.end()
        };
        let fine = of(&[(":status", "204"), ("x", "1"), ("content-length", "9")]).unwrap();
        assert_eq!(
            fine.text,
            b"HTTP/1.1 204 No Content\r\nx: 1\r\ncontent-length: 9\r\n\r\n"
        );
        assert!(fine.bodiless && !fine.interim && fine.length == Some(9));
        let wrong: &[&[(&str, &str)]] = &[
            &[],
            &[("x", "1"), (":status", "200")],
            &[(":status", "200"), (":status", "200")],
            &[(":status", "20x")],
            &[(":status", "101")],
            &[(":status", "200"), (":path", "/")],
            &[(":status", "200"), ("X", "1")],
            &[(":status", "200"), ("x", "1\n")],
            &[(":status", "200"), ("x", " 1")],
            &[(":status", "200"), ("connection", "close")],
            &[(":status", "200"), ("x", &"1".repeat(1_000))],
        ];
        for fields in wrong {
            assert!(of(fields).is_none(), "{fields:?}");
        }
    }
}
