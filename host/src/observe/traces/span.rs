//! Spans in OTLP's JSON (the protobuf mapping, but ids in hexadecimal), with the names of OpenTelemetry's semantic conventions for
//! HTTP, version 1.23 and later, and some of our own.

use std::time::Duration;

use crate::base::event::{RequestEnded, Trace};
use crate::observe::access::{date, text};

use super::Report;

/// Bytes of one value.
const MOST_VALUE: usize = 2 << 10;

/// Kinds of spans, and the one status that is set.
const SERVER: u64 = 2;
const CLIENT: u64 = 3;
const ERROR: u64 = 2;

/// Methods that the conventions know; others have `_OTHER`, so that a client can't make names.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

pub fn count(request: &RequestEnded<'_>) -> u64 {
    1 + u64::from(request.attempts > 0)
}

/// Of a request that has just ended.
pub fn report(request: &RequestEnded<'_>, trace: &Trace<'_>) -> Report {
    report_at(request, trace, date::now())
}

pub fn report_at(request: &RequestEnded<'_>, trace: &Trace<'_>, ended: Duration) -> Report {
    let mut json = Vec::with_capacity(2 << 10);
    let began = ended.saturating_sub(request.times.total);
    let server = Span {
        id: trace.span,
        parent: trace.parent,
        kind: SERVER,
        began,
        ended,
    };
    server.begin(&mut json, trace, request, request.route);
    let mut list = Attributes::new(&mut json);
    common(&mut list, request);
    of_server(&mut list, request, trace);
    json.push(b']');
    // What a client has done wrong is no error of ours.
    failed(&mut json, request, |status| status >= 500);
    let called = request.attempts > 0;
    if called {
        json.push(b',');
        let chosen = request.times.head + request.times.queue.unwrap_or_default();
        let call = Span {
            id: trace.call,
            parent: Some(trace.span),
            kind: CLIENT,
            began: (began + chosen).min(ended),
            ended,
        };
        call.begin(&mut json, trace, request, None);
        let mut list = Attributes::new(&mut json);
        common(&mut list, request);
        of_call(&mut list, request, trace);
        json.push(b']');
        failed(&mut json, request, |status| status >= 400);
    }
    Report {
        json,
        spans: 1 + usize::from(called),
    }
}

struct Span {
    id: u64,
    parent: Option<u64>,
    kind: u64,
    began: Duration,
    ended: Duration,
}

