//! The head of a message: what the pipeline, and through it every plugin, sees and changes.

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use smallvec::SmallVec;

use super::fields::Fields;

#[derive(Clone, Debug)]
pub struct RequestHead {
    pub method: Method,
    pub target: Target,
    /// As the client speaks it.
    pub version: Version,
    pub fields: Fields,
}

/// What a request is for: a path with or without a query, or `*`. Printable ASCII. An absolute form's authority is moved to
/// Host as the head is read (RFC 9112, 3.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    text: SmallVec<[u8; 88]>,
    /// Where the `?` stands, or the end.
    query: usize,
}

#[derive(Clone, Debug)]
pub struct ResponseHead {
    pub status: StatusCode,
    /// The server's own reason phrase, where it isn't the usual one.
    pub reason: Option<Bytes>,
    pub fields: Fields,
}

impl ResponseHead {
    /// Whatever was asked, no body follows it (RFC 9110, 6.4.1).
    pub fn is_bodiless(&self) -> bool {
        let bare = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        self.status.is_informational() || bare.contains(&self.status)
    }
}

impl Target {
    /// Of bytes that are printable ASCII. An absolute form without a path means `/`.
    pub(super) fn new(bytes: &[u8]) -> Target {
        let mut text = SmallVec::new();
        if bytes.first().is_none_or(|first| *first == b'?') {
            text.push(b'/');
        }
        text.extend_from_slice(bytes);
        let query = memchr::memchr(b'?', &text).unwrap_or(text.len());
        Target { text, query }
    }

    /// `/`.
    pub fn root() -> Target {
        Target::new(b"/")
    }

    /// Of a text that may be none: it begins with `/` and is printable ASCII, without a fragment.
    pub fn parse(text: &[u8]) -> Option<Target> {
        let sane =
            text.first() == Some(&b'/') && text.iter().all(|b| b.is_ascii_graphic() && *b != b'#');
        sane.then(|| Target::new(text))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    pub fn path(&self) -> &[u8] {
        &self.text[..self.query]
    }

    /// Without its `?`.
    pub fn query(&self) -> Option<&[u8]> {
        self.text.get(self.query + 1..)
    }
}

impl RequestHead {
    /// Of what never became a request.
    pub fn none() -> RequestHead {
        RequestHead {
            method: Method::GET,
            target: Target {
                text: SmallVec::new(),
                query: 0,
            },
            version: Version::HTTP_11,
            fields: Fields::new(),
        }
    }

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

    #[test]
    fn a_target_has_a_path_and_perhaps_a_query() {
        let parts = |text: &str| {
            let target = Target::new(text.as_bytes());
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (text(target.path()), target.query().map(text))
        };
        assert_eq!(parts("/a?b?c"), ("/a".into(), Some("b?c".into())));
        assert_eq!(parts("/a?"), ("/a".into(), Some("".into())));
        assert_eq!(parts("/a"), ("/a".into(), None));
        assert_eq!(parts("?a"), ("/".into(), Some("a".into())));
        assert_eq!(parts(""), ("/".into(), None));
        assert_eq!(parts("*"), ("*".into(), None));
    }

    #[test]
    fn a_text_is_a_target_only_if_it_could_be_sent() {
        assert!(Target::parse(b"/a?b").is_some());
        for text in ["", "a", "/a b", "/a#b", "/\u{fc}", "/a\r\n"] {
            assert!(Target::parse(text.as_bytes()).is_none(), "{text:?}");
        }
    }
}
