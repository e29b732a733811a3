//! The fields that both sides know from the beginning (RFC 7541, Appendix A).

/// Fields by their index, which begins with 1.
const FIELDS: [(&str, &str); COUNT] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// How many there are; what was said lately is counted on from here.
pub const COUNT: usize = 61;

/// Lengths that names have, less one.
const LENGTHS: usize = 27;

pub const METHOD_GET: usize = 2;
pub const METHOD_POST: usize = 3;
pub const METHOD: usize = 2;
pub const PATH: usize = 4;
pub const AUTHORITY: usize = 1;
pub const SCHEME_HTTP: usize = 6;
pub const SCHEME_HTTPS: usize = 7;
pub const STATUS: usize = 8;

/// Name and value.
pub fn field(index: usize) -> Option<(&'static [u8], &'static [u8])> {
    let (name, value) = FIELDS.get(index.checked_sub(1)?)?;
    Some((name.as_bytes(), value.as_bytes()))
}

/// Of the statuses that have a field of their own.
pub fn status(status: u16) -> Option<usize> {
    let at = [200, 204, 206, 304, 400, 404, 500]
        .iter()
        .position(|s| *s == status)?;
    Some(STATUS + at)
}

/// The first field of that name; pseudo-fields are not looked for.
pub fn name(name: &[u8]) -> Option<usize> {
    let all = BY_LENGTH.get(name.len().checked_sub(1)?)?;
    // Of those that are as long, hardly two end alike.
    let same = |index: &&u8| {
        let known = FIELDS[usize::from(**index) - 1].0.as_bytes();
        known.last() == name.last() && known == name
    };
    all.iter()
        .take_while(|index| **index != 0)
        .find(same)
        .map(|index| usize::from(*index))
}

/// Fields by their name's length; 0 is none.
static BY_LENGTH: [[u8; 8]; LENGTHS] = {
    let mut all = [[0; 8]; LENGTHS];
    let mut at = 14;
    while at < FIELDS.len() {
        let of_length = &mut all[FIELDS[at].0.len() - 1];
        let mut place = 0;
        while of_length[place] != 0 {
            place += 1;
        }
        of_length[place] = at as u8 + 1;
        at += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        for index in 15..=COUNT {
            let (text, _) = field(index).unwrap();
            assert_eq!(name(text), Some(index));
        }
        assert_eq!(name(b""), None);
        assert_eq!(name(b"x-a"), None);
        assert_eq!(name(&[b'a'; 100]), None);
        assert_eq!(
            field(status(404).unwrap()),
            Some((&b":status"[..], &b"404"[..]))
        );
        assert_eq!(status(201), None);
        assert_eq!((field(0), field(COUNT + 1)), (None, None));
    }
}
