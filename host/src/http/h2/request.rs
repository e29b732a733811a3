//! A request's head as it comes in HTTP/2, field by field, written down as HTTP/1.1 has it and read by HTTP/1.1's reader. So a method, a
//! target, a host or a field is fine here if it is fine there. What the two protocols say in different places is settled here:
//! the authority against Host, cookies in crumbs, and a WebSocket's CONNECT (RFC 8441).
//!
//! What can't be a request at all is malformed, and its stream is reset (RFC 9113, 8.1.1): a field that belongs to one connection, a
//! name with capitals, `te` with more than trailers, a second or a misplaced pseudo-field, a line's end in a value, a length
//! that the DATA frames contradict.

use std::cell::Cell;

use http::Version;

use super::fields::{is_bare, is_name, is_one_line, write_line};
use super::hpack::{Decoder, Malformed};
use super::websocket;
use crate::http::h1::head::{Framing, Refused};
use crate::http::h1::request::{self, Heard};
use crate::http::known::{HOP_BY_HOP, Known};
use crate::http::server::Unreadable;

pub(super) struct Read {
    pub heard: Box<Heard>,
    /// The key that the server's answer must prove to know: the request wants to become a WebSocket.
    pub key: Option<websocket::Key>,
}

impl Read {
    /// Bytes of its body, where it says so.
    pub fn length(&self) -> Option<u64> {
        match self.heard.framing {
            Framing::Length(length) => Some(length),
            _ => None,
        }
    }
}

thread_local! {
    /// Memory for the next head.
    static DRAFT: Cell<Option<Box<Draft>>> = const { Cell::new(None) };
}

/// Bytes of a text that are kept for the next.
const LARGEST_KEPT: usize = 64 << 10;

/// Reads a header block. None: it is no request. `most`: bytes that the head may have, written down; `ended`: no body follows it.
pub(super) fn read(
    decoder: &mut Decoder,
    block: &[u8],
    ended: bool,
    most: usize,
) -> Result<Option<Result<Read, Unreadable>>, Malformed> {
    let mut draft = DRAFT.take().unwrap_or_default();
    draft.clear(most);
    decoder.decode(block, |name, value| draft.field(name, value))?;
    let read = draft.end(ended);
    if draft.text.capacity() <= LARGEST_KEPT {
        DRAFT.set(Some(draft));
    }
    Ok(read)
}

/// What is wrong.
enum Wrong {
    Malformed,
    Refused(Refused),
    TooLarge,
}

impl From<Refused> for Wrong {
    fn from(why: Refused) -> Wrong {
        Wrong::Refused(why)
    }
}

#[derive(Default)]
struct Draft {
    /// Pseudo-fields; none of them is empty but by their own fault.
    method: Vec<u8>,
    scheme: Vec<u8>,
    path: Vec<u8>,
    authority: Vec<u8>,
    protocol: Vec<u8>,
    /// Those that were there, by a bit each.
    seen: u8,
    /// The pseudo-fields are over, and the request's line is written.
    begun: bool,
    text: Vec<u8>,
    crumbs: Vec<u8>,
    hosts: u32,
    key: Option<websocket::Key>,
    wrong: Option<Wrong>,
    most: usize,
}

const METHOD: u8 = 1;
const SCHEME: u8 = 2;
const PATH: u8 = 4;
const AUTHORITY: u8 = 8;
const PROTOCOL: u8 = 16;

impl Draft {
    fn clear(&mut self, most: usize) {
        for part in [
            &mut self.method,
            &mut self.scheme,
            &mut self.path,
            &mut self.authority,
            &mut self.protocol,
            &mut self.text,
            &mut self.crumbs,
        ] {
            part.clear();
        }
        (self.seen, self.begun, self.hosts) = (0, false, 0);
        (self.key, self.wrong, self.most) = (None, None, most);
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        // One that is refused may still be found to be no request at all.
        if matches!(self.wrong, Some(Wrong::Malformed | Wrong::TooLarge)) {
            return;
        }
        let taken = match name.first() {
            Some(b':') => self.pseudo(name, value),
            _ => self.begin().and_then(|()| self.regular(name, value)),
        };
        if let Err(wrong) = taken {
            self.fault(wrong);
        } else if self.text.len() + self.crumbs.len() > self.most {
            self.fault(Wrong::TooLarge);
        }
    }

