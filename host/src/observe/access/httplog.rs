//! `format = "httplog"`: the line of HAProxy's `option httplog` (its manual, "HTTP log format"), without the syslog header.
//!
//! ```text
//! client_ip:port [date] frontend backend/server TR/Tw/Tc/Tr/Ta status bytes_read - - tsc
//!     actconn/feconn/beconn/srv_conn/retries srv_queue/backend_queue {request headers} {response headers} "request line"
//! ```
//!
//! The braces are there where headers are captured, their values in between parted by `|`, and nothing for one that was not there.
//!
//! A connection in tcp mode has the line of `option tcplog` ("TCP log format"):
//!
//! ```text
//! client_ip:port [date] frontend backend/server Tw/Tc/Tt bytes_read ts
//!     actconn/feconn/beconn/srv_conn/retries srv_queue/backend_queue
//! ```
//!
//! What does not exist here is said as HAProxy says that there is none: captured cookies `-`, the cookie half of the
//! termination state `--`, beconn 0. Connections are those of the worker, as HAProxy's would be those of its process.

use std::time::Duration;

use crate::base::event::{Captured, RequestEnded};

use super::date::Dates;
use super::format::Entry;
use super::text;

pub fn line(out: &mut Vec<u8>, dates: &mut Dates, entry: &Entry<'_>) {
    let request = entry.request;
    client(out, request);
    let began = entry.began();
    out.extend_from_slice(b" [");
    out.extend_from_slice(dates.text(began));
    out.push(b'.');
    text::three(out, began.subsec_millis());
    out.extend_from_slice(b"] ");
    way(out, request);
    if request.tcp {
        return connection(out, entry);
    }
    times(out, request);
    match request.status {
        Some(status) => text::number(out, status.into()),
        None => out.extend_from_slice(b"-1"),
    }
    out.push(b' ');
    text::number(out, request.bytes_out);
    out.extend_from_slice(b" - - ");
    field(out, &request.termination);
    out.extend_from_slice(b"-- ");
    load(out, entry);
    out.push(b' ');
    captured(out, request.request_headers);
    captured(out, request.response_headers);
    request_line(out, request);
}

fn captured(out: &mut Vec<u8>, headers: &[Captured<'_>]) {
    if headers.is_empty() {
        return;
    }
    out.push(b'{');
    for (at, header) in headers.iter().enumerate() {
        if at > 0 {
            out.push(b'|');
        }
        text::hex(
            out,
            header.value.unwrap_or_default(),
            &text::HAPROXY_HEADER,
            b"#",
        );
    }
    out.extend_from_slice(b"} ");
}

/// The rest of a line that tells of a connection.
fn connection(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let request = entry.request;
    let times = request.times;
    list(out, &[times.queue, times.connect, Some(times.total)]);
    text::number(out, request.bytes_out);
    out.push(b' ');
    field(out, &request.termination);
    out.push(b' ');
    load(out, entry);
}

/// A client whose port no trusted proxy told has port 0: parsers want a number there.
fn client(out: &mut Vec<u8>, request: &RequestEnded<'_>) {
    field(out, request.client_address.as_bytes());
    out.push(b':');
    match request.client_port {
        "" => out.push(b'0'),
        port => field(out, port.as_bytes()),
    }
}

/// Frontend, backend and server. A request that no backend took is its frontend's own.
fn way(out: &mut Vec<u8>, request: &RequestEnded<'_>) {
    field(out, request.listener.as_bytes());
    out.push(b' ');
    field(out, request.pool.unwrap_or(request.listener).as_bytes());
    out.push(b'/');
    match request.server {
        Some(server) => field(out, server.as_bytes()),
        None => out.extend_from_slice(b"<NOSRV>"),
    }
    out.push(b' ');
}

/// Milliseconds; -1: not reached. `TR` is -1 when the head never came whole.
fn times(out: &mut Vec<u8>, request: &RequestEnded<'_>) {
    let times = request.times;
    let head = (!request.method.is_empty()).then_some(times.head);
    let total = Some(times.total);
    list(
        out,
        &[head, times.queue, times.connect, times.first_byte, total],
    );
}

fn list(out: &mut Vec<u8>, times: &[Option<Duration>]) {
    for (at, time) in times.iter().enumerate() {
        if at > 0 {
            out.push(b'/');
        }
        match time {
            Some(time) => text::number(out, millis(*time)),
            None => out.extend_from_slice(b"-1"),
        }
    }
    out.push(b' ');
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

fn load(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let request = entry.request;
    text::number(out, request.connections.into());
    out.push(b'/');
    text::number(out, entry.listener_connections);
    out.extend_from_slice(b"/0/");
    text::number(out, request.server_in_flight.into());
    out.push(b'/');
    text::number(out, request.attempts.saturating_sub(1).into());
    out.push(b' ');
    text::number(out, request.queued.at_server.into());
    out.push(b'/');
    text::number(out, request.queued.at_pool.into());
}

fn request_line(out: &mut Vec<u8>, request: &RequestEnded<'_>) {
    if request.method.is_empty() {
        out.extend_from_slice(b"\"<BADREQ>\"");
        return;
    }
    out.push(b'"');
    field(out, request.method.as_bytes());
    out.push(b' ');
    field(out, request.target);
    out.push(b' ');
    field(out, request.version.as_bytes());
    out.push(b'"');
}

fn field(out: &mut Vec<u8>, value: &[u8]) {
    text::hex(out, value, &text::HAPROXY, b"#");
}
