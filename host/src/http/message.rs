//! The head of a message: what the pipeline, and through it every plugin, sees and changes.

use std::borrow::Cow;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use smallvec::SmallVec;

/// A head's fields (RFC 9110, 5).
#[derive(Clone, Debug, Default)]
pub struct Fields(pub(super) HeaderMap);

#[derive(Clone, Debug)]
pub struct RequestHead {
    pub method: Method,
    /// Origin form, or `*`. An absolute form's authority is moved to Host as the head is read (RFC 9112, 3.2.2).
    pub target: PathAndQuery,
    /// As the client speaks it.
    pub version: Version,
    pub fields: Fields,
}

#[derive(Clone, Debug)]
pub struct ResponseHead {
    pub status: StatusCode,
    /// The server's own reason phrase, where it isn't the usual one.
    pub reason: Option<Bytes>,
    pub fields: Fields,
}

impl Fields {
    /// The first field of that name.
    pub fn first(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.0.get(name)
    }

    /// Every field of that name, in order.
    pub fn all(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.0.get_all(name).iter()
    }

    /// The value, several occurrences joined (RFC 9110, 5.3; RFC 9113, 8.2.3 for Cookie).
    pub fn joined(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        let mut values = self.all(name);
        let first = values.next()?.as_bytes();
        let Some(second) = values.next() else {
            return Some(Cow::Borrowed(first));
        };
        let separator: &[u8] = if *name == http::header::COOKIE {
            b"; "
        } else {
            b", "
        };
        let mut whole = first.to_vec();
        for value in std::iter::once(second).chain(values) {
            whole.extend_from_slice(separator);
            whole.extend_from_slice(value.as_bytes());
        }
        Some(Cow::Owned(whole))
    }

    /// Whether a field that is a list (RFC 9110, 5.6.1) holds this token, case-insensitively.
    pub fn lists(&self, name: &HeaderName, token: &str) -> bool {
        self.all(name)
            .any(|value| tokens(value).any(|t| t.eq_ignore_ascii_case(token.as_bytes())))
    }

    pub fn contains(&self, name: &HeaderName) -> bool {
        self.0.contains_key(name)
    }

    /// Makes room for so many fields more, at once.
    pub fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }

    /// Replaces every occurrence by this one.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.insert(name, value);
    }

    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.append(name, value);
    }

    /// Removes every occurrence; the first is returned.
    pub fn remove(&mut self, name: &HeaderName) -> Option<HeaderValue> {
        self.0.remove(name)
    }

    /// Removes the fields whose name is so.
    pub fn remove_where(&mut self, so: impl Fn(&HeaderName) -> bool) {
        let names: SmallVec<[HeaderName; 8]> =
            self.0.keys().filter(|name| so(name)).cloned().collect();
        for name in &names {
            self.0.remove(name);
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.keys()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter()
    }
}

/// The elements of a list, blanks cut off; empty ones are passed over (RFC 9110, 5.6.1.2).
pub fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let elements = value
        .as_bytes()
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii);
    elements.filter(|element| !element.is_empty())
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(fields: I) -> Fields {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, value);
        }
        Fields(map)
    }
}

impl RequestHead {
    /// What may be sent again when nothing tells whether it arrived (RFC 9110, 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        matches!(
            self.method,
            Method::GET
                | Method::HEAD
                | Method::PUT
                | Method::DELETE
                | Method::OPTIONS
                | Method::TRACE
        )
    }

    pub fn version_text(&self) -> &'static str {
        match self.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            _ => "HTTP/1.1",
        }
    }
}

impl ResponseHead {
    pub fn new(status: StatusCode) -> ResponseHead {
        ResponseHead {
            status,
            reason: None,
            fields: Fields::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{ACCEPT, CONNECTION, COOKIE};

    fn fields(list: &[(&'static str, &'static str)]) -> Fields {
        let field = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        list.iter().map(field).collect()
    }

    #[test]
    fn several_fields_of_a_name_are_joined() {
        let fields = fields(&[
            ("accept", "a"),
            ("cookie", "x=1"),
            ("accept", "b"),
            ("cookie", "y=2"),
        ]);
        assert_eq!(fields.joined(&ACCEPT).unwrap(), &b"a, b"[..]);
        assert_eq!(fields.joined(&COOKIE).unwrap(), &b"x=1; y=2"[..]);
        assert!(fields.joined(&CONNECTION).is_none());
    }

    #[test]
    fn a_list_is_searched_by_token() {
        let fields = fields(&[("connection", "close ,, x-a"), ("connection", "Upgrade")]);
        assert!(fields.lists(&CONNECTION, "upgrade"));
        assert!(fields.lists(&CONNECTION, "X-A"));
        assert!(!fields.lists(&CONNECTION, "x"));
    }
}
