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
    pub(super) fn probe(&mut self, written: &written::Health) -> Probe {
        let interval = written.interval.value.0;
        self.no_answer_is_looked_at(written);
        let headers = written.headers.value.0.iter();
        let headers: Vec<_> = headers
            .filter_map(|(name, value)| self.probe_header(name, value))
            .collect();
        if let Some(host) = written.host.given() {
            self.header_value(host);
        }
        Probe {
            kind: written.r#type.value,
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

    /// A TCP probe has no answer that a status or body could be expected of.
    fn no_answer_is_looked_at(&mut self, written: &written::Health) {
        if written.r#type.value != ProbeKind::Tcp {
            return;
        }
        let body = written.body.given().map(|key| &key.span);
        let pattern = written.body_pattern.given().map(|key| &key.span);
        if let Some(span) = body.or(pattern) {
            self.problem(Problem::at(
                span.clone(),
                "a tcp probe gets no body",
                "leave it out, or write type = \"http\"",
            ));
        }
    }

    fn probe_header(
        &mut self,
        name: &Located<String>,
        value: &Located<Text>,
    ) -> Option<(HeaderName, HeaderValue)> {
        let ours = [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING];
        let parsed = HeaderName::from_bytes(name.value.as_bytes()).ok();
        let value = self.header_value(value);
        match parsed {
            Some(known) if ours.contains(&known) => {
                let remedy = match known == HOST {
                    true => "write `host = \"…\"` beside `headers`",
                    false => "leave it out: the proxy sets it",
                };
                let message = format!("{:?} can't be set here", name.value);
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
