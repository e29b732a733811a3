//! How bytes and numbers are written into a line, for all formats. Escaping is each peer's own, so that what parses its logs
//! parses ours; control bytes never pass, so that a line is a line.

use std::io::Write;
use std::net::SocketAddr;

/// A field from a client or plugin is cut after this many bytes: about the longest that nginx would have accepted at all
/// (`large_client_header_buffers`).
pub const MOST_FIELD: usize = 8 << 10;

/// The bytes that nginx's `log_format` escapes by default.
pub const NGINX: Special = special(b"\"\\");
/// The bytes that HAProxy escapes in a request line (its `url_encode_map`).
pub const HAPROXY: Special = special(b"\"#");
/// The same within braces (its `hdr_encode_map`).
pub const HAPROXY_HEADER: Special = special(b"\"#{|}");
/// The bytes that JSON wants escaped (RFC 8259 section 7), and DEL, which terminals act upon.
const JSON: Special = {
    let mut set = special(b"\"\\");
    let mut byte = 128;
    while byte < 256 {
        set[byte] = false;
        byte += 1;
    }
    set
};

/// Whether a byte is escaped.
pub type Special = [bool; 256];

pub fn number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// Three digits, with zeros in front.
pub fn three(out: &mut Vec<u8>, number: u32) {
    let digit = |divisor: u32| b'0' + (number / divisor % 10) as u8;
    out.extend_from_slice(&[digit(100), digit(10), digit(1)]);
}

/// Two hexadecimal digits for each byte, in lower case.
pub fn digits(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        let half = |half: u8| HEX[usize::from(half)].to_ascii_lowercase();
        out.extend_from_slice(&[half(byte >> 4), half(byte & 15)]);
    }
}

/// As `SocketAddr` displays itself; for IPv4 without the machinery of formatting.
pub fn address(out: &mut Vec<u8>, address: SocketAddr) {
    let SocketAddr::V4(v4) = address else {
        // Infallible: it is a Vec.
        let _ = write!(out, "{address}");
        return;
    };
    let [first, rest @ ..] = v4.ip().octets();
    number(out, first.into());
    for octet in rest {
        out.push(b'.');
        number(out, octet.into());
    }
    out.push(b':');
    number(out, v4.port().into());
}

/// Each special byte as the prefix and two hexadecimal digits.
pub fn hex(out: &mut Vec<u8>, field: &[u8], special: &Special, prefix: &[u8]) {
    let mut rest = cut(field);
    while let Some(at) = rest.iter().position(|byte| special[usize::from(*byte)]) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(prefix);
        let byte = usize::from(rest[at]);
        out.extend_from_slice(&[HEX[byte >> 4], HEX[byte & 15]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Inside a JSON string. What is not UTF-8 becomes U+FFFD, as a JSON text has no other way to say it.
pub fn json(out: &mut Vec<u8>, field: &[u8]) {
    let field = cut(field);
    // Nearly all fields: one pass that leaves nothing to escape or to validate.
    let plain =
        |so_far: bool, byte: &u8| so_far & (32..127).contains(byte) & !matches!(byte, b'"' | b'\\');
    if field.iter().fold(true, plain) {
        out.extend_from_slice(field);
        return;
    }
    match std::str::from_utf8(field) {
        Ok(text) => json_text(out, text),
        Err(_) => {
            for chunk in field.utf8_chunks() {
                json_text(out, chunk.valid());
                if !chunk.invalid().is_empty() {
                    out.extend_from_slice("\u{fffd}".as_bytes());
                }
            }
        }
    }
}

fn json_text(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| JSON[usize::from(*byte)]) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            quoted @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', quoted]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                let [high, low] = [control >> 4, control & 15].map(|half| HEX[usize::from(half)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn cut(field: &[u8]) -> &[u8] {
    &field[..field.len().min(MOST_FIELD)]
}

/// These, control bytes, and all that is not ASCII.
const fn special(these: &[u8]) -> Special {
    let mut set = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        set[byte] = byte < 32 || byte >= 127;
        byte += 1;
    }
    let mut at = 0;
    while at < these.len() {
        set[these[at] as usize] = true;
        at += 1;
    }
    set
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";
