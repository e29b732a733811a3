//! Who the client is, and what is said of it: X-Forwarded-*, X-Real-IP and Forwarded are believed from trusted proxies
//! alone. Anybody else's are dropped before a plugin sees them, and ours are set as a request leaves.
//!
//! Ours: X-Forwarded-For (appended to what a trusted proxy said), X-Forwarded-Proto and X-Forwarded-Host (what a trusted
//! proxy said stands), X-Real-IP, x-request-id. A trusted proxy's Forwarded (RFC 7239) is passed on; none is made, for what
//! few read it read the others too.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use http::HeaderName;
use http::header::FORWARDED;

use super::exchange::Exchange;
use crate::base::text::Text;
use crate::config::checked::Network;
use crate::hook::ConnectionFacts;
use crate::http::Fields;
use crate::http::fields::tokens;
use crate::http::known::{Kinds, Known};
use crate::net::address;

pub const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Of the client's certificate.
const SUBJECT: HeaderName = HeaderName::from_static("x-client-cert-subject");
const FINGERPRINT: HeaderName = HeaderName::from_static("x-client-cert-fingerprint");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a trusted proxy.
const LONGEST_ID: usize = 128;

pub fn is_trusted(peer: IpAddr, trusted: &[Network]) -> bool {
    trusted
        .iter()
        .any(|network| address::within(peer, network.address, network.prefix))
}

/// Removes what only a trusted proxy may say.
pub fn distrust(fields: &mut Fields) {
    fields.remove_kinds(Kinds::of(&[Known::Forwarding]));
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

/// How the client speaks to the first of the proxies before us, as X-Forwarded-Proto says it. None: nothing is said, or
/// nothing that there is.
pub fn scheme(fields: &Fields) -> Option<&'static str> {
    let said = fields.first(&PROTO)?;
    let first = said.split(|b| *b == b',').next()?.trim_ascii();
    ["http", "https"]
        .into_iter()
        .find(|known| first.eq_ignore_ascii_case(known.as_bytes()))
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
    let port = match client.port() {
        0 => Text::default(),
        port => Text::of(port),
    };
    Rc::new(ConnectionFacts {
        client: known.client,
        client_address: Text::of(client.ip()),
        client_port: port,
        local: known.local,
        listener: known.listener.clone(),
        // Of the connection that it came by.
        tls: known.tls.clone(),
        told: known.told.clone(),
    })
}

/// What names a request in the log, to the server and to the client. Printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Name);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Ours(Hex),
    Given(Box<str>),
}

/// Aligned, so that it is read by words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(align(8))]
struct Hex([u8; 32]);

impl RequestId {
    /// Of 128 random bits, in hex.
    pub fn fresh(random: [u64; 2]) -> RequestId {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        let bytes = random.into_iter().flat_map(u64::to_be_bytes);
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *pair = [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ];
        }
        RequestId(Name::Ours(Hex(text)))
    }

    /// The one that a trusted proxy gave the request.
    pub fn given(fields: &Fields) -> Option<RequestId> {
        let id = fields.first(&REQUEST_ID)?;
        let sane = !id.is_empty() && id.len() <= LONGEST_ID && id.iter().all(u8::is_ascii_graphic);
        let id = str::from_utf8(id).ok().filter(|_| sane)?;
        Some(RequestId(Name::Given(id.into())))
    }

    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Ours(hex) => str::from_utf8(&hex.0).unwrap_or_default(),
            Name::Given(id) => id,
        }
    }
}

impl AsRef<[u8]> for RequestId {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Name::Ours(hex) => &hex.0,
            Name::Given(id) => id.as_bytes(),
        }
    }
}

/// Writes the fields of the head that goes to the server, ours among them. `peer` is the address that is connected to us.
pub fn write(exchange: &Exchange, peer: &str, out: &mut Vec<u8>) {
    let record = &exchange.record;
    let fields = &record.head.fields;
    // Of a peer that is not trusted none of these is there any more, unless a plugin said it.
    let theirs = fields.kinds().has(Known::Forwarding) && exchange.trusted;
    let stands = |name: &HeaderName| theirs && fields.contains(name);
    let (proto, host) = (stands(&PROTO), stands(&FORWARDED_HOST));
    fields.write(out, |name| {
        let is = |ours: &HeaderName| name.eq_ignore_ascii_case(ours.as_str().as_bytes());
        is(&FOR)
            || is(&REAL_IP)
            || is(&REQUEST_ID)
            || !proto && is(&PROTO)
            || !host && is(&FORWARDED_HOST)
            || exchange.tells_certificate && (is(&SUBJECT) || is(&FINGERPRINT))
    });
    let before = if theirs { fields.joined(&FOR) } else { None };
    let client = if exchange.trusted {
        &*record.facts.client_address
    } else {
        peer
    };
    match before {
        Some(chain) => line(out, b"x-forwarded-for: ", &[&chain, b", ", peer.as_bytes()]),
        None => line(out, b"x-forwarded-for: ", &[peer.as_bytes()]),
    }
    line(out, b"x-real-ip: ", &[client.as_bytes()]);
    if !proto {
        let proto: &[u8] = if record.facts.tls.is_some() {
            b"https"
        } else {
            b"http"
        };
        line(out, b"x-forwarded-proto: ", &[proto]);
    }
    if let Some(sent) = fields.first_sent(Known::Host).filter(|_| !host) {
        line(out, b"x-forwarded-host: ", &[sent]);
    }
    if exchange.tells_certificate {
        certificate(exchange, out);
    }
    line(out, b"x-request-id: ", &[record.request_id.as_ref()]);
}

fn certificate(exchange: &Exchange, out: &mut Vec<u8>) {
    let Some(tls) = &exchange.record.facts.tls else {
        return;
    };
    let (subject, fingerprint) = (&tls.client_subject, &tls.client_fingerprint);
    if let Some(subject) = subject {
        line(out, b"x-client-cert-subject: ", &[subject.as_bytes()]);
    }
    if let Some(fingerprint) = fingerprint {
        line(
            out,
            b"x-client-cert-fingerprint: ",
            &[fingerprint.as_bytes()],
        );
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[&[u8]]) {
    out.extend_from_slice(name);
    for part in value {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
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
        let id = RequestId::fresh([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
        assert_eq!(id.as_str(), "0123456789abcdeffedcba9876543210");
        assert!(RequestId::given(&fields(&[("x-request-id", "a b")])).is_none());
        assert_eq!(
            RequestId::given(&fields(&[("x-request-id", "a-b")]))
                .unwrap()
                .as_str(),
            "a-b"
        );
    }
}