    /// What was refused first is told, but for what is worse.
    fn fault(&mut self, wrong: Wrong) {
        if self.wrong.is_none() || !matches!(wrong, Wrong::Refused(_)) {
            self.wrong = Some(wrong);
        }
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Wrong> {
        let (bit, place) = match name {
            b":method" => (METHOD, &mut self.method),
            b":scheme" => (SCHEME, &mut self.scheme),
            b":path" => (PATH, &mut self.path),
            b":authority" => (AUTHORITY, &mut self.authority),
            b":protocol" => (PROTOCOL, &mut self.protocol),
            _ => return Err(Wrong::Malformed),
        };
        // None of them has a blank or what ends a line.
        let bare = value.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
        if self.begun || self.seen & bit != 0 || !bare {
            return Err(Wrong::Malformed);
        }
        self.seen |= bit;
        place.extend_from_slice(value);
        if place.len() > self.most {
            return Err(Wrong::TooLarge);
        }
        Ok(())
    }

    /// The request's line, and its host.
    fn begin(&mut self) -> Result<(), Wrong> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        let has = |bit| self.seen & bit != 0;
        let connect = self.method == b"CONNECT";
        let tunnel = has(PROTOCOL);
        let complete = if connect && !tunnel {
            // It has nothing but an authority (RFC 9113, 8.5).
            !has(SCHEME) && !has(PATH)
        } else {
            has(METHOD) && has(SCHEME) && has(PATH) && (connect || !tunnel)
        };
        if !complete {
            return Err(Wrong::Malformed);
        }
        let websocket = self.protocol.eq_ignore_ascii_case(b"websocket");
        if connect && !websocket {
            return Err(Refused::Connect.into());
        }
        let method = if tunnel { b"GET" } else { &self.method[..] };
        self.text.extend_from_slice(method);
        self.text.push(b' ');
        self.text.extend_from_slice(&self.path);
        self.text.extend_from_slice(b" HTTP/1.1\r\n");
        // The authority stands for Host, and before it (RFC 9113, 8.3.1). None at all is refused by whoever reads this.
        if has(AUTHORITY) {
            write_line(b"host", &self.authority, &mut self.text);
        }
        if tunnel {
            self.key = Some(websocket::Key::fresh());
        }
        let scheme = matches!(&self.scheme[..], b"http" | b"https");
        // An absolute form would bring an authority of its own.
        let target = self.path.starts_with(b"/") || self.path == b"*";
        if !scheme || !target {
            return Err(Refused::Target.into());
        }
        Ok(())
    }

