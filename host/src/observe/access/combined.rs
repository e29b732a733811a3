//! `format = "combined"`: the format of that name that Apache and nginx have, escaped as nginx does.
//!
//! ```text
//! $remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"
//! ```
//!
//! Captured headers follow as `"$http_NAME"` and `"$upstream_http_NAME"` would, requests' first.
//!
//! The user is always `-`: who a request is from is a plugin's business here, and its notes are in the JSON format.

use crate::base::event::RequestEnded;

use super::date::Dates;
use super::format::Entry;
use super::text;

pub fn line(out: &mut Vec<u8>, dates: &mut Dates, entry: &Entry<'_>) {
    let request = entry.request;
    field(out, request.client_address.as_bytes());
    out.extend_from_slice(b" - - [");
    out.extend_from_slice(dates.text(entry.ended));
    out.extend_from_slice(b"] \"");
    request_line(out, request);
    out.extend_from_slice(b"\" ");
    text::three(out, status(request));
    out.push(b' ');
    text::number(out, request.body_bytes_out);
    header(out, request.referer);
    header(out, request.user_agent);
    for captured in request
        .request_headers
        .iter()
        .chain(request.response_headers)
    {
        header(out, captured.value);
    }
}

fn request_line(out: &mut Vec<u8>, request: &RequestEnded<'_>) {
    if request.method.is_empty() {
        out.push(b'-');
        return;
    }
    field(out, request.method.as_bytes());
    out.push(b' ');
    field(out, request.target);
    out.push(b' ');
    field(out, request.version.as_bytes());
}

/// Without an answer nginx says 499 when the client has left, 408 when it was waited for in vain, else 000.
fn status(request: &RequestEnded<'_>) -> u32 {
    let none = match request.termination[0] {
        b'C' => 499,
        b'c' => 408,
        _ => 0,
    };
    request.status.map_or(none, u32::from)
}

fn header(out: &mut Vec<u8>, value: Option<&[u8]>) {
    out.extend_from_slice(b" \"");
    match value {
        Some(value) if !value.is_empty() => field(out, value),
        _ => out.push(b'-'),
    }
    out.push(b'"');
}

fn field(out: &mut Vec<u8>, value: &[u8]) {
    text::hex(out, value, &text::NGINX, b"\\x");
}
