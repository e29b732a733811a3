//! Cookies among others: of a request's field (RFC 6265, 4.2.1), and of a Set-Cookie what follows the value (4.1.1).

/// The value of the first cookie of that name, as it was sent.
pub fn find<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pairs(header).find_map(|pair| value_of(pair, name))
}

/// All but the cookies of that name.
pub fn without(header: &[u8], name: &str) -> Vec<u8> {
    let others = pairs(header).filter(|pair| value_of(pair, name).is_none());
    others.collect::<Vec<_>>().join(&b"; "[..])
}

/// With another value in the first cookie of that name.
pub fn replaced(header: &[u8], name: &str, value: &[u8]) -> Vec<u8> {
    let mut first = true;
    let changed = pairs(header).map(|pair| match value_of(pair, name) {
        Some(_) if std::mem::take(&mut first) => [name.as_bytes(), b"=", value].concat(),
        _ => pair.to_vec(),
    });
    changed.collect::<Vec<_>>().join(&b"; "[..])
}

/// From the first `;` on.
pub fn attributes(rest: &str) -> &str {
    rest.find(';').map_or("", |at| &rest[at..])
}

fn pairs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    header
        .split(|b| *b == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""));
    Some(inner.unwrap_or(value))
}