    fn regular(&mut self, name: &[u8], value: &[u8]) -> Result<(), Wrong> {
        let kind = Known::of(name);
        let of_a_connection = HOP_BY_HOP.has(kind) && !matches!(kind, Known::Te | Known::Expect);
        let odd = kind == Known::Te && !value.eq_ignore_ascii_case(b"trailers");
        if !is_name(name) || !is_one_line(value) || of_a_connection || odd {
            return Err(Wrong::Malformed);
        }
        if !is_bare(value) {
            return Err(Refused::FieldValue.into());
        }
        match kind {
            Known::Host => return self.host(value),
            // In a tunnel, what is sent is no body.
            Known::Expect if self.key.is_some() => return Err(Refused::Expectation.into()),
            Known::ContentLength if self.key.is_some() => return Err(Refused::Length.into()),
            _ if name == b"cookie" => {
                if !self.crumbs.is_empty() {
                    self.crumbs.extend_from_slice(b"; ");
                }
                self.crumbs.extend_from_slice(value);
            }
            _ if self.key.is_some() && websocket::is_ours(name) => {}
            _ => write_line(name, value, &mut self.text),
        }
        Ok(())
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Wrong> {
        self.hosts += 1;
        if self.seen & AUTHORITY == 0 {
            write_line(b"host", value, &mut self.text);
        } else if self.hosts > 1 {
            return Err(Refused::Hosts.into());
        } else if !value.eq_ignore_ascii_case(&self.authority) {
            return Err(Refused::OtherHost.into());
        }
        Ok(())
    }

    fn end(&mut self, ended: bool) -> Option<Result<Read, Unreadable>> {
        if self.wrong.is_none()
            && let Err(wrong) = self.begin()
        {
            self.fault(wrong);
        }
        match self.wrong.take() {
            Some(Wrong::Malformed) => return None,
            Some(Wrong::Refused(why)) => return Some(Err(Unreadable::Refused(why))),
            Some(Wrong::TooLarge) => return Some(Err(Unreadable::HeadTooLarge)),
            None => {}
        }
        // In one field, as those expect it who know HTTP/1.1 alone (RFC 9113, 8.2.3).
        if !self.crumbs.is_empty() {
            write_line(b"cookie", &self.crumbs, &mut self.text);
        }
        let key = self.key.take();
        if let Some(key) = &key {
            key.write(&mut self.text);
        }
        self.text.extend_from_slice(b"\r\n");
        let mut heard = match request::read_whole(&self.text) {
            Ok(heard) => heard,
            Err(why) => return Some(Err(why)),
        };
        heard.head.version = Version::HTTP_2;
        let read = Read { heard, key };
        let contradicted = ended && read.length().is_some_and(|length| length > 0);
        (!contradicted).then_some(Ok(read))
    }
}

#[cfg(test)]
mod tests {
    use super::super::hpack::Encoder;
    use super::*;
    use crate::http::Fields;

    type Sent<'a> = &'a [(&'a str, &'a str)];

    /// As a client sends it: all of the fields, pseudo-fields too.
    fn sent(fields: Sent) -> Option<Result<Read, Unreadable>> {
        let (mut encoder, mut block) = (Encoder::default(), Vec::new());
        for (name, value) in fields {
            encoder.field(name.as_bytes(), value.as_bytes(), &mut block);
        }
        read(&mut Decoder::default(), &block, false, 32 << 10).unwrap()
    }

