//! Fields that are for the next hop alone (RFC 9110, 7.6.1): taken out of every message before anything else sees it.

use http::HeaderName;
use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
use smallvec::SmallVec;

use super::message::{Fields, tokens};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What a message said to us alone.
#[derive(Debug, Default, PartialEq)]
pub struct Said {
    /// The protocol that it wants to change to, or has changed to: `Upgrade` with `Connection: upgrade`.
    pub upgrade: Option<http::HeaderValue>,
    /// `TE: trailers`: it can take trailers.
    pub trailers: bool,
}

/// Removes them, and those that `Connection` names, and tells what they said. `Trailer` stays: it belongs to the message,
/// and trailers are passed on. A peer cannot remove by `Connection` what routing, framing or authorisation stands on.
pub fn take(fields: &mut Fields) -> Said {
    let mut said = Said::default();
    let mut found: SmallVec<[HeaderName; 8]> = SmallVec::new();
    for name in fields.names() {
        if [
            CONNECTION,
            TE,
            TRANSFER_ENCODING,
            UPGRADE,
            KEEP_ALIVE,
            PROXY_CONNECTION,
        ]
        .contains(name)
        {
            found.push(name.clone());
        }
    }
    if found.is_empty() {
        return said;
    }
    if fields.lists(&CONNECTION, "upgrade") {
        said.upgrade = fields
            .first(&UPGRADE)
            .filter(|value| !tokens(value).any(is_http))
            .cloned();
    }
    said.trailers = fields.all(&TE).flat_map(tokens).any(is_trailers);
    for value in fields.all(&CONNECTION) {
        let named = tokens(value).filter_map(|token| HeaderName::from_bytes(token).ok());
        found.extend(named.filter(|name| !is_end_to_end(name)));
    }
    for name in &found {
        fields.remove(name);
    }
    said
}

/// HTTP itself in another version (RFC 7540, 3.2). Through such a tunnel would come requests that nobody decides about.
fn is_http(protocol: &[u8]) -> bool {
    let name = protocol.split(|b| *b == b'/').next().unwrap_or_default();
    [&b"h2c"[..], b"h2", b"h3", b"http"]
        .iter()
        .any(|http| name.eq_ignore_ascii_case(http))
}

/// `trailers`, with or without a weight.
fn is_trailers(token: &[u8]) -> bool {
    let name = token.split(|b| *b == b';').next().unwrap_or_default();
    name.trim_ascii_end().eq_ignore_ascii_case(b"trailers")
}

/// Fields that always mean something to whoever comes after us; removed by `Connection: host` they would open holes.
fn is_end_to_end(name: &HeaderName) -> bool {
    use http::header;
    [
        header::HOST,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::AUTHORIZATION,
        header::COOKIE,
        header::SET_COOKIE,
        header::CACHE_CONTROL,
        header::TRAILER,
    ]
    .contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn fields(list: &[(&'static str, &'static str)]) -> Fields {
        let field = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        list.iter().map(field).collect()
    }

    fn names(fields: &Fields) -> Vec<&str> {
        let mut names: Vec<_> = fields.names().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn hop_by_hop_fields_go_and_those_that_connection_names() {
        let mut head = fields(&[
            ("host", "h"),
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip;q=1, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("trailer", "x-sum"),
        ]);
        let said = take(&mut head);
        assert_eq!(names(&head), ["host", "trailer"]);
        assert_eq!(
            said,
            Said {
                upgrade: None,
                trailers: true
            }
        );
    }

    #[test]
    fn an_upgrade_is_told() {
        let mut head = fields(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(take(&mut head).upgrade.unwrap(), "websocket");
        assert!(names(&head).is_empty());
    }

    #[test]
    fn an_upgrade_to_http_is_not_passed_on() {
        for protocol in ["h2c", "H2C, websocket", "websocket, HTTP/2.0", "h2"] {
            let mut head = Fields::default();
            head.set(
                CONNECTION,
                HeaderValue::from_static("upgrade, http2-settings"),
            );
            head.set(UPGRADE, HeaderValue::from_static(protocol));
            head.set(
                HeaderName::from_static("http2-settings"),
                HeaderValue::from_static("x"),
            );
            assert_eq!(take(&mut head).upgrade, None, "{protocol}");
            assert!(names(&head).is_empty());
        }
    }

    #[test]
    fn connection_cannot_remove_what_others_stand_on() {
        let mut head = fields(&[
            ("connection", "host, authorization, content-length"),
            ("host", "h"),
            ("authorization", "x"),
        ]);
        take(&mut head);
        assert_eq!(names(&head), ["authorization", "host"]);
    }

    #[test]
    fn names_that_are_none_are_passed_over() {
        let mut head = fields(&[("connection", "a b, @, , x"), ("x", "1")]);
        take(&mut head);
        assert!(names(&head).is_empty());
    }
}
