//! Our own answers to a request of gRPC: its client knows of no HTTP status. They come as gRPC's "Trailers-Only" (its PROTOCOL-HTTP2.md):
//! 200, with `grpc-status` and `grpc-message` in the head and no body.

use http::header::CONTENT_TYPE;
use http::{HeaderName, StatusCode};

use crate::http::{Fields, ResponseHead};

pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// Characters of a plugin's page that are told.
const MOST_MESSAGE: usize = 256;
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The content type of a request of gRPC, grpc-web's included. None: it is another one's.
pub fn asked(fields: &Fields) -> Option<&[u8]> {
    const KIND: &[u8] = b"application/grpc";
    let kind = fields.first(&CONTENT_TYPE)?;
    let (begin, rest) = kind.split_at_checked(KIND.len())?;
    let ends = matches!(rest.first(), None | Some(b'+' | b';' | b'-' | b' '));
    (begin.eq_ignore_ascii_case(KIND) && ends).then_some(kind)
}

/// The head that says it instead.
pub fn head(kind: &[u8], status: StatusCode, message: &str) -> ResponseHead {
    let mut head = ResponseHead::new(StatusCode::OK);
    head.fields.append(&CONTENT_TYPE, kind);
    say(&mut head, status, message);
    head
}

/// Makes it of a plugin's answer, whose fields stay.
pub fn instead(kind: &[u8], head: &mut ResponseHead, body: &str) {
    let status = std::mem::replace(&mut head.status, StatusCode::OK);
    head.fields.set(&CONTENT_TYPE, kind);
    let message: String = body.trim().chars().take(MOST_MESSAGE).collect();
    say(head, status, &message);
}

fn say(head: &mut ResponseHead, status: StatusCode, message: &str) {
    head.fields.set(&STATUS, code(status));
    head.fields.set(&MESSAGE, encoded(message));
}

/// gRPC's http-grpc-status-mapping.md, which Envoy keeps to as well.
fn code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "13",
        401 => "16",
        403 => "7",
        404 => "12",
        429 | 502 | 503 | 504 => "14",
        _ => "2",
    }
}

/// Percent-encoded, as gRPC has it: what is printable ASCII stands as it is.
fn encoded(message: &str) -> String {
    let mut text = String::new();
    for byte in message.bytes() {
        match byte {
            b'%' | ..b' ' | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
            _ => text.push(byte as char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_grpc_is_told_by_its_content_type() {
        let is = |kind: &str| {
            let mut fields = Fields::new();
            fields.append(&CONTENT_TYPE, kind);
            asked(&fields).is_some()
        };
        for kind in [
            "application/grpc",
            "Application/gRPC+proto",
            "application/grpc;x=1",
            "application/grpc-web+proto",
        ] {
            assert!(is(kind), "{kind}");
        }
        for kind in ["application/grpcx", "application/json", "application/gr"] {
            assert!(!is(kind), "{kind}");
        }
        assert!(asked(&Fields::new()).is_none());
    }

    #[test]
    fn a_status_becomes_grpcs() {
        let head = head(
            b"application/grpc",
            StatusCode::SERVICE_UNAVAILABLE,
            "50 % \u{fc}\n",
        );
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(head.fields.first(&STATUS).unwrap(), b"14");
        assert_eq!(head.fields.first(&MESSAGE).unwrap(), b"50 %25 %C3%BC%0A");
        let codes = [400, 401, 403, 404, 429, 502, 503, 504, 408, 500]
            .map(|status| code(StatusCode::from_u16(status).unwrap()));
        assert_eq!(
            codes,
            ["13", "16", "7", "12", "14", "14", "14", "14", "2", "2"]
        );
    }
}