    const GET: [(&str, &str); 4] = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "h"),
    ];

    fn with(fields: Sent) -> Option<Result<Read, Unreadable>> {
        sent(&[&GET, fields].concat())
    }

    fn but(name: &str, value: Option<&str>) -> Option<Result<Read, Unreadable>> {
        let mut fields = GET.to_vec();
        fields.retain(|field| field.0 != name);
        fields.extend(value.map(|value| (name, value)));
        sent(&fields)
    }

    fn refused(read: Option<Result<Read, Unreadable>>) -> Refused {
        match read {
            Some(Err(Unreadable::Refused(why))) => why,
            Some(Err(other)) => panic!("{other:?}"),
            Some(Ok(read)) => panic!("{:?}", read.heard.head),
            None => panic!("malformed"),
        }
    }

    fn written(fields: &Fields) -> String {
        let mut out = Vec::new();
        fields.write(&mut out, |_| false);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_is_that_of_http_1() {
        let fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "h:81"),
            (":path", "/p?q"),
            ("cookie", "a=1"),
            ("x-a", "1"),
            ("cookie", "b=2"),
            ("te", "trailers"),
            ("content-length", "3"),
        ];
        let read = sent(&fields).unwrap().unwrap();
        let head = &read.heard.head;
        assert_eq!(head.target.as_bytes(), b"/p?q");
        assert_eq!(
            (head.version, read.heard.framing),
            (Version::HTTP_2, Framing::Length(3))
        );
        assert_eq!(
            written(&head.fields),
            "host: h:81\r\nx-a: 1\r\nte: trailers\r\ncontent-length: 3\r\ncookie: a=1; b=2\r\n"
        );
    }

    #[test]
    fn what_http_1_refuses_is_refused() {
        let cases: &[(Sent, Refused)] = &[
            (&[("host", "g")], Refused::OtherHost),
            (&[("host", "h"), ("host", "h")], Refused::Hosts),
            (&[("expect", "x")], Refused::Expectation),
            (&[("content-length", "+1")], Refused::Length),
            (&[("content_length", "1")], Refused::FieldName),
            (&[("x", " 1")], Refused::FieldValue),
        ];
        for (fields, why) in cases {
            assert_eq!(refused(with(fields)), *why, "{fields:?}");
        }
        let cases = [
            (":method", Some("get"), Refused::Method),
            (":authority", None, Refused::NoHost),
            (":authority", Some("u@h"), Refused::Host),
            (":scheme", Some("ftp"), Refused::Target),
            (":path", Some("*"), Refused::Target),
            (":path", Some("x"), Refused::Target),
            (":path", Some(""), Refused::Target),
            (":path", Some("http://h/"), Refused::Target),
        ];
        for (name, value, why) in cases {
            assert_eq!(refused(but(name, value)), why, "{name} {value:?}");
        }
        let without = [&GET[..3], &[("host", "g"), ("host", "g")]].concat();
        assert_eq!(refused(sent(&without)), Refused::Hosts);
        let connect = [(":method", "CONNECT"), (":authority", "h:443")];
        assert_eq!(refused(sent(&connect)), Refused::Connect);
    }

    #[test]
    fn what_is_no_request_is_malformed() {
        let cases: &[Sent] = &[
            &[("connection", "x")],
            &[("transfer-encoding", "chunked")],
            &[("upgrade", "x")],
            &[("keep-alive", "5")],
            &[("proxy-connection", "x")],
            &[("te", "gzip")],
            &[("x", "a\r\nb: c")],
            &[("x", "a\nb")],
            &[("x", "a\0")],
            &[("X", "a")],
            &[("x y", "a")],
            &[("x:", "a")],
            &[("", "a")],
            &[(":path", "/again")],
            &[(":other", "a")],
            &[(":protocol", "websocket")],
            &[("x", "a"), (":protocol", "websocket")],
        ];
        for fields in cases {
            assert!(with(fields).is_none(), "{fields:?}");
        }
        for (name, value) in [
            (":method", None),
            (":scheme", None),
            (":path", None),
            (":path", Some("/a b")),
            (":path", Some("/a\r\nx: y")),
            (":authority", Some("a b")),
            (":method", Some("G T")),
            (":method", Some("CONNECT")),
        ] {
            assert!(but(name, value).is_none(), "{name} {value:?}");
        }
        let mut block = Vec::new();
        for (name, value) in [&GET[..], &[("content-length", "5")]].concat() {
            Encoder::default().field(name.as_bytes(), value.as_bytes(), &mut block);
        }
        let ended = read(&mut Decoder::default(), &block, true, 32 << 10);
        assert!(ended.unwrap().is_none(), "no body of five bytes follows");
    }

    #[test]
    fn host_may_say_the_same_as_the_authority() {
        let same = with(&[("host", "H")]).unwrap().unwrap();
        assert_eq!(written(&same.heard.head.fields), "host: h\r\n");
        let mut options = GET.to_vec();
        options[0].1 = "OPTIONS";
        options[2].1 = "*";
        assert!(sent(&options).unwrap().is_ok());
    }

    #[test]
    fn a_head_has_its_bounds() {
        let long = "a".repeat(33 << 10);
        for name in ["x", "cookie"] {
            let large = with(&[(name, &long)]);
            assert!(matches!(large, Some(Err(Unreadable::HeadTooLarge))));
        }
        assert!(matches!(
            but(":path", Some(&long)),
            Some(Err(Unreadable::HeadTooLarge))
        ));
        let many = vec![("x", "1"); 101];
        assert_eq!(refused(with(&many)), Refused::TooManyFields);
    }

    #[test]
    fn a_websocket_is_connected() {
        let fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/chat"),
            (":authority", "h"),
            ("sec-websocket-key", "ours alone"),
        ];
        let read = sent(&fields).unwrap().unwrap();
        assert!(read.key.is_some());
        let text = written(&read.heard.head.fields);
        assert!(
            text.contains("upgrade: websocket") && !text.contains("ours"),
            "{text}"
        );
        assert_eq!(read.heard.head.method, "GET");
        let mut other = fields;
        other[1].1 = "connect-udp";
        assert_eq!(refused(sent(&other)), Refused::Connect);
        let with_length = [&fields[..], &[("content-length", "1")]].concat();
        assert_eq!(refused(sent(&with_length)), Refused::Length);
    }
}
