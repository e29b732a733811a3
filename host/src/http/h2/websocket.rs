//! A WebSocket over HTTP/2 (RFC 8441) on its way to a server of HTTP/1.1. The handshake's key is between us and the server:
//! we make it, and see that the answer is that of somebody who has read it (RFC 6455, 4.1), not of a cache.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};

use crate::http::message::ResponseHead;

/// Between us and one server.
pub(super) struct Key(String);

/// RFC 6455, 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

impl Key {
    /// Sixteen random bytes.
    pub fn fresh() -> Key {
        let mut bytes = [0; 16];
        // Without them it is a poor key, which is no secret.
        let _ = getrandom::fill(&mut bytes);
        Key(base64(&bytes))
    }

    /// What makes a handshake of a request.
    pub fn write(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ");
        text.extend_from_slice(self.0.as_bytes());
        text.extend_from_slice(b"\r\n");
    }

    /// Whether the server has read it. What it says of it is for nobody else.
    pub fn is_proven(&self, head: &mut ResponseHead) -> bool {
        let hash = digest(
            &SHA1_FOR_LEGACY_USE_ONLY,
            (self.0.clone() + GUID).as_bytes(),
        );
        let expected = base64(hash.as_ref());
        let proven = head.fields.first(&SEC_WEBSOCKET_ACCEPT) == Some(expected.as_bytes());
        head.fields.remove(&SEC_WEBSOCKET_ACCEPT);
        proven
    }
}

/// What a client of HTTP/2 has no say in.
pub(super) fn is_ours(name: &[u8]) -> bool {
    name == SEC_WEBSOCKET_KEY.as_str().as_bytes()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().enumerate().fold(0_u32, |bits, (at, byte)| {
            bits | u32::from(*byte) << (16 - 8 * at)
        });
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= group.len() {
                digit as char
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    /// RFC 6455, 1.3.
    #[test]
    fn an_answer_proves_that_the_key_was_read() {
        let key = Key("dGhlIHNhbXBsZSBub25jZQ==".into());
        let answer = |accept: &str| {
            let mut head = ResponseHead::new(StatusCode::SWITCHING_PROTOCOLS);
            head.fields.append(&SEC_WEBSOCKET_ACCEPT, accept);
            let proven = key.is_proven(&mut head);
            assert!(!head.fields.contains(&SEC_WEBSOCKET_ACCEPT));
            proven
        };
        assert!(answer("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(!answer("s3pPLMBiTxaQ9kYGzzhZRbK+xOp="));
        assert!(!key.is_proven(&mut ResponseHead::new(StatusCode::OK)));
    }

    /// RFC 4648, 10.
    #[test]
    fn bytes_are_written_in_sixes() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_ne!(Key::fresh().0, Key::fresh().0);
    }
}
