//! `[log]`.

use super::{Check, refuse_twice};
use crate::config::checked::{AccessField, AccessFormat, AccessTarget, Captures, Log};
use crate::config::logging::HeaderField;
use crate::config::problem::{Located, Problem, Span};
use crate::config::written::{self, File, List};

/// Headers of one kind. A line has to fit into the queue.
const MOST_HEADERS: usize = 16;

/// What nobody should find in a log by accident.
const CREDENTIALS: [&str; 4] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
];

impl Check<'_> {
    pub(super) fn log(&mut self, file: &File) -> Log {
        let log = &file.log.value;
        let access = log.access.located(match &log.access.value {
            AccessTarget::File(path) => AccessTarget::File(self.source.folder().join(path)),
            other => other.clone(),
        });
        let captures = Captures {
            request: self.captured(log, &log.request_headers),
            response: self.captured(log, &log.response_headers),
            length: usize::try_from(log.header_length.value.0).unwrap_or(usize::MAX),
        };
        Log {
            level: log.level.value.0.clone(),
            access,
            format: log.format.value,
            fields: self.fields(log, !file.tracing.is_absent()),
            captures,
        }
    }

    fn captured(&mut self, log: &written::Log, list: &Located<List<HeaderField>>) -> Vec<String> {
        if list.value.len() > MOST_HEADERS {
            self.problem(Problem::at(
                list.span.clone(),
                format!("{} headers are more than a line holds", list.value.len()),
                format!("name {MOST_HEADERS} at most"),
            ));
        }
        let named = list.value.iter().map(|header| {
            let name = &header.value.0;
            (
                name,
                header.located(format!("the header {name} is captured twice")),
            )
        });
        refuse_twice(named, "name each header once", self.problems);
        for header in list.value.iter().filter(|_| !log.credentials.value) {
            let name = header.value.0.as_str();
            if CREDENTIALS.contains(&name) {
                self.problem(Problem::at(
                    header.span.clone(),
                    format!("{name} holds credentials, which whoever reads the log could use"),
                    "leave it out, or add `credentials = true` to [log] if they may stand there",
                ));
            }
        }
        list.value
            .iter()
            .map(|header| header.value.0.clone())
            .collect()
    }

    /// What a line holds: what is named, else all there is.
    fn fields(&mut self, log: &written::Log, traced: bool) -> Vec<AccessField> {
        let there = |list: &Located<List<HeaderField>>| !list.value.is_empty();
        let (request, response) = (there(&log.request_headers), there(&log.response_headers));
        let Some(fields) = log.fields.given() else {
            let exists = |field: &&AccessField| match field {
                AccessField::RequestHeaders => request,
                AccessField::ResponseHeaders => response,
                AccessField::TraceId => traced,
                _ => true,
            };
            return AccessField::ALL.iter().filter(exists).copied().collect();
        };
        if !self.fields_fit(log, fields) {
            return Vec::new();
        }
        let captured = [
            (
                AccessField::RequestHeaders,
                "request-headers",
                &log.request_headers,
            ),
            (
                AccessField::ResponseHeaders,
                "response-headers",
                &log.response_headers,
            ),
        ];
        for (field, key, list) in captured {
            let named = fields.value.iter().find(|named| named.value == field);
            let name = field.name();
            match (named, there(list)) {
                (Some(named), false) => self.nothing_in(&named.span, name, key),
                (None, true) => self.problem(Problem::at(
                    list.span.clone(),
                    "these headers stand in no line: `fields` leaves them out",
                    format!("add \"{name}\" to `fields`, or leave out `{key}`"),
                )),
                _ => {}
            }
        }
        let trace = fields.value.iter();
        let mut trace = trace.filter(|named| named.value == AccessField::TraceId);
        if let Some(named) = trace.next().filter(|_| !traced) {
            self.problem(Problem::at(
                named.span.clone(),
                "there is nothing to write as \"trace_id\": requests are not traced",
                "add a [tracing] section, or leave it out",
            ));
        }
        fields.value.iter().map(|field| field.value).collect()
    }

    fn fields_fit(&mut self, log: &written::Log, fields: &Located<List<AccessField>>) -> bool {
        let word = match log.format.value {
            AccessFormat::Json => None,
            AccessFormat::Combined => Some("combined"),
            AccessFormat::Httplog => Some("httplog"),
        };
        if let Some(word) = word {
            self.problem(Problem::at(
                fields.span.clone(),
                format!("`fields` has no meaning for {word}, whose lines are what others parse"),
                "write format = \"json\", or leave `fields` out",
            ));
            return false;
        }
        if fields.value.is_empty() {
            self.problem(Problem::at(
                fields.span.clone(),
                "an access log without a field",
                "name some, such as [\"time\", \"client\", \"status\"], or write access = \"off\"",
            ));
        }
        let named = fields.value.iter().map(|field| {
            let name = field.value.name();
            (
                name,
                field.located(format!("the field {name:?} is there already")),
            )
        });
        refuse_twice(named, "name each field once", self.problems);
        true
    }

    fn nothing_in(&mut self, span: &Span, field: &str, key: &str) {
        self.problem(Problem::at(
            span.clone(),
            format!("there is nothing to write as {field:?}"),
            format!("name the headers: {key} = [\"…\"]"),
        ));
    }
}
