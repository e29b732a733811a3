//! What a plugin may ask to be told, and how the answer is found in a view.

use std::borrow::Cow;

use http::HeaderName;

use super::view::{RequestView, ResponseView};

/// One thing that a plugin asks to be told; the WIT's `input`, with its names checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    Method,
    Scheme,
    Host,
    Path,
    Query,
    QueryParameter(String),
    /// In a response interest: the response's field.
    Header(HeaderName),
    RequestHeader(HeaderName),
    Cookie(String),
    ClientAddress,
    ClientPort,
    Listener,
    Version,
    ServerName,
    Alpn,
    ClientCertificateFingerprint,
    ClientCertificateSubject,
    RequestId,
    Note(String),
    Route,
    Pool,
    /// Response interest only, absent elsewhere.
    Status,
    /// The Set-Cookie of that cookie; response interest only, absent elsewhere.
    SetCookie(String),
    /// Response interest only, absent elsewhere.
    Server,
}

/// What a plugin declared when it was configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub request: Vec<Input>,
    pub response: Vec<Input>,
    pub key: Vec<Input>,
    /// Answers to requests and responses follow from these alone.
    pub pure: bool,
}

pub fn value_in_request<'a>(view: &'a dyn RequestView, input: &Input) -> Option<Cow<'a, [u8]>> {
    // Of a connection there is no method or path: what is empty is absent.
    let text = |s: &'a str| (!s.is_empty()).then_some(Cow::Borrowed(s.as_bytes()));
    let tls = || view.connection().tls.as_ref();
    match input {
        Input::Method => text(view.method()),
        Input::Scheme => text(view.scheme()),
        Input::Version => text(view.version()),
        Input::Host => view.host().map(Cow::Borrowed),
        Input::Path => Some(Cow::Borrowed(view.path())).filter(|path| !path.is_empty()),
        Input::Query => view.query().map(Cow::Borrowed),
        Input::QueryParameter(name) => query_parameter(view.query()?, name.as_bytes()),
        Input::Header(name) | Input::RequestHeader(name) => view.field(name),
        Input::Cookie(name) => cookie(view.field(&http::header::COOKIE)?, name.as_bytes()),
        Input::ClientAddress => text(&view.connection().client_address),
        Input::ClientPort => Some(Cow::Borrowed(view.connection().client_port.as_bytes())),
        Input::Listener => text(&view.connection().listener),
        Input::RequestId => text(view.request_id()),
        Input::Note(name) => view.note(name).map(|note| Cow::Borrowed(note.as_bytes())),
        Input::Route => view.route().and_then(text),
        Input::Pool => view.pool().and_then(text),
        Input::ServerName => view.connection().server_name().and_then(text),
        Input::Alpn => view.connection().alpn().and_then(text),
        Input::ClientCertificateFingerprint => tls()?.client_fingerprint.as_deref().and_then(text),
        Input::ClientCertificateSubject => tls()?.client_subject.as_deref().and_then(text),
        Input::Status | Input::SetCookie(_) | Input::Server => None,
    }
}

pub fn value_in_response<'a>(view: &'a dyn ResponseView, input: &Input) -> Option<Cow<'a, [u8]>> {
    match input {
        Input::Status => Some(Cow::Owned(view.status().to_string().into_bytes())),
        Input::Server => view.server().map(|s| Cow::Borrowed(s.as_bytes())),
        Input::Header(name) => view.field(name),
        Input::SetCookie(name) => view.set_cookie(name).map(Cow::Borrowed),
        other => value_in_request(view.request(), other),
    }
}

/// What follows the cookie's name in a Set-Cookie, if it sets that cookie (RFC 6265, 4.1.1).
pub fn sets_cookie<'a>(field: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let end = field.iter().position(|b| *b == b'=')?;
    (field[..end].trim_ascii() == name.as_bytes()).then(|| &field[end + 1..])
}

/// The first parameter of that name, percent-decoded, `+` as a space (the URL Standard's form encoding).
fn query_parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    query.split(|b| *b == b'&').find_map(|pair| {
        let mut halves = pair.splitn(2, |b| *b == b'=');
        let key = form_decode(halves.next()?);
        (key.as_ref() == name).then(|| form_decode(halves.next().unwrap_or_default()))
    })
}

fn form_decode(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.iter().any(|b| matches!(b, b'%' | b'+')) {
        return Cow::Borrowed(raw);
    }
    let hex = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let mut out = Vec::with_capacity(raw.len());
    let mut i = 0;
    while i < raw.len() {
        let pair = raw.get(i + 1).zip(raw.get(i + 2));
        match (raw[i], pair.and_then(|(a, b)| hex(*a).zip(hex(*b)))) {
            (b'%', Some((high, low))) => {
                out.push(high << 4 | low);
                i += 2;
            }
            (b'+', _) => out.push(b' '),
            (b, _) => out.push(b),
        }
        i += 1;
    }
    Cow::Owned(out)
}

/// The first cookie of that name (RFC 6265, 4.2.1), without surrounding quotes.
fn cookie<'a>(field: Cow<'a, [u8]>, name: &[u8]) -> Option<Cow<'a, [u8]>> {
    let range = cookie_range(&field, name)?;
    Some(match field {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
        Cow::Owned(bytes) => Cow::Owned(bytes[range].to_vec()),
    })
}

fn cookie_range(field: &[u8], name: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut start = 0;
    for pair in field.split(|b| *b == b';') {
        let blank = pair
            .iter()
            .take_while(|b| matches!(b, b' ' | b'\t'))
            .count();
        let trimmed = pair[blank..].trim_ascii_end();
        if trimmed.len() > name.len() && trimmed.starts_with(name) && trimmed[name.len()] == b'=' {
            let value = &trimmed[name.len() + 1..];
            let begin = start + blank + name.len() + 1;
            let quoted = value.len() >= 2 && value.starts_with(b"\"") && value.ends_with(b"\"");
            let inset = usize::from(quoted);
            return Some(begin + inset..begin + value.len() - inset);
        }
        start += pair.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_parameter_is_decoded() {
        let get = |q: &'static str, n: &str| {
            query_parameter(q.as_bytes(), n.as_bytes())
                .map(|v| String::from_utf8(v.into_owned()).unwrap())
        };
        assert_eq!(get("a=1&b=x%20y+z&b=2", "b").as_deref(), Some("x y z"));
        assert_eq!(get("a&b", "a").as_deref(), Some(""));
        assert_eq!(get("a=%zz%4", "a").as_deref(), Some("%zz%4"));
        assert_eq!(get("%61=1", "a").as_deref(), Some("1"));
        assert_eq!(get("ab=1", "a"), None);
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let get = |c: &'static str, n: &str| {
            cookie(Cow::Borrowed(c.as_bytes()), n.as_bytes())
                .map(|v| String::from_utf8(v.into_owned()).unwrap())
        };
        assert_eq!(get("aid=9; id=7;  x=\"q\"", "id").as_deref(), Some("7"));
        assert_eq!(get("aid=9; id=7;  x=\"q\"", "x").as_deref(), Some("q"));
        assert_eq!(get("id=", "id").as_deref(), Some(""));
        assert_eq!(get("x=\"", "x").as_deref(), Some("\""));
        assert_eq!(get("idx=1", "id"), None);
    }
}
