//! A collector of traces: takes OTLP over HTTP, and holds each export to the JSON mapping that the protocol has
//! (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding").

use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;

use serde_json::Value;

use crate::message::Message;
use crate::origin::{Origin, reply};
use crate::wait::wait_for;

pub struct Collector {
    pub origin: Origin,
}

/// A span, and what its resource is.
#[derive(Clone, Debug)]
pub struct Exported {
    pub json: Value,
    pub attributes: BTreeMap<String, String>,
    pub resource: BTreeMap<String, String>,
}

impl Collector {
    /// Takes what comes.
    pub fn start() -> Collector {
        Collector::answering(|_, stream| {
            reply(stream, 200, &[("content-type", "application/json")], "{}")
        })
    }

    pub fn answering(
        answer: impl Fn(&Message, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Collector {
        Collector {
            origin: Origin::answering("collector", answer),
        }
    }

    /// `[tracing]` with this collector, and further lines.
    pub fn section(&self, lines: &str) -> String {
        let address = self.origin.address();
        format!("[tracing]\nendpoint = \"http://{address}/v1/traces\"\n{lines}\n")
    }

    /// All spans so far, once there are that many.
    #[track_caller]
    pub fn spans(&self, count: usize) -> Vec<Exported> {
        wait_for(&format!("{count} spans"), || {
            let exports = self.origin.requests();
            let spans: Vec<_> = exports.iter().flat_map(exported).collect();
            (spans.len() >= count).then_some(spans)
        })
    }

    /// The spans of the request for that path, once they are there: of the request, and of its call.
    #[track_caller]
    pub fn request(&self, path: &str) -> (Exported, Option<Exported>) {
        wait_for(&format!("the spans of {path}"), || {
            let spans = self.spans(0);
            let of_path =
                |span: &&Exported| span.attributes.get("url.path").is_some_and(|p| p == path);
            let server = spans.iter().find(of_path)?.clone();
            let calls = spans.iter();
            let mut calls = calls.filter(|span| span.json["parentSpanId"] == server.json["spanId"]);
            Some((server.clone(), calls.next().cloned()))
        })
    }
}

impl Exported {
    #[track_caller]
    pub fn id(&self, key: &str) -> &str {
        self.json[key]
            .as_str()
            .unwrap_or_else(|| panic!("no {key}: {}", self.json))
    }
}

fn exported(export: &Message) -> Vec<Exported> {
    assert_eq!(export.header("content-type"), Some("application/json"));
    let body = export.json();
    let mut spans = Vec::new();
    only(&body, &["resourceSpans"]);
    for group in list(&body, "resourceSpans") {
        only(group, &["resource", "scopeSpans"]);
        only(&group["resource"], &["attributes"]);
        let resource = attributes(&group["resource"]);
        for scope in list(group, "scopeSpans") {
            only(scope, &["scope", "spans"]);
            only(&scope["scope"], &["name"]);
            for span in list(scope, "spans") {
                spans.push(Exported {
                    json: span.clone(),
                    attributes: span_of(span),
                    resource: resource.clone(),
                });
            }
        }
    }
    spans
}

/// Its attributes.
fn span_of(span: &Value) -> BTreeMap<String, String> {
    only(
        span,
        &[
            "traceId",
            "spanId",
            "parentSpanId",
            "name",
            "kind",
            "startTimeUnixNano",
            "endTimeUnixNano",
            "attributes",
            "status",
        ],
    );
    let hex = |key: &str, length| {
        let id = span[key]
            .as_str()
            .unwrap_or_else(|| panic!("no {key}: {span}"));
        let fits = id.len() == length && id.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(fits && id.bytes().any(|b| b != b'0'), "{key}: {span}");
    };
    hex("traceId", 32);
    hex("spanId", 16);
    if span.get("parentSpanId").is_some() {
        hex("parentSpanId", 16);
    }
    let nanos = |key: &str| -> u64 {
        let text = span[key]
            .as_str()
            .unwrap_or_else(|| panic!("{key} is no string: {span}"));
        text.parse().unwrap_or_else(|e| panic!("{e}: {span}"))
    };
    let (from, to) = (nanos("startTimeUnixNano"), nanos("endTimeUnixNano"));
    assert!(from <= to && from > 1_600_000_000_000_000_000, "{span}");
    assert!(matches!(span["kind"].as_u64(), Some(2 | 3)), "{span}");
    assert!(
        !span["name"].as_str().unwrap_or_default().is_empty(),
        "{span}"
    );
    if let Some(status) = span.get("status") {
        only(status, &["code"]);
        assert_eq!(status["code"], 2, "{span}");
    }
    attributes(span)
}

fn attributes(of: &Value) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for attribute in list(of, "attributes") {
        only(attribute, &["key", "value"]);
        let value = attribute["value"].as_object().expect("a value");
        let (kind, value) = value.iter().next().expect("a value of a kind");
        let value = value.as_str().unwrap_or_else(|| panic!("{attribute}"));
        match kind.as_str() {
            "stringValue" => {}
            "intValue" => assert!(value.parse::<i64>().is_ok(), "{attribute}"),
            _ => panic!("{attribute}"),
        }
        let key = attribute["key"].as_str().expect("a key").to_owned();
        assert_eq!(
            all.insert(key, value.to_owned()),
            None,
            "twice: {attribute}"
        );
    }
    all
}

fn list<'a>(of: &'a Value, key: &str) -> &'a Vec<Value> {
    of[key]
        .as_array()
        .unwrap_or_else(|| panic!("no list {key}: {of}"))
}

fn only(of: &Value, keys: &[&str]) {
    let object = of.as_object().unwrap_or_else(|| panic!("no object: {of}"));
    for key in object.keys() {
        assert!(keys.contains(&key.as_str()), "{key} in {of}");
    }
}
