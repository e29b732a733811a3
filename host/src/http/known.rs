//! Field names that the proxy itself looks for. A head's names are told apart once, as it is read, so that nobody who looks
//! for one of these has to compare names again.

/// A kind of field name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Other,
    Host,
    Connection,
    /// Means something to the next hop alone (RFC 9110, 7.6.1), but is none of the others here: Keep-Alive, Proxy-Connection.
    Hop,
    Te,
    Upgrade,
    TransferEncoding,
    Expect,
    ContentLength,
    /// Says who the client is, which is believed of trusted proxies alone: Forwarded, X-Forwarded-*, X-Real-IP, X-Request-ID,
    /// X-Client-Cert-*.
    Forwarding,
    UserAgent,
    Referer,
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u16);

/// What is for the next hop alone, or for us.
pub const HOP_BY_HOP: Kinds = Kinds::of(&[
    Known::Connection,
    Known::Hop,
    Known::Te,
    Known::Upgrade,
    Known::TransferEncoding,
    Known::Expect,
]);

impl Known {
    /// Of a field name, whatever its case.
    pub fn of(name: &[u8]) -> Known {
        const PREFIX: &[u8; 12] = b"x-forwarded-";
        const CERTIFICATE: &[u8; 14] = b"x-client-cert-";
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let like = |known: &[u8]| is_like(name, known);
        match name.len() {
            2 if is(b"te") => Known::Te,
            4 if is(b"host") => Known::Host,
            6 if is(b"expect") => Known::Expect,
            7 if is(b"upgrade") => Known::Upgrade,
            7 if is(b"referer") => Known::Referer,
            9 if like(b"forwarded") || like(b"x-real-ip") => Known::Forwarding,
            10 if is(b"connection") => Known::Connection,
            10 if is(b"keep-alive") => Known::Hop,
            10 if is(b"user-agent") => Known::UserAgent,
            12 if like(b"x-request-id") => Known::Forwarding,
            14 if is(b"content-length") => Known::ContentLength,
            16 if is(b"proxy-connection") => Known::Hop,
            17 if is(b"transfer-encoding") => Known::TransferEncoding,
            12.. if like(PREFIX) => Known::Forwarding,
            15.. if like(CERTIFICATE) => Known::Forwarding,
            _ => Known::Other,
        }
    }
}

/// Whether it is or begins with that field to whoever makes variables of fields (RFC 3875, 4.1.18): `_` is as good as `-` there.
pub(super) fn is_like(name: &[u8], field: &[u8]) -> bool {
    let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
    name.iter().zip(field).all(same)
}

impl Kinds {
    pub const fn of(kinds: &[Known]) -> Kinds {
        let (mut set, mut at) = (0, 0);
        while at < kinds.len() {
            set |= 1 << kinds[at] as u16;
            at += 1;
        }
        Kinds(set)
    }

    pub fn add(&mut self, kind: Known) {
        self.0 |= 1 << kind as u16;
    }

    pub fn has(self, kind: Known) -> bool {
        self.0 >> kind as u16 & 1 == 1
    }

    pub fn meets(self, other: Kinds) -> bool {
        self.0 & other.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_whatever_their_case() {
        let cases = [
            ("TE", Known::Te),
            ("hOst", Known::Host),
            ("Expect", Known::Expect),
            ("Upgrade", Known::Upgrade),
            ("Referer", Known::Referer),
            ("Forwarded", Known::Forwarding),
            ("X-Real-IP", Known::Forwarding),
            ("X-Request-Id", Known::Forwarding),
            ("X-Forwarded-For", Known::Forwarding),
            ("x-forwarded-", Known::Forwarding),
            ("X_Forwarded-For", Known::Forwarding),
            ("x_real_ip", Known::Forwarding),
            ("X-Client-Cert-Subject", Known::Forwarding),
            ("x_client_cert-fingerprint", Known::Forwarding),
            ("x-client-certain", Known::Other),
            ("x-forwarder-x", Known::Other),
            ("Connection", Known::Connection),
            ("Keep-Alive", Known::Hop),
            ("User-Agent", Known::UserAgent),
            ("Content-Length", Known::ContentLength),
            ("Proxy-Connection", Known::Hop),
            ("Transfer-Encoding", Known::TransferEncoding),
            ("", Known::Other),
            ("x", Known::Other),
        ];
        for (name, known) in cases {
            assert_eq!(Known::of(name.as_bytes()), known, "{name}");
        }
    }

    #[test]
    fn a_set_knows_its_members() {
        let mut set = Kinds::default();
        assert!(!set.meets(HOP_BY_HOP));
        set.add(Known::Host);
        assert!(set.has(Known::Host) && !set.has(Known::Other) && !set.meets(HOP_BY_HOP));
        set.add(Known::Te);
        assert!(set.meets(HOP_BY_HOP));
    }
}
