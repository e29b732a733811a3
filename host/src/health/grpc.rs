//! gRPC's health protocol (`grpc.health.v1`): one call, of which the one field that matters is read. For that no library is needed.

use http::header::CONTENT_TYPE;
use http::{HeaderName, Method};

use super::probe::{LOOKED_AT, Verdict, over_http2, request};
use crate::config::checked::Probe;
use crate::http::{Body, Fields, Target};
use crate::net::Stream;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A frame's head: whether it is compressed, and its length.
const FRAME_HEAD: usize = 5;

pub(super) async fn ask(socket: Stream, settings: &Probe, address: &str) -> Verdict {
    let mut head = request(settings, address);
    head.method = Method::POST;
    head.target = Target::parse(b"/grpc.health.v1.Health/Check").unwrap_or_else(Target::root);
    head.fields.set(&CONTENT_TYPE, "application/grpc");
    head.fields.set(&http::header::TE, "trailers");
    let answer = over_http2(socket, &head, Body::full(question(&settings.service))).await?;
    if answer.head.status.as_u16() != 200 {
        return Err(format!("status {}", answer.head.status.as_str()));
    }
    if let Some(why) = refused(&answer.head.fields) {
        return Err(why);
    }
    let message = answer.body.beginning(LOOKED_AT).await;
    let message = message.map_err(|_| "the answer broke off".to_owned())?;
    match serving_status(&message) {
        Some(1) => Ok("SERVING".to_owned()),
        Some(2) => Err("NOT_SERVING".to_owned()),
        Some(3) => Err("SERVICE_UNKNOWN".to_owned()),
        Some(status) => Err(format!("serving status {status}")),
        None => Err("no answer of gRPC's health protocol".to_owned()),
    }
}

/// An answer without a message has its status among the fields.
fn refused(fields: &Fields) -> Option<String> {
    let status = String::from_utf8_lossy(fields.first(&STATUS)?).into_owned();
    Some(match status.as_str() {
        "5" => "grpc-status 5: it does not know the service".to_owned(),
        "12" => "grpc-status 12: it has no health protocol".to_owned(),
        _ => format!("grpc-status {status}"),
    })
}

/// `HealthCheckRequest { service: 1 }`, in a frame.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        varint(service.len(), &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Of `HealthCheckResponse { status: 1 }`; what is left out is 0. None: it is none.
fn serving_status(answer: &[u8]) -> Option<u8> {
    let (head, rest) = answer.split_at_checked(FRAME_HEAD)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?) as usize;
    match (head[0], rest.get(..length)?) {
        (0, []) => Some(0),
        (0, [0x08, status, ..]) => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_its_service() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = question(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn only_the_protocols_answer_is_one() {
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        for wrong in [
            &[][..],
            &[0, 0, 0, 0, 2, 8],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 1, 9],
        ] {
            assert_eq!(serving_status(wrong), None);
        }
    }
}
