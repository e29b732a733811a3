//! Words of `health` and `passive`: statuses, paths, patterns, kinds of failures, shares.

use schemars::{Schema, json_schema};

use super::checked::ProbeKind;
use super::nearest;
use super::read::{Fault, FromText};
use super::word::words;

/// `200`, or `200-399`; both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct StatusRange(pub u16, pub u16);

/// What a probe asks for: a path, and a query where there is one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProbePath(pub String);

#[derive(Clone, Debug)]
pub(super) struct Regex(pub regex_lite::Regex);

/// 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Percent(pub u32);

/// What passive health counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FailureKind {
    Connect,
    Timeout,
    Broken,
    /// 503, or 5 for its class.
    Status(u16),
}

words!(ProbeKind, "is no kind of probe", "type", "http" => ProbeKind::Http, "tcp" => ProbeKind::Tcp, "tls" => ProbeKind::Tls, "grpc" => ProbeKind::Grpc);

/// After what a request is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum RetryKind {
    Connect,
    Reset,
    Timeout,
    Junk,
    /// 503, or 5 for its class.
    Status(u16),
}

impl FromText for StatusRange {
    fn form() -> String {
        "a status such as \"200\", or a range such as \"200-399\"".to_owned()
    }

    fn from_text(text: &str) -> Result<StatusRange, Fault> {
        let status = |text: &str| text.parse().ok().filter(|s| (100..600).contains(s));
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        match (status(from), status(to)) {
            (Some(from), Some(to)) if from <= to => Ok(StatusRange(from, to)),
            _ => Err(Fault::new(
                "is no status",
                format!("write {}", Self::form()),
            )),
        }
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" })
    }

    fn number_remedy(number: &str) -> Option<String> {
        Some(format!("put it in quotes: {number:?}"))
    }
}

impl FromText for ProbePath {
    fn form() -> String {
        "a path such as \"/health\", with a query or without".to_owned()
    }

    fn from_text(text: &str) -> Result<ProbePath, Fault> {
        if !text.starts_with('/') {
            return Err(Fault::new(
                "does not begin with a slash",
                format!("write \"/{text}\""),
            ));
        }
        if text.chars().any(|c| !c.is_ascii_graphic() || c == '#') {
            return Err(Fault::new(
                "has a character that no path has",
                "write it percent-encoded, as requests do: %20 for a space",
            ));
        }
        Ok(ProbePath(text.to_owned()))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^/[^#\\s]*$" })
    }
}

impl FromText for Regex {
    fn form() -> String {
        "a regular expression".to_owned()
    }

    fn from_text(text: &str) -> Result<Regex, Fault> {
        regex_lite::Regex::new(text).map(Regex).map_err(|error| {
            Fault::new(
                format!("is no regular expression: {error}"),
                "write one in the syntax of Rust's regex-lite, which has no look-around",
            )
        })
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl FromText for Percent {
    fn form() -> String {
        "a share from \"0%\" to \"100%\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Percent, Fault> {
        let number = text.strip_suffix('%').and_then(|text| text.parse().ok());
        match number.filter(|share| *share <= 100) {
            Some(share) => Ok(Percent(share)),
            None => Err(Fault::new("is no share", format!("write {}", Self::form()))),
        }
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(100|[0-9]{1,2})%$" })
    }

    fn number_remedy(number: &str) -> Option<String> {
        Some(format!("add a per cent sign: \"{number}%\""))
    }
}

impl FromText for FailureKind {
    fn form() -> String {
        "connect, timeout, broken, or a status such as \"5xx\" or \"503\"".to_owned()
    }

    fn from_text(text: &str) -> Result<FailureKind, Fault> {
        let status = text.parse().ok().filter(|s| (400..600).contains(s));
        match (text, status) {
            ("connect", _) => Ok(FailureKind::Connect),
            ("timeout", _) => Ok(FailureKind::Timeout),
            ("broken", _) => Ok(FailureKind::Broken),
            ("5xx", _) => Ok(FailureKind::Status(5)),
            (_, Some(status)) => Ok(FailureKind::Status(status)),
            _ => {
                let words = ["connect", "timeout", "broken", "5xx"];
                let remedy = nearest::remedy(text, "kind", &words);
                Err(Fault::new("is no kind of failure", remedy))
            }
        }
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(connect|timeout|broken|5xx|[45][0-9]{2})$" })
    }
}

impl FromText for RetryKind {
    fn form() -> String {
        "connect, reset, timeout, junk, or a status such as \"5xx\" or \"503\"".to_owned()
    }

    fn from_text(text: &str) -> Result<RetryKind, Fault> {
        let status = text.parse().ok().filter(|s| (400..600).contains(s));
        match (text, status) {
            ("connect", _) => Ok(RetryKind::Connect),
            ("reset", _) => Ok(RetryKind::Reset),
            ("timeout", _) => Ok(RetryKind::Timeout),
            ("junk", _) => Ok(RetryKind::Junk),
            ("5xx", _) => Ok(RetryKind::Status(5)),
            (_, Some(status)) => Ok(RetryKind::Status(status)),
            _ => {
                let words = ["connect", "reset", "timeout", "junk", "5xx"];
                let remedy = nearest::remedy(text, "reason", &words);
                Err(Fault::new("is no reason to try again", remedy))
            }
        }
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(connect|reset|timeout|junk|5xx|[45][0-9]{2})$" })
    }

    fn number_remedy(number: &str) -> Option<String> {
        Some(format!("put it in quotes: {number:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_come_alone_or_as_ranges() {
        let read = |text| StatusRange::from_text(text).ok();
        assert_eq!(read("204"), Some(StatusRange(204, 204)));
        assert_eq!(read("200-399"), Some(StatusRange(200, 399)));
        for text in ["", "99", "600", "300-200", "200-", "2xx", "200,201"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
