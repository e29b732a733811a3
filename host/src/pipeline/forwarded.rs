//! Who the client is, and what is said of it: X-Forwarded-*, X-Real-IP and Forwarded are believed from trusted proxies
//! alone. Anybody else's are dropped before a plugin sees them, and ours are set as a request leaves.
//!
//! Ours: X-Forwarded-For (appended to what a trusted proxy said), X-Forwarded-Proto and X-Forwarded-Host (what a trusted
//! proxy said stands), X-Real-IP, x-request-id. A trusted proxy's Forwarded (RFC 7239) is passed on; none is made, for what
//! few read it read the others too.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use http::header::FORWARDED;
use http::{HeaderName, HeaderValue};

use super::exchange::Exchange;
use crate::config::checked::Network;
use crate::hook::ConnectionFacts;
use crate::http::Fields;
use crate::http::fields::tokens;
use crate::net::address;

pub const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a trusted proxy.
const LONGEST_ID: usize = 128;

pub fn is_trusted(peer: IpAddr, trusted: &[Network]) -> bool {
    trusted
        .iter()
        .any(|network| address::within(peer, network.address, network.prefix))
}

const PREFIX_LENGTH: usize = 12;

/// Removes what only a trusted proxy may say.
pub fn distrust(fields: &mut Fields) {
    fields.remove_where(|name, _| {
        const PREFIX: &[u8; PREFIX_LENGTH] = b"x-forwarded-";
        match name.len() {
            9 => is_like(name, b"forwarded") || is_like(name, b"x-real-ip"),
            12 if is_like(name, b"x-request-id") => true,
            PREFIX_LENGTH.. => is_like(&name[..PREFIX_LENGTH], PREFIX),
            _ => false,
        }
    });
}

/// Whether it is that field to whoever makes variables of fields (RFC 3875, 4.1.18): `_` is as good as `-` there.
fn is_like(name: &[u8], field: &[u8]) -> bool {
    let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
    name.iter().zip(field).all(same)
}

/// The client that a chain of trusted proxies names: the rightmost address that is not itself trusted.
pub fn client(fields: &Fields, trusted: &[Network]) -> Option<SocketAddr> {
    let chain: Vec<&[u8]> = if fields.contains(&FOR) {
        fields.all(&FOR).flat_map(tokens).collect()
    } else {
        fields
            .all(&FORWARDED)
            .flat_map(tokens)
            .filter_map(forwarded_for)
            .collect()
    };
    let mut client = None;
    for hop in chain.into_iter().rev() {
        let Some(address) = written_address(hop) else {
            break;
        };
        client = Some(address);
        if !is_trusted(address.ip(), trusted) {
            break;
        }
    }
    client
}

/// `for` of one element of Forwarded (RFC 7239, 4).
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let mut pairs = element.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let value = pairs.find_map(|pair| {
        let (name, value) = pair.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    })?;
    Some(
        value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""))
            .unwrap_or(value),
    )
}

/// An address with or without a port, which is 0 then; an IPv6 address with or without brackets.
fn written_address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address::canonical(address));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .ok()
        .map(|ip| address::canonical(SocketAddr::new(ip, 0)))
}

/// What is known of the connection, with the client that the proxies before us name.
pub fn facts(client: SocketAddr, known: &ConnectionFacts) -> Rc<ConnectionFacts> {
    let port = if client.port() == 0 {
        String::new()
    } else {
        client.port().to_string()
    };
    Rc::new(ConnectionFacts {
        client: known.client,
        client_address: client.ip().to_string().into(),
        client_port: port.into(),
        local: known.local,
        listener: known.listener.clone(),
        tls: None,
    })
}

/// The id that a trusted proxy gave the request.
pub fn given_id(fields: &Fields) -> Option<HeaderValue> {
    let id = fields.first(&REQUEST_ID)?;
    let sane = !id.is_empty() && id.len() <= LONGEST_ID && id.iter().all(u8::is_ascii_graphic);
    HeaderValue::from_bytes(id).ok().filter(|_| sane)
}

/// 128 random bits in hex.
pub fn fresh_id(random: [u64; 2]) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bits = u128::from(random[0]) << 64 | u128::from(random[1]);
    let mut text = [0; 32];
    for (at, digit) in text.iter_mut().enumerate() {
        *digit = DIGITS[(bits >> (124 - 4 * at)) as usize & 15];
    }
    HeaderValue::from_bytes(&text).expect("hex digits are a header value")
}

