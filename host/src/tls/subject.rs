//! A certificate's subject as text (RFC 4514), in printable ASCII alone, so that it fits a header field and a log line.

use x509_parser::der_parser::asn1_rs::{Any, Tag};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Types with a short name (RFC 4514, 3), and what OpenSSL and others call by one besides.
const SHORT: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.5", "serialNumber"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

pub fn text(name: &X509Name<'_>) -> String {
    let mut out = String::new();
    let rdns: Vec<_> = name.iter_rdn().collect();
    // The last comes first (RFC 4514, 2.1).
    for (at, rdn) in rdns.iter().rev().enumerate() {
        if at > 0 {
            out.push(',');
        }
        for (at, attribute) in rdn.iter().enumerate() {
            if at > 0 {
                out.push('+');
            }
            write(attribute, &mut out);
        }
    }
    out
}

fn write(attribute: &AttributeTypeAndValue<'_>, out: &mut String) {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT.iter().find(|(known, _)| *known == oid);
    out.push_str(short.map_or(&oid, |(_, short)| short));
    out.push('=');
    match (short, string(attribute.attr_value())) {
        (Some(_), Some(value)) => escaped(&value, out),
        // Of a type without a short name, or what is no string: its BER encoding (RFC 4514, 2.4).
        _ => {
            out.push('#');
            let value = attribute.attr_value();
            let mut hex = |bytes: &[u8]| bytes.iter().for_each(|b| push_hex(*b, out));
            hex(&[value.header.tag().0 as u8]);
            hex(&length(value.data.len()));
            hex(value.data);
        }
    }
}

fn string(value: &Any<'_>) -> Option<String> {
    match value.header.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString => {
            Some(String::from_utf8_lossy(value.data).into_owned())
        }
        Tag::BmpString => {
            let pairs = value.data.as_chunks::<2>().0.iter();
            let units: Vec<u16> = pairs.map(|pair| u16::from_be_bytes(*pair)).collect();
            Some(String::from_utf16_lossy(&units))
        }
        _ => None,
    }
}

/// RFC 4514, 2.4; beyond what must be, all that is not printable ASCII is written byte by byte.
fn escaped(value: &str, out: &mut String) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let at_edge = (at == 0 && matches!(byte, b' ' | b'#')) || (at == last && byte == b' ');
        if at_edge || b"\"+,;<>\\".contains(&byte) {
            out.push('\\');
            out.push(char::from(byte));
        } else if byte == b' ' || byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            out.push('\\');
            push_hex(byte, out);
        }
    }
}

/// X.690, 8.1.3.
fn length(length: usize) -> Vec<u8> {
    if length < 128 {
        return vec![length as u8];
    }
    let bytes = length.to_be_bytes();
    let begin = bytes.iter().position(|b| *b != 0).unwrap_or(0);
    let mut out = vec![0x80 | (bytes.len() - begin) as u8];
    out.extend_from_slice(&bytes[begin..]);
    out
}

pub fn push_hex(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_is_escaped() {
        let text = |value: &str| {
            let mut out = String::new();
            escaped(value, &mut out);
            out
        };
        assert_eq!(
            text("James \"Jim\" Smith, III"),
            "James \\\"Jim\\\" Smith\\, III"
        );
        assert_eq!(text("#a b "), "\\#a b\\ ");
        assert_eq!(text("Lučić\r\n"), "Lu\\c4\\8di\\c4\\87\\0d\\0a");
        assert_eq!(text(" "), "\\ ");
        assert_eq!(text(""), "");
    }
}
