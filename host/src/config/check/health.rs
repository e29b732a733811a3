//! `health` and `passive` of a pool.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};

use super::Check;
use crate::config::checked::{Failures, Passive, Pattern, Probe, ProbeKind};
use crate::config::probing::FailureKind;
use crate::config::problem::{Located, Problem};
use crate::config::text::Text;
use crate::config::written;

impl Check<'_> {
    pub(super) fn probe(&mut self, written: &written::Health, http2: bool) -> Probe {
        let interval = written.interval.value.0;
        self.no_answer_is_looked_at(written);
        self.only_the_prober_speaks(written);
        let headers = written.headers.value.0.iter();
        let headers: Vec<_> = headers
            .filter_map(|(name, value)| self.probe_header(name, value))
            .collect();
        if let Some(host) = written.host.given() {
            self.header_value(host);
        }
        Probe {
            kind: kind(written),
            http2,
            service: written
                .service
                .given()
                .map_or(String::new(), |service| service.value.value.clone()),
            path: written.path.value.0.clone(),
            method: written.method.value.0.clone(),
            host: written.host.given().map(|host| host.value.value.clone()),
            headers,
            expect: written
                .expect
                .value
                .0
                .iter()
                .map(|range| (range.value.0, range.value.1))
                .collect(),
            body: written.body.given().map(|text| text.value.value.clone()),
            body_pattern: written
                .body_pattern
                .given()
                .map(|regex| Pattern(regex.value.0.clone())),
            interval,
            fast_interval: written
                .fast_interval
                .given()
                .map_or(interval, |s| s.value.0),
            down_interval: written
                .down_interval
                .given()
                .map_or(interval, |s| s.value.0),
            timeout: written.timeout.value.0,
            rise: written.rise.value.0 as u32,
            fall: written.fall.value.0 as u32,
            port: written.port.given().map(|port| port.value.0 as u16),
        }
    }

    /// Other probes have no answer that a status or body could be expected of.
    fn no_answer_is_looked_at(&mut self, written: &written::Health) {
        let kind = written.r#type.value;
        if let Some(service) = written.service.given().filter(|_| kind != ProbeKind::Grpc) {
            self.problem(Problem::at(
                service.span.clone(),
                "`service` is asked for by gRPC alone",
                "leave it out, or write type = \"grpc\"",
            ));
        }
        let word = match kind {
            ProbeKind::Tcp => "tcp",
            ProbeKind::Tls => "tls",
            ProbeKind::Grpc => "grpc",
            ProbeKind::Http | ProbeKind::Plugin => return,
        };
        let body = written.body.given().map(|key| &key.span);
        let pattern = written.body_pattern.given().map(|key| &key.span);
        if let Some(span) = body.or(pattern) {
            self.problem(Problem::at(
                span.clone(),
                format!("a {word} probe gets no body"),
                "leave it out, or write type = \"http\"",
            ));
        }
    }

    /// A prober sends what it likes, and says itself what the answer means.
    fn only_the_prober_speaks(&mut self, written: &written::Health) {
        if written.prober.is_absent() {
            return;
        }
        let keys = [
            ("type", Some(&written.r#type.span)),
            ("path", Some(&written.path.span)),
            ("method", Some(&written.method.span)),
            ("host", written.host.given().map(|key| &key.span)),
            ("headers", Some(&written.headers.span)),
            ("service", written.service.given().map(|key| &key.span)),
            ("expect", Some(&written.expect.span)),
            ("body", written.body.given().map(|key| &key.span)),
            (
                "body-pattern",
                written.body_pattern.given().map(|key| &key.span),
            ),
            ("plugin", written.plugin.given().map(|key| &key.span)),
        ];
        for (key, span) in keys {
            // A default stands at the table's own place.
            let Some(span) = span.filter(|span| **span != written.span) else {
                continue;
            };
            self.problem(Problem::at(
                span.clone(),
                format!("`{key}` says nothing to a prober, which speaks a protocol of its own"),
                format!("leave out `{key}`, or `prober`"),
            ));
        }
    }

    fn probe_header(
        &mut self,
        name: &Located<String>,
        value: &Located<Text>,
    ) -> Option<(HeaderName, HeaderValue)> {
        if name.value.eq_ignore_ascii_case(HOST.as_str()) {
            self.problem(Problem::at(
                name.span.clone(),
                format!("{:?} can't be set here", name.value),
                "write `host = \"…\"` beside `headers`",
            ));
            return None;
        }
        let ours = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING];
        self.header(name, value, &ours)
    }

    /// A header that the file has sent; `ours` are those that the proxy sets.
    pub(super) fn header(
        &mut self,
        name: &Located<String>,
        value: &Located<Text>,
        ours: &[HeaderName],
    ) -> Option<(HeaderName, HeaderValue)> {
        let parsed = HeaderName::from_bytes(name.value.as_bytes()).ok();
        let value = self.header_value(value);
        match parsed {
            Some(known) if ours.contains(&known) => {
                let message = format!("{:?} can't be set here", name.value);
                let remedy = "leave it out: the proxy sets it";
                self.problem(Problem::at(name.span.clone(), message, remedy));
                None
            }
            Some(known) => Some((known, value?)),
            None => {
                self.problem(Problem::at(
                    name.span.clone(),
                    format!("{:?} is no header name", name.value),
                    "write letters, digits and dashes",
                ));
                None
            }
        }
    }

    fn header_value(&mut self, text: &Located<Text>) -> Option<HeaderValue> {
        let value = HeaderValue::from_str(&text.value.value).ok();
        if value.is_none() {
            self.problem(Problem::at(
                text.span.clone(),
                format!("{} can't be sent in a header", text.value.shown()),
                "write visible ASCII characters",
            ));
        }
        value
    }
}

/// Of `prober` or `type`.
pub(super) fn kind(written: &written::Health) -> ProbeKind {
    match written.prober.is_absent() {
        true => written.r#type.value,
        false => ProbeKind::Plugin,
    }
}

pub(super) fn passive(written: &written::Passive) -> Passive {
    let mut on = Failures::default();
    for kind in &written.on.value {
        match kind.value {
            FailureKind::Connect => on.connect = true,
            FailureKind::Timeout => on.timeout = true,
            FailureKind::Broken => on.broken = true,
            FailureKind::Status(status) => on.statuses.push(status),
        }
    }
    let eject = written.eject.value.0;
    Passive {
        max_fails: written.max_fails.value.0 as u32,
        window: written.window.value.0,
        max_rate: written.max_rate.value.0,
        min_requests: written.min_requests.value.0 as u32,
        eject,
        max_eject: written.max_eject.value.0.max(eject),
        max_ejected: written.max_ejected.value.0,
        trials: written.trials.value.0 as u32,
        on,
    }
}