/// Sets ours, on the head that goes to the server. `peer` is the address that is connected to us.
pub fn tell(fields: &mut Fields, exchange: &Exchange, peer: &HeaderValue) {
    let before = if exchange.trusted {
        fields.joined(&FOR)
    } else {
        None
    };
    match before.map(|before| [&before, &b", "[..], peer.as_bytes()].concat()) {
        Some(chain) => fields.set(&FOR, chain),
        None => fields.set(&FOR, peer),
    }
    let client = if exchange.trusted {
        exchange.record.facts.client_address.as_bytes()
    } else {
        peer.as_bytes()
    };
    fields.set(&REAL_IP, client);
    if !(exchange.trusted && fields.contains(&PROTO)) {
        fields.set(&PROTO, "http");
    }
    if let Some(host) = &exchange.host_sent
        && !(exchange.trusted && fields.contains(&FORWARDED_HOST))
    {
        fields.set(&FORWARDED_HOST, host);
    }
    fields.set(&REQUEST_ID, &exchange.record.request_id);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&'static str, &'static str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in list {
            fields.append(&HeaderName::from_static(name), value);
        }
        fields
    }

    fn named(list: &[(&'static str, &'static str)]) -> Option<String> {
        let trusted = [
            Network {
                address: "10.0.0.0".parse().unwrap(),
                prefix: 8,
            },
            Network {
                address: "2001:db8::".parse().unwrap(),
                prefix: 32,
            },
        ];
        client(&fields(list), &trusted).map(|address| address.ip().to_string())
    }

    #[test]
    fn the_client_is_the_rightmost_that_is_not_trusted() {
        let of = |chain: &'static str| named(&[("x-forwarded-for", chain)]);
        assert_eq!(of("203.0.113.7").unwrap(), "203.0.113.7");
        assert_eq!(of("1.1.1.1, 203.0.113.7, 10.0.0.9").unwrap(), "203.0.113.7");
        assert_eq!(
            of("10.0.0.1, 10.0.0.9").unwrap(),
            "10.0.0.1",
            "all trusted: the first"
        );
        assert_eq!(of("203.0.113.7:4711").unwrap(), "203.0.113.7");
        assert_eq!(of("[2001:db9::1]:80, 2001:db8::2").unwrap(), "2001:db9::1");
        assert_eq!(
            of("1.1.1.1, unknown, 10.0.0.9").unwrap(),
            "10.0.0.9",
            "nothing beyond what is no address"
        );
        assert_eq!(of("unknown"), None);
        assert_eq!(named(&[]), None);
    }

    #[test]
    fn several_fields_are_one_chain() {
        assert_eq!(
            named(&[
                ("x-forwarded-for", "203.0.113.7"),
                ("x-forwarded-for", "10.0.0.9")
            ])
            .unwrap(),
            "203.0.113.7"
        );
    }

    #[test]
    fn forwarded_is_read_where_the_other_is_missing() {
        let of = |chain: &'static str| named(&[("forwarded", chain)]);
        assert_eq!(
            of("for=192.0.2.43, FOR=10.0.0.9;proto=http").unwrap(),
            "192.0.2.43"
        );
        assert_eq!(
            of("proto=http;for=\"[2001:db9::17]:4711\"").unwrap(),
            "2001:db9::17"
        );
        assert_eq!(of("by=x"), None);
        assert_eq!(
            named(&[
                ("forwarded", "for=1.1.1.1"),
                ("x-forwarded-for", "203.0.113.7")
            ])
            .unwrap(),
            "203.0.113.7"
        );
    }

    #[test]
    fn what_only_a_trusted_proxy_may_say_is_dropped() {
        let mut head = fields(&[
            ("x-forwarded-for", "1"),
            ("x-forwarded-anything", "1"),
            ("forwarded", "for=1"),
            ("x-real-ip", "1"),
            ("x-request-id", "1"),
            ("x-forwarder", "stays"),
        ]);
        distrust(&mut head);
        assert_eq!(
            head.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            [b"x-forwarder"]
        );
    }

    #[test]
    fn an_id_is_hex() {
        let id = fresh_id([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
        assert_eq!(id, "0123456789abcdeffedcba9876543210");
        assert!(given_id(&fields(&[("x-request-id", "a b")])).is_none());
        assert_eq!(
            given_id(&fields(&[("x-request-id", "a-b")])).unwrap(),
            "a-b"
        );
    }
}
