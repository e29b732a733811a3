//! Fields that are for the next hop alone (RFC 9110, 7.6.1): taken out of every message before anything else sees it. `Expect`
//! is among them: the engine asks for a body itself, as soon as a server takes it (RFC 9110, 10.1.1).

use smallvec::SmallVec;

use super::fields::{Fields, tokens};
use super::known::{HOP_BY_HOP, Known};

/// What a message said to us alone.
#[derive(Debug, Default, PartialEq)]
pub struct Said {
    /// The protocol that it wants to change to, or has changed to: `Upgrade` with `Connection: upgrade`.
    pub upgrade: Option<Box<[u8]>>,
    /// `TE: trailers`: it can take trailers.
    pub trailers: bool,
}

/// Removes them, and those that `Connection` names, and tells what they said. `Trailer` stays: it belongs to the message,
/// and trailers are passed on. A peer cannot remove by `Connection` what routing, framing or authorisation stands on.
pub fn take(fields: &mut Fields) -> Said {
    let mut said = Said::default();
    if !fields.kinds().meets(HOP_BY_HOP) {
        return said;
    }
    let mut named: SmallVec<[SmallVec<[u8; 24]>; 4]> = SmallVec::new();
    let mut wants_upgrade = false;
    for (_, value) in fields.of_kind(Known::Connection) {
        if is_mere_option(value) {
            continue;
        }
        for token in tokens(value) {
            wants_upgrade |= token.eq_ignore_ascii_case(b"upgrade");
            if !is_plain(token) && !is_end_to_end(token) {
                named.push(SmallVec::from_slice(token));
            }
        }
    }
    if fields.kinds().has(Known::Te) {
        let te = fields.of_kind(Known::Te);
        said.trailers = te.flat_map(|(_, value)| tokens(value)).any(is_trailers);
    }
    if wants_upgrade {
        let wanted = fields.of_kind(Known::Upgrade).next();
        said.upgrade = wanted
            .filter(|(_, value)| !tokens(value).any(is_http))
            .map(|(_, value)| value.into());
    }
    fields.remove_kinds(HOP_BY_HOP);
    if !named.is_empty() {
        fields.remove_where(|name, _| named.iter().any(|n| n.eq_ignore_ascii_case(name)));
    }
    said
}

/// All that most say: whether the connection is kept.
fn is_mere_option(value: &[u8]) -> bool {
    match value.len() {
        5 => value.eq_ignore_ascii_case(b"close"),
        10 => value.eq_ignore_ascii_case(b"keep-alive"),
        _ => false,
    }
}

/// What `Connection` says most: options that name no field.
fn is_plain(token: &[u8]) -> bool {
    [&b"close"[..], b"keep-alive", b"upgrade"]
        .iter()
        .any(|plain| plain.eq_ignore_ascii_case(token))
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
fn is_end_to_end(name: &[u8]) -> bool {
    const KEPT: [&[u8]; 9] = [
        b"host",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"cache-control",
        b"trailer",
    ];
    KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&'static str, &'static str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in list {
            fields.append(&http::HeaderName::from_static(name), value.as_bytes());
        }
        fields
    }

    fn names(fields: &Fields) -> Vec<&str> {
        fields
            .iter()
            .map(|(name, _)| std::str::from_utf8(name).unwrap())
            .collect()
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
        assert_eq!(&*take(&mut head).upgrade.unwrap(), b"websocket");
        assert!(names(&head).is_empty());
    }

    #[test]
    fn an_upgrade_to_http_is_not_passed_on() {
        for protocol in ["h2c", "H2C, websocket", "websocket, HTTP/2.0", "h2"] {
            let mut head = fields(&[
                ("connection", "upgrade, http2-settings"),
                ("upgrade", protocol),
                ("http2-settings", "x"),
            ]);
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
        assert_eq!(names(&head), ["host", "authorization"]);
    }

    #[test]
    fn names_that_are_none_are_passed_over() {
        let mut head = fields(&[("connection", "a b, \u{7f}, , x"), ("x", "1")]);
        take(&mut head);
        assert!(names(&head).is_empty());
    }
}
