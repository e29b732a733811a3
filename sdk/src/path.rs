//! Paths that can be read in more than one way. A plugin sees the path as it was sent, but a server may decode it, merge its
//! slashes and resolve its dot segments: `/public/%2e%2e/admin` begins with `/public` and is answered as `/admin`. Whoever
//! decides by path (a router, an authorisation filter) looks at all [`readings`] of what is not [plain](is_plain).
//!
//! Not covered, since no path would be left that is beyond doubt: servers that decode twice, fold case, or strip matrix
//! parameters (`/admin;x`) from anything but dot segments.
//!
//! ```
//! use tidegate_sdk::path;
//! assert!(path::is_plain(b"/public/a"));
//! assert!(!path::is_plain(b"/public/%2e%2e/admin"));
//! assert!(path::readings(b"/public/%2e%2e/admin").all(|reading| reading == b"/admin"));
//! assert_eq!(path::canonical("/caf\u{e9}".as_bytes()), b"/caf%C3%A9");
//! ```

/// Whether nobody can read this path in another way: nothing encoded, no backslash, no dot segment, no empty segment but the
/// last, nothing that does not belong in a path.
pub fn is_plain(path: &[u8]) -> bool {
    let mut start = true;
    let mut bytes = path.iter().enumerate();
    bytes.all(|(at, byte)| {
        let odd = match byte {
            b'/' => start && at > 0,
            b'.' => start && dots(segment(&path[at..])).is_some(),
            byte => !belongs(*byte),
        };
        start = *byte == b'/';
        !odd
    })
}

/// What servers may make of a path: with encoded slashes and backslashes read as slashes and not, with several slashes read as
/// one and not. Each in its [canonical] spelling.
pub fn readings(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let ways = [(false, false), (false, true), (true, false), (true, true)];
    ways.map(|(slashes, merge)| read(path, slashes, merge))
        .into_iter()
}

/// The one spelling of a path: only that percent-encoded which must be, in upper-case hex, and no dot segments
/// (RFC 3986, 6.2.2).
pub fn canonical(path: &[u8]) -> Vec<u8> {
    read(path, false, false)
}

/// Whether there is a `.` or `..` segment in any spelling, also one between encoded slashes.
pub fn has_dot_segments(path: &[u8]) -> bool {
    spell(path, true)
        .split(|b| *b == b'/')
        .any(|segment| dots(segment).is_some())
}

/// What follows a prefix that ends at a segment boundary: `/api` is a prefix of `/api` and `/api/x`, not of `/apix`. A slash at
/// the prefix's own end makes no difference.
///
/// ```
/// use tidegate_sdk::path::under;
/// assert_eq!(under(b"/api/x", b"/api"), Some(&b"/x"[..]));
/// assert_eq!(under(b"/api", b"/api/"), Some(&b""[..]));
/// assert_eq!(under(b"/apix", b"/api"), None);
/// ```
pub fn under<'a>(path: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(prefix.strip_suffix(b"/").unwrap_or(prefix))?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

/// `slashes`: an encoded slash or a backslash counts as a slash. `merge`: several slashes count as one.
fn read(path: &[u8], slashes: bool, merge: bool) -> Vec<u8> {
    let spelled = spell(path, slashes);
    let mut out: Vec<u8> = Vec::with_capacity(spelled.len());
    let mut segments = spelled.split(|b| *b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match dots(segment) {
            Some(ups) => {
                for _ in 1..ups {
                    out.truncate(out.iter().rposition(|b| *b == b'/').unwrap_or(0));
                }
                if last {
                    out.push(b'/');
                }
            }
            None if merge && segment.is_empty() && !last => {}
            None => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    out
}

/// Decodes and encodes again, so that each byte has one spelling.
fn spell(path: &[u8], slashes: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        let decoded = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l),
            _ => None,
        };
        rest = if decoded.is_some() { &rest[3..] } else { tail };
        match (decoded.unwrap_or(*first), decoded.is_some()) {
            (b'/', false) => out.push(b'/'),
            (b'/' | b'\\', _) if slashes => out.push(b'/'),
            (byte, _) if byte != b'/' && belongs(byte) => out.push(byte),
            (byte, _) => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    out
}

/// 1 for `.`, 2 for `..`. Some origins read `..;x` as `..` too.
fn dots(segment: &[u8]) -> Option<usize> {
    let name = segment.split(|b| *b == b';').next().unwrap_or(segment);
    match name {
        b"." => Some(1),
        b".." => Some(2),
        _ => None,
    }
}

fn segment(rest: &[u8]) -> &[u8] {
    rest.split(|b| *b == b'/').next().unwrap_or(rest)
}

/// `pchar` of RFC 3986, 3.3, but for `%`, and the slash.
fn belongs(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte)
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(path: &str) -> Vec<String> {
        readings(path.as_bytes())
            .map(|r| String::from_utf8(r).unwrap())
            .collect()
    }

    #[test]
    fn a_plain_path_is_plain() {
        for path in [
            "/",
            "*",
            "/a/b/",
            "/.well-known/x",
            "/a.b/..c/...",
            "/@scope/name;v=1",
            "/~u",
        ] {
            assert!(is_plain(path.as_bytes()), "{path}");
        }
        let odd = [
            "//", "/a//b", "/a/./b", "/a/..", "/..;x/b", "/%61", "/a\\b", "/a b", "/\u{e9}",
        ];
        for path in odd {
            assert!(!is_plain(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn dot_segments_are_resolved_in_every_spelling() {
        for path in [
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/.%2e/./b",
            "/a/..;x/b",
            "/../b",
            "/%62",
        ] {
            assert!(
                all(path).iter().all(|r| r == "/b"),
                "{path}: {:?}",
                all(path)
            );
        }
        assert_eq!(all("/a/b/..")[0], "/a/");
        assert_eq!(all("/a/b/.")[0], "/a/b/");
    }

    #[test]
    fn slashes_are_read_both_ways() {
        assert_eq!(
            all("/a%2f..%2Fb"),
            ["/a%2F..%2Fb", "/a%2F..%2Fb", "/b", "/b"]
        );
        assert_eq!(all("/a\\b"), ["/a%5Cb", "/a%5Cb", "/a/b", "/a/b"]);
        assert_eq!(all("/a//b/"), ["/a//b/", "/a/b/", "/a//b/", "/a/b/"]);
    }

    #[test]
    fn dot_segments_are_found_in_every_spelling() {
        for path in ["/a/..", "/./a", "/a/%2e%2e/b", "/a%2f..%5cb", "/..;x/b"] {
            assert!(has_dot_segments(path.as_bytes()), "{path}");
        }
        for path in ["/", "/a..b/...", "/.well-known", "/%2e%2ea"] {
            assert!(!has_dot_segments(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn each_byte_has_one_spelling() {
        let spelled = |path: &str| String::from_utf8(canonical(path.as_bytes())).unwrap();
        assert_eq!(spelled("/caf\u{e9}"), "/caf%C3%A9");
        assert_eq!(spelled("/caf%c3%a9"), "/caf%C3%A9");
        assert_eq!(spelled("/%40x%zz%4"), "/@x%25zz%254");
        assert_eq!(spelled("/a%2fb"), "/a%2Fb");
        assert_eq!(spelled("/"), "/");
    }
}
