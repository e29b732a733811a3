//! `format = "json"`: one object a line, its keys always all there and in the order that the configuration gives them; null where
//! there is nothing to tell. The README's "Access log" says what each key means.

use std::time::Duration;

use crate::base::event::{Captured, RequestEnded};
use crate::config::checked::AccessField;

use super::date::Dates;
use super::format::Entry;
use super::text;

/// Reasons and notes beyond these are left out: a line has to fit into the ring.
const MOST_PAIRS: usize = 32;
/// Bytes of a reason's or note's name and of its words.
const MOST_WORDS: usize = 512;

/// The keys of a line, each with what stands before its value.
pub struct Columns(Vec<(Box<[u8]>, AccessField)>);

impl Columns {
    pub fn of(fields: &[AccessField]) -> Columns {
        let columns = fields.iter().enumerate().map(|(at, field)| {
            let before = if at == 0 { '{' } else { ',' };
            let key = format!("{before}\"{}\":", field.name());
            (key.into_bytes().into(), *field)
        });
        Columns(columns.collect())
    }
}

pub fn line(out: &mut Vec<u8>, dates: &mut Dates, entry: &Entry<'_>, columns: &Columns) {
    for (key, field) in &columns.0 {
        out.extend_from_slice(key);
        value(out, dates, entry, *field);
    }
    out.push(b'}');
}

fn value(out: &mut Vec<u8>, dates: &mut Dates, entry: &Entry<'_>, field: AccessField) {
    let request = entry.request;
    let read = !request.method.is_empty();
    let times = &request.times;
    match field {
        AccessField::Time => time(out, dates, entry),
        AccessField::Client => quoted(out, request.client_address.as_bytes()),
        AccessField::ClientPort => number(out, request.client_port.parse::<u16>().ok()),
        AccessField::Peer => {
            out.push(b'"');
            text::address(out, request.peer);
            out.push(b'"');
        }
        AccessField::Listener => quoted(out, request.listener.as_bytes()),
        AccessField::Route => string(out, request.route.map(str::as_bytes)),
        AccessField::Pool => string(out, request.pool.map(str::as_bytes)),
        AccessField::Server => string(out, request.server.map(str::as_bytes)),
        AccessField::Method => string(out, read.then_some(request.method.as_bytes())),
        AccessField::Target => string(out, read.then_some(request.target)),
        AccessField::Host => string(out, request.host),
        AccessField::Version => string(out, read.then_some(request.version.as_bytes())),
        AccessField::Status => number(out, request.status),
        AccessField::BytesIn => number(out, Some(request.bytes_in)),
        AccessField::BytesOut => number(out, Some(request.bytes_out)),
        AccessField::BodyBytesOut => number(out, Some(request.body_bytes_out)),
        AccessField::Head => micros(out, Some(times.head)),
        AccessField::Queue => micros(out, times.queue),
        AccessField::Connect => micros(out, times.connect),
        AccessField::FirstByte => micros(out, times.first_byte),
        AccessField::Total => micros(out, Some(times.total)),
        AccessField::Attempts => number(out, Some(request.attempts)),
        AccessField::Generation => number(out, Some(request.generation.0)),
        AccessField::Reasons => reasons(out, request),
        AccessField::Notes => notes(out, request),
        AccessField::Termination => quoted(out, &request.termination),
        AccessField::Fault => string(out, request.fault.map(str::as_bytes)),
        AccessField::RequestId => {
            let id = Some(request.request_id.as_bytes());
            string(out, id.filter(|id| !id.is_empty()));
        }
        AccessField::UserAgent => string(out, request.user_agent),
        AccessField::Referer => string(out, request.referer),
        AccessField::RequestHeaders => headers(out, request.request_headers),
        AccessField::ResponseHeaders => headers(out, request.response_headers),
        AccessField::TraceId => match request.trace {
            Some(trace) => {
                out.push(b'"');
                text::digits(out, &trace.id.to_be_bytes());
                out.push(b'"');
            }
            None => out.extend_from_slice(b"null"),
        },
    }
}

fn time(out: &mut Vec<u8>, dates: &mut Dates, entry: &Entry<'_>) {
    let began = entry.began();
    out.push(b'"');
    out.extend_from_slice(dates.text(began));
    out.push(b'.');
    text::three(out, began.subsec_millis());
    out.extend_from_slice(b"Z\"");
}

fn reasons(out: &mut Vec<u8>, request: &RequestEnded<'_>) {
    let reasons = request.reasons.iter();
    pairs(out, reasons.map(|(plugin, why)| (&**plugin, &**why)));
}

fn notes(out: &mut Vec<u8>, request: &RequestEnded<'_>) {
    let notes = request.notes.iter();
    pairs(out, notes.map(|(name, value)| (&**name, &**value)));
}

/// An object; its keys are different names.
fn headers(out: &mut Vec<u8>, headers: &[Captured<'_>]) {
    out.push(b'{');
    for (at, header) in headers.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        quoted(out, header.name.as_bytes());
        out.push(b':');
        string(out, header.value);
    }
    out.push(b'}');
}

fn string(out: &mut Vec<u8>, value: Option<&[u8]>) {
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

fn number<N: Into<u64>>(out: &mut Vec<u8>, value: Option<N>) {
    match value {
        Some(value) => text::number(out, value.into()),
        None => out.extend_from_slice(b"null"),
    }
}

fn micros(out: &mut Vec<u8>, value: Option<Duration>) {
    number(out, value.map(|time| time.as_micros() as u64));
}

/// An object. A name that comes again (a plugin used as a listener's filter and as a route's) has its words joined: a key must
/// not be there twice.
fn pairs<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) {
    let pairs = pairs.take(MOST_PAIRS);
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
