//! Words of `[tracing]`: where spans go, and how many requests are sampled.

use http::Uri;
use schemars::{Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::checked::TraceEndpoint;
use super::read::{Fault, FromText, Reader, Value, Written};

/// From 0 to 1, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share(pub f64);

const EXAMPLE: &str = "http://127.0.0.1:4318/v1/traces";

impl FromText for TraceEndpoint {
    fn form() -> String {
        format!("a URL such as {EXAMPLE:?}")
    }

    fn from_text(text: &str) -> Result<TraceEndpoint, Fault> {
        let none = || {
            Fault::new(
                "is no URL of a collector",
                format!("write {}", Self::form()),
            )
        };
        let tls = match text.split_once("://") {
            Some(("http", _)) => false,
            Some(("https", _)) => true,
            _ => return Err(none()),
        };
        let url: Uri = text.parse().map_err(|_| none())?;
        let authority = url.authority().ok_or_else(none)?;
        if authority.as_str().contains('@') {
            return Err(Fault::new(
                "has a user in it, which no collector is told",
                "write `headers = { authorization = { file = \"…\" } }` beside it",
            ));
        }
        if url.path().trim_matches('/').is_empty() {
            let base = text.trim_end_matches('/');
            return Err(Fault::new(
                "has no path",
                format!("write \"{base}/v1/traces\", where collectors take traces by OTLP"),
            ));
        }
        // `host:` without a number is none.
        let port = authority.as_str().strip_prefix(authority.host());
        let port = match port.and_then(|rest| rest.strip_prefix(':')) {
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(none)?,
        };
        let host = authority.host();
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        if host.is_empty() || text.contains('#') {
            return Err(none());
        }
        Ok(TraceEndpoint {
            tls,
            authority: authority.as_str().to_owned(),
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port,
            path: path.to_owned(),
        })
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^https?://[^/?#@]+/[^#]+$" })
    }
}

impl Written for Share {
    fn expected() -> String {
        "a number from 0 to 1, such as 0.01".to_owned()
    }

    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Share> {
        let number = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse::<f64>(),
            DeValue::Integer(number) => number.as_str().parse::<f64>(),
            _ => {
                reader.wrong_type(value, &Self::expected(), None);
                return None;
            }
        };
        let fits = number.ok().filter(|number| (0.0..=1.0).contains(number));
        if fits.is_none() {
            let message = "this share is out of range";
            reader.problem(value.span(), message, format!("write {}", Self::expected()));
        }
        fits.map(Share)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TraceEndpoint, String> {
        TraceEndpoint::from_text(text).map_err(|fault| fault.says)
    }

    #[test]
    fn urls_are_taken_apart() {
        let plain = parse("http://collector:4318/v1/traces").unwrap();
        assert_eq!(
            (plain.tls, &*plain.host, plain.port),
            (false, "collector", 4318)
        );
        assert_eq!(
            (&*plain.authority, &*plain.path),
            ("collector:4318", "/v1/traces")
        );
        let secure = parse("https://[2001:db8::1]/otlp/v1/traces?key=a").unwrap();
        assert_eq!(
            (secure.tls, &*secure.host, secure.port),
            (true, "2001:db8::1", 443)
        );
        assert_eq!(&*secure.path, "/otlp/v1/traces?key=a");
    }

    #[test]
    fn what_is_none_is_refused() {
        for (text, says) in [
            ("127.0.0.1:4318/v1/traces", "is no URL of a collector"),
            ("grpc://127.0.0.1:4317/x", "is no URL of a collector"),
            ("http:///v1/traces", "is no URL of a collector"),
            ("http://h:0/v1/traces", "is no URL of a collector"),
            ("http://h:x/v1/traces", "is no URL of a collector"),
            ("http://h/v1/traces#x", "is no URL of a collector"),
            ("http://127.0.0.1:4318", "has no path"),
            ("http://127.0.0.1:4318/", "has no path"),
            (
                "https://u:p@h/v1/traces",
                "has a user in it, which no collector is told",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), says, "{text}");
        }
    }
}
