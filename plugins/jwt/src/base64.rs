//! Base64, as tokens have it (RFC 4648, 5, without padding) and as PEM has it (4).

/// With `-` and `_`, and no padding (RFC 7515, 2).
pub fn url(text: &str) -> Option<Vec<u8>> {
    decode(text.as_bytes(), *b"-_")
}

/// With `+` and `/`; padding may be left out.
pub fn standard(text: &str) -> Option<Vec<u8>> {
    decode(text.trim_end_matches('=').as_bytes(), *b"+/")
}

fn decode(digits: &[u8], last: [u8; 2]) -> Option<Vec<u8>> {
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
    fn both_alphabets() {
        assert_eq!(url("_-8").as_deref(), Some(&[0xff, 0xef][..]));
        assert_eq!(standard("/+8=").as_deref(), Some(&[0xff, 0xef][..]));
        assert_eq!(url("").as_deref(), Some(&b""[..]));
        for text in ["A", "A=", "_/8", "AA==", "A A"] {
            assert_eq!(url(text), None, "{text}");
        }
    }
}
