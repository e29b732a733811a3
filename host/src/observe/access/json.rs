//! `format = "json"`: one object a line, its keys always all there and in this order; null where there is nothing to tell. The
//! README's "Access log" says what each key means.

use crate::base::event::RequestEnded;
use std::time::Duration;

use super::date::Dates;
use super::format::Entry;
use super::text;

/// Reasons and notes beyond these are left out: a line has to fit into the ring.
const MOST_PAIRS: usize = 32;
/// Bytes of a reason's or note's name and of its words.
const MOST_WORDS: usize = 512;

pub fn line(out: &mut Vec<u8>, dates: &mut Dates, entry: &Entry<'_>) {
    let request = entry.request;
    let began = entry.began();
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(dates.text(began));
    out.push(b'.');
    text::three(out, began.subsec_millis());
    out.push(b'Z');
    out.push(b'"');
    who(out, request);
    what(out, request);
    how_long(out, request);
    why(out, request);
    let id = Some(request.request_id.as_bytes()).filter(|id| !id.is_empty());
    string(out, "request_id", id);
    string(out, "user_agent", request.user_agent);
    string(out, "referer", request.referer);
    out.push(b'}');
}

fn who(out: &mut Vec<u8>, request: &RequestEnded<'_>) {
    string(out, "client", Some(request.client_address.as_bytes()));
    number(out, "client_port", request.client_port.parse::<u16>().ok());
    key(out, "peer");
    out.push(b'"');
    text::address(out, request.peer);
    out.push(b'"');
    string(out, "listener", Some(request.listener.as_bytes()));
    string(out, "route", request.route.map(str::as_bytes));
    string(out, "pool", request.pool.map(str::as_bytes));
    string(out, "server", request.server.map(str::as_bytes));
}

fn what(out: &mut Vec<u8>, request: &RequestEnded<'_>) {
    let read = !request.method.is_empty();
    string(out, "method", read.then_some(request.method.as_bytes()));
    string(out, "target", read.then_some(request.target));
    string(out, "host", request.host);
    string(out, "version", read.then_some(request.version.as_bytes()));
    number(out, "status", request.status);
    number(out, "bytes_in", Some(request.bytes_in));
    number(out, "bytes_out", Some(request.bytes_out));
    number(out, "body_bytes_out", Some(request.body_bytes_out));
}

fn how_long(out: &mut Vec<u8>, request: &RequestEnded<'_>) {
    let times = request.times;
    micros(out, "head_us", Some(times.head));
    micros(out, "queue_us", times.queue);
    micros(out, "connect_us", times.connect);
    micros(out, "first_byte_us", times.first_byte);
    micros(out, "total_us", Some(times.total));
}

fn why(out: &mut Vec<u8>, request: &RequestEnded<'_>) {
    number(out, "attempts", Some(request.attempts));
    number(out, "generation", Some(request.generation.0));
    let reasons = request.reasons.iter();
    pairs(
        out,
        "reasons",
        reasons.map(|(plugin, why)| (&**plugin, &**why)),
    );
    let notes = request.notes.iter();
    pairs(out, "notes", notes.map(|(name, value)| (&**name, &**value)));
    string(out, "termination", Some(&request.termination));
    string(out, "fault", request.fault.map(str::as_bytes));
}

fn key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn string(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    key(out, name);
    match value {
        Some(value) => quoted(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

fn quoted(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    text::json(out, value);
    out.push(b'"');
}

fn number<N: Into<u64>>(out: &mut Vec<u8>, name: &str, value: Option<N>) {
    key(out, name);
    match value {
        Some(value) => text::number(out, value.into()),
        None => out.extend_from_slice(b"null"),
    }
}

fn micros(out: &mut Vec<u8>, name: &str, value: Option<Duration>) {
    number(out, name, value.map(|time| time.as_micros() as u64));
}

/// An object. A name that comes again (a plugin used as a listener's filter and as a route's) has its words joined: a key must
/// not be there twice.
fn pairs<'a>(
    out: &mut Vec<u8>,
    name: &str,
    pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) {
    let pairs = pairs.take(MOST_PAIRS);
    key(out, name);
    out.push(b'{');
    let mut first = true;
    for (at, (name, words)) in pairs.clone().enumerate() {
        if pairs.clone().take(at).any(|(earlier, _)| earlier == name) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        quoted(out, cut(name));
        out.extend_from_slice(b":\"");
        text::json(out, cut(words));
        let again = pairs
            .clone()
            .skip(at + 1)
            .filter(|(other, _)| *other == name);
        for (_, more) in again {
            out.extend_from_slice(b"; ");
            text::json(out, cut(more));
        }
        out.push(b'"');
    }
    out.push(b'}');
}

fn cut(words: &str) -> &[u8] {
    &words.as_bytes()[..words.floor_char_boundary(MOST_WORDS)]
}
