//! Base64 (RFC 4648): the standard alphabet with padding, and the one of URLs, tokens and cookies without. Read strictly: nothing
//! but the alphabet, and padding only where the standard has it, or not at all.
//!
//! ```
//! use tidegate_sdk::base64;
//! assert_eq!(base64::encode(b"\xff\xee"), "/+4=");
//! assert_eq!(base64::encode_url(b"\xff\xee"), "_-4");
//! assert_eq!(base64::decode("/+4=").as_deref(), Some(&b"\xff\xee"[..]));
//! assert_eq!(base64::decode_url("_-4").as_deref(), Some(&b"\xff\xee"[..]));
//! assert_eq!(base64::decode_url("_-4="), None);
//! ```

const STANDARD: [u8; 2] = *b"+/";
const URL: [u8; 2] = *b"-_";

/// With `+`, `/` and padding (RFC 4648, 4).
pub fn encode(bytes: &[u8]) -> String {
    let mut text = written(bytes, STANDARD);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// With `-` and `_`, and no padding (RFC 4648, 5; RFC 7515, 2).
pub fn encode_url(bytes: &[u8]) -> String {
    written(bytes, URL)
}

/// With `+` and `/`; padding may be left out.
pub fn decode(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    let text = text.as_ref();
    let end = text.iter().rposition(|b| *b != b'=').map_or(0, |at| at + 1);
    let padding = text.len() - end;
    if padding > 2 || (padding > 0 && !text.len().is_multiple_of(4)) {
        return None;
    }
    read(&text[..end], STANDARD)
}

/// With `-` and `_`, and no padding.
pub fn decode_url(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    read(text.as_ref(), URL)
}

fn written(bytes: &[u8], last: [u8; 2]) -> String {
    let digit = |value: u32| match value as u8 {
        value @ 0..26 => b'A' + value,
        value @ 26..52 => b'a' + value - 26,
        value @ 52..62 => b'0' + value - 52,
        value => last[usize::from(value - 62)],
    };
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(padded);
        text.extend((0..=group.len()).map(|at| char::from(digit(bits >> (18 - 6 * at) & 63))));
    }
    text
}

fn read(digits: &[u8], last: [u8; 2]) -> Option<Vec<u8>> {
    if digits.len() % 4 == 1 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        digit if digit == last[0] => Some(62),
        digit if digit == last[1] => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4 + 3);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            bits = bits << 6 | u32::from(value(*digit)?);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for bytes in [
            &b""[..],
            b"f",
            b"fo",
            b"foo",
            b"foob",
            b"\xff\xfe\xfd\x00\x01",
        ] {
            let text = encode(bytes);
            assert_eq!(decode(&text).as_deref(), Some(bytes));
            assert_eq!(decode(text.trim_end_matches('=')).as_deref(), Some(bytes));
            assert_eq!(decode_url(encode_url(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(encode(b"foob"), "Zm9vYg==");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "A", "AA=", "AAAA=", "A=A=", "AA AA", "AA-_", "====", "\u{e4}",
        ] {
            assert_eq!(decode(text), None, "{text}");
        }
        for text in ["A", "_/8", "AA==", "A A"] {
            assert_eq!(decode_url(text), None, "{text}");
        }
    }
}
