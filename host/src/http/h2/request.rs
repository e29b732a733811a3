//! A request's head as it came in HTTP/2, written down as HTTP/1.1 has it and read by HTTP/1.1's reader. So a method, a target, a
//! host or a field is fine here if it is fine there. What the two protocols say in different places is settled here: the
//! authority against Host, cookies in crumbs, and a WebSocket's CONNECT (RFC 8441).
//!
//! A field that belongs to one connection, an upper-case name, `te` with more than trailers, a second or a misplaced
//! pseudo-header, a length that the DATA frames contradict: those are malformed (RFC 9113, 8.1.1), and the h2 crate resets
//! their stream with PROTOCOL_ERROR before anybody here hears of it.

use h2::ext::Protocol;
use http::header::{COOKIE, EXPECT, HOST};
use http::request::Parts;
use http::{HeaderName, Method, Version};

use super::fields::{is_bare, write_line};
use super::websocket;
use crate::http::h1::head::Refused;
use crate::http::h1::request::{self, Heard};
use crate::http::known::{HOP_BY_HOP, Known};
use crate::http::server::Unreadable;

pub(super) struct Read {
    pub heard: Box<Heard>,
    /// The key that the server's answer must prove to know: the request wants to become a WebSocket.
    pub key: Option<websocket::Key>,
}

/// `most`: bytes that the head may have, written down.
pub(super) fn read(parts: &Parts, most: usize) -> Result<Read, Unreadable> {
    let mut text = Vec::with_capacity(512);
    let key = write(parts, &mut text).map_err(Unreadable::Refused)?;
    if text.len() > most {
        return Err(Unreadable::HeadTooLarge);
    }
    let mut heard = request::read_whole(&text)?;
    heard.head.version = Version::HTTP_2;
    Ok(Read { heard, key })
}

fn write(parts: &Parts, text: &mut Vec<u8>) -> Result<Option<websocket::Key>, Refused> {
    let key = match parts.extensions.get::<Protocol>() {
        Some(protocol) if is_websocket(protocol) => Some(websocket::Key::fresh()),
        Some(_) => return Err(Refused::Connect),
        None => None,
    };
    if parts.method == Method::CONNECT && key.is_none() {
        return Err(Refused::Connect);
    }
    write_line_of_request(parts, key.is_some(), text)?;
    write_host(parts, text)?;
    write_fields(parts, key.is_some(), text)?;
    if let Some(key) = &key {
        key.write(text);
    }
    text.extend_from_slice(b"\r\n");
    Ok(key)
}

fn is_websocket(protocol: &Protocol) -> bool {
    protocol.as_str().eq_ignore_ascii_case("websocket")
}

fn write_line_of_request(parts: &Parts, tunnel: bool, text: &mut Vec<u8>) -> Result<(), Refused> {
    let scheme = parts.uri.scheme_str();
    if scheme.is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(Refused::Target);
    }
    let target = parts.uri.path_and_query().map_or("", |path| path.as_str());
    // An absolute form would bring an authority of its own.
    if !target.starts_with('/') && target != "*" {
        return Err(Refused::Target);
    }
    let method = if tunnel { "GET" } else { parts.method.as_str() };
    text.extend_from_slice(method.as_bytes());
    text.push(b' ');
    text.extend_from_slice(target.as_bytes());
    text.extend_from_slice(b" HTTP/1.1\r\n");
    Ok(())
}

/// The authority stands for Host, and before it (RFC 9113, 8.3.1).
fn write_host(parts: &Parts, text: &mut Vec<u8>) -> Result<(), Refused> {
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let mut hosts = parts.headers.get_all(HOST).iter();
    let Some(authority) = authority else {
        // None at all is refused by whoever reads this.
        hosts.for_each(|host| write_line(b"host", host.as_bytes(), text));
        return Ok(());
    };
    write_line(b"host", authority.as_bytes(), text);
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => Err(Refused::Hosts),
        (Some(host), _) if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            Err(Refused::OtherHost)
        }
        _ => Ok(()),
    }
}

