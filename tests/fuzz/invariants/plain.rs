//! A second opinion on an accepted message: split at line ends, then at the first colon. It refuses nothing by itself, but
//! panics where the strict reader let something through that it should not have.

/// A head, as its lines say it.
pub struct Head<'a> {
    /// The first line's words; a reason phrase may hold blanks and stays one.
    pub first: Vec<&'a [u8]>,
    pub fields: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Head<'a> {
    /// Of a head with its empty line.
    pub fn of(head: &'a [u8]) -> Head<'a> {
        let text = head
            .strip_suffix(b"\r\n\r\n")
            .expect("a head ends with an empty line");
        let mut lines = lines(text);
        let first = lines.remove(0).splitn(3, |byte| *byte == b' ').collect();
        let fields = lines.into_iter().map(field).collect();
        Head { first, fields }
    }

    /// Every value of that name.
    pub fn all(&self, name: &str) -> Vec<&'a [u8]> {
        let named = self
            .fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, value)| *value).collect()
    }
}

/// At CRLF; no CR and no LF is left over.
pub fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    for line in &lines {
        assert!(
            !line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
            "a line end or NUL within {:?}",
            line.escape_ascii().to_string()
        );
    }
    lines
}

/// Name and value, with blanks around the value taken off.
pub fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let colon = line
        .iter()
        .position(|byte| *byte == b':')
        .expect("a field has a colon");
    let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
    assert!(
        !name.is_empty() && name.iter().all(|byte| is_token(*byte)),
        "a name that is no token: {:?}",
        name.escape_ascii().to_string()
    );
    assert!(
        value
            .iter()
            .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)),
        "a control byte in a value: {:?}",
        value.escape_ascii().to_string()
    );
    (name, value)
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// RFC 9110, 5.6.2.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