impl Span {
    /// Up to its attributes. Its name is of few: the method, and a route.
    fn begin(
        &self,
        out: &mut Vec<u8>,
        trace: &Trace<'_>,
        request: &RequestEnded<'_>,
        route: Option<&str>,
    ) {
        out.extend_from_slice(b"{\"traceId\":\"");
        text::digits(out, &trace.id.to_be_bytes());
        out.extend_from_slice(b"\",\"spanId\":\"");
        text::digits(out, &self.id.to_be_bytes());
        if let Some(parent) = self.parent {
            out.extend_from_slice(b"\",\"parentSpanId\":\"");
            text::digits(out, &parent.to_be_bytes());
        }
        out.extend_from_slice(b"\",\"name\":\"");
        out.extend_from_slice(known(request.method).unwrap_or("HTTP").as_bytes());
        if let Some(route) = route {
            out.push(b' ');
            text::json(out, route.as_bytes());
        }
        out.extend_from_slice(b"\",\"kind\":");
        text::number(out, self.kind);
        for (key, time) in [
            (&b",\"startTimeUnixNano\":\""[..], self.began),
            (b",\"endTimeUnixNano\":\"", self.ended),
        ] {
            out.extend_from_slice(key);
            text::number(out, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            out.push(b'"');
        }
        out.extend_from_slice(b",\"attributes\":[");
    }
}

/// Its end: the status where it is an error.
fn failed(out: &mut Vec<u8>, request: &RequestEnded<'_>, is_error: impl Fn(u16) -> bool) {
    if request.fault.is_some() || request.status.is_none_or(is_error) {
        out.extend_from_slice(b",\"status\":{\"code\":");
        text::number(out, ERROR);
        out.push(b'}');
    }
    out.push(b'}');
}

fn common(list: &mut Attributes<'_>, request: &RequestEnded<'_>) {
    match known(request.method) {
        Some(method) => list.text("http.request.method", method),
        None => {
            list.text("http.request.method", "_OTHER");
            list.text("http.request.method_original", request.method);
        }
    }
    if let Some(pool) = request.pool {
        list.text("tidegate.pool", pool);
    }
    if let Some(server) = request.server {
        list.text("tidegate.server", server);
    }
}

fn of_server(list: &mut Attributes<'_>, request: &RequestEnded<'_>, trace: &Trace<'_>) {
    let (path, query) = halves(request.target);
    list.bytes("url.path", path);
    if let Some(query) = query {
        list.bytes("url.query", query);
    }
    list.text("url.scheme", trace.scheme);
    if let Some(host) = request.host {
        list.bytes("server.address", host);
    }
    list.text("client.address", request.client_address);
    if let Ok(port) = request.client_port.parse::<u16>() {
        list.number("client.port", port.into());
    }
    list.text("network.peer.address", &request.peer.ip().to_string());
    list.number("network.peer.port", request.peer.port().into());
    let version = request.version.strip_prefix("HTTP/");
    list.text("network.protocol.version", version.unwrap_or_default());
    if let Some(agent) = request.user_agent {
        list.bytes("user_agent.original", agent);
    }
    if let Some(status) = request.status {
        list.number("http.response.status_code", status.into());
    }
    error_type(list, request, 500);
    list.text("tidegate.listener", request.listener);
    if let Some(route) = request.route {
        list.text("tidegate.route", route);
    }
    list.number("tidegate.attempts", request.attempts.into());
    list.text("tidegate.request_id", request.request_id);
    list.bytes("tidegate.termination", &request.termination);
}

fn of_call(list: &mut Attributes<'_>, request: &RequestEnded<'_>, trace: &Trace<'_>) {
    if let Some(address) = trace.server_address {
        match address
            .rsplit_once(':')
            .map(|(host, port)| (host, port.parse::<u16>()))
        {
            Some((host, Ok(port))) => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                list.text("server.address", host);
                list.number("server.port", port.into());
            }
            _ => list.text(
                "server.address",
                address.strip_prefix("unix:").unwrap_or(address),
            ),
        }
    }
    if request.attempts > 1 {
        list.number("http.request.resend_count", u64::from(request.attempts) - 1);
    }
    // What a server answered, not what we say for it.
    if let Some(status) = request.status.filter(|_| request.fault.is_none()) {
        list.number("http.response.status_code", status.into());
    }
    error_type(list, request, 400);
}

/// A word, or the status.
fn error_type(list: &mut Attributes<'_>, request: &RequestEnded<'_>, from: u16) {
    match (request.fault, request.status) {
        (Some(fault), _) => list.text("error.type", fault),
        (None, Some(status)) if status >= from => list.text("error.type", &status.to_string()),
        _ => {}
    }
}

fn known(method: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|known| *known == method)
}

fn halves(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

/// A list of attributes.
pub struct Attributes<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Attributes<'_> {
    pub fn new(out: &mut Vec<u8>) -> Attributes<'_> {
        Attributes { out, first: true }
    }

    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(b"{\"key\":\"");
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\",\"value\":{\"");
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.bytes(key, value.as_bytes());
    }

    pub fn bytes(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.out.extend_from_slice(b"stringValue\":\"");
        text::json(self.out, &value[..value.len().min(MOST_VALUE)]);
        self.out.extend_from_slice(b"\"}}");
    }

    /// A number of 64 bits is a string in this mapping.
    pub fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.out.extend_from_slice(b"intValue\":\"");
        text::number(self.out, value);
        self.out.extend_from_slice(b"\"}}");
    }
}