fn write_fields(parts: &Parts, tunnel: bool, text: &mut Vec<u8>) -> Result<(), Refused> {
    let mut crumbs = false;
    for (name, value) in &parts.headers {
        if !is_bare(value.as_bytes()) {
            return Err(Refused::FieldValue);
        }
        let kind = Known::of(name.as_str().as_bytes());
        match kind {
            Known::Host => {}
            // In a tunnel, what is sent is no body.
            Known::Expect | Known::ContentLength if tunnel => return Err(refused_in_tunnel(name)),
            Known::Expect | Known::Te => {
                write_line(name.as_str().as_bytes(), value.as_bytes(), text)
            }
            _ if HOP_BY_HOP.has(kind) => return Err(Refused::FieldName),
            _ if *name == COOKIE => crumbs = true,
            _ if tunnel && websocket::is_ours(name) => {}
            _ => write_line(name.as_str().as_bytes(), value.as_bytes(), text),
        }
    }
    if crumbs {
        write_cookie(parts, text);
    }
    Ok(())
}

fn refused_in_tunnel(name: &HeaderName) -> Refused {
    if *name == EXPECT {
        Refused::Expectation
    } else {
        Refused::Length
    }
}

/// In one field, as those expect it who know HTTP/1.1 alone (RFC 9113, 8.2.3).
fn write_cookie(parts: &Parts, text: &mut Vec<u8>) {
    text.extend_from_slice(b"cookie: ");
    for (at, crumb) in parts.headers.get_all(COOKIE).iter().enumerate() {
        if at > 0 {
            text.extend_from_slice(b"; ");
        }
        text.extend_from_slice(crumb.as_bytes());
    }
    text.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::http::Fields;
    use crate::http::h1::head::Framing;

    type Sent<'a> = &'a [(&'a str, &'a str)];

    fn of(method: &str, uri: &str, fields: Sent) -> Result<Read, Unreadable> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        read(&request.body(()).unwrap().into_parts().0, 32 << 10)
    }

    fn refused(method: &str, uri: &str, fields: Sent) -> Refused {
        match of(method, uri, fields) {
            Err(Unreadable::Refused(why)) => why,
            Err(other) => panic!("{other:?}"),
            Ok(read) => panic!("{:?}", read.heard.head),
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
            ("cookie", "a=1"),
            ("x-a", "1"),
            ("cookie", "b=2"),
            ("te", "trailers"),
            ("content-length", "3"),
        ];
        let read = of("POST", "http://h:81/p?q", &fields).unwrap();
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
        let cases: &[(&str, &str, Sent, Refused)] = &[
            ("get", "http://h/", &[], Refused::Method),
            ("GET", "/", &[], Refused::NoHost),
            ("GET", "http://u@h/", &[], Refused::Host),
            ("GET", "http://h/", &[("host", "g")], Refused::OtherHost),
            ("GET", "/", &[("host", "g"), ("host", "g")], Refused::Hosts),
            (
                "GET",
                "http://g/",
                &[("host", "g"), ("host", "g")],
                Refused::Hosts,
            ),
            ("GET", "ftp://h/", &[], Refused::Target),
            ("GET", "*", &[("host", "h")], Refused::Target),
            ("CONNECT", "h:443", &[], Refused::Connect),
            ("GET", "http://h/", &[("expect", "x")], Refused::Expectation),
            (
                "GET",
                "http://h/",
                &[("content-length", "+1")],
                Refused::Length,
            ),
            (
                "GET",
                "http://h/",
                &[("content_length", "1")],
                Refused::FieldName,
            ),
            ("GET", "http://h/", &[("x", " 1")], Refused::FieldValue),
            (
                "GET",
                "http://h/",
                &[("connection", "x")],
                Refused::FieldName,
            ),
            (
                "GET",
                "http://h/",
                &[("transfer-encoding", "chunked")],
                Refused::FieldName,
            ),
            ("GET", "http://h/", &[("upgrade", "x")], Refused::FieldName),
            (
                "GET",
                "http://h/",
                &[("proxy-connection", "x")],
                Refused::FieldName,
            ),
        ];
        for (method, uri, fields, why) in cases {
            assert_eq!(
                refused(method, uri, fields),
                *why,
                "{method} {uri} {fields:?}"
            );
        }
    }

    #[test]
    fn host_may_say_the_same_as_the_authority() {
        let read = of("GET", "http://H/", &[("host", "h")]).unwrap();
        assert_eq!(written(&read.heard.head.fields), "host: H\r\n");
        assert!(of("OPTIONS", "*", &[("host", "h")]).is_ok());
    }

    #[test]
    fn a_head_has_its_bounds() {
        let long = "a".repeat(33 << 10);
        let large = of("GET", "http://h/", &[("x", &long)]);
        assert!(matches!(large, Err(Unreadable::HeadTooLarge)));
        let many = vec![("x", "1"); 101];
        assert_eq!(refused("GET", "http://h/", &many), Refused::TooManyFields);
    }
}
