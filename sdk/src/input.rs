//! One thing that a plugin asks to be told.

use std::str::FromStr;

pub use crate::bindings::base::tidegate::plugin::types::Input;

/// Reads what stands in a config: `path`, `header:x-user`, `cookie:id`, `query:user`, `client-address` …; the names are
/// those of the WIT, and `query:NAME` is short for `query-parameter:NAME`.
///
/// ```
/// use tidegate_sdk::Input;
/// assert_eq!("header:x-user".parse(), Ok(Input::Header("x-user".into())));
/// assert_eq!("client-address".parse(), Ok(Input::ClientAddress));
/// assert!("header".parse::<Input>().unwrap_err().contains("`header:NAME`"));
/// ```
impl FromStr for Input {
    type Err = String;

    fn from_str(text: &str) -> Result<Input, String> {
        match text.split_once(':') {
            Some((kind, name)) => named(kind, name),
            None => plain(text),
        }
        .ok_or_else(|| refusal(text))
    }
}

fn named(kind: &str, name: &str) -> Option<Input> {
    let make = match kind {
        "query" | "query-parameter" => Input::QueryParameter,
        "header" => Input::Header,
        "request-header" => Input::RequestHeader,
        "cookie" => Input::Cookie,
        "note" => Input::Note,
        "set-cookie" => Input::SetCookie,
        _ => return None,
    };
    let lower = matches!(kind, "header" | "request-header");
    let name = if lower {
        name.to_ascii_lowercase()
    } else {
        name.to_owned()
    };
    (!name.is_empty()).then(|| make(name))
}

fn plain(text: &str) -> Option<Input> {
    PLAIN
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, input)| input.clone())
}

const PLAIN: &[(&str, Input)] = &[
    ("method", Input::Method),
    ("scheme", Input::Scheme),
    ("host", Input::Host),
    ("path", Input::Path),
    ("query", Input::Query),
    ("client-address", Input::ClientAddress),
    ("client-port", Input::ClientPort),
    ("listener", Input::Listener),
    ("version", Input::Version),
    ("server-name-indication", Input::ServerNameIndication),
    ("alpn", Input::Alpn),
    (
        "client-certificate-fingerprint",
        Input::ClientCertificateFingerprint,
    ),
    (
        "client-certificate-subject",
        Input::ClientCertificateSubject,
    ),
    ("request-id", Input::RequestId),
    ("route", Input::Route),
    ("pool", Input::Pool),
    ("status", Input::Status),
    ("server", Input::Server),
];

fn refusal(text: &str) -> String {
    let plain = PLAIN.iter().map(|(name, _)| format!("`{name}`"));
    let named = [
        "header",
        "request-header",
        "cookie",
        "query",
        "note",
        "set-cookie",
    ]
    .into_iter()
    .map(|kind| format!("`{kind}:NAME`"));
    let known = named.chain(plain).collect::<Vec<_>>().join(", ");
    format!("`{text}` is no part of a request; known: {known}")
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::QueryParameter(name) => write!(f, "query:{name}"),
            Input::Header(name) => write!(f, "header:{name}"),
            Input::RequestHeader(name) => write!(f, "request-header:{name}"),
            Input::Cookie(name) => write!(f, "cookie:{name}"),
            Input::Note(name) => write!(f, "note:{name}"),
            Input::SetCookie(name) => write!(f, "set-cookie:{name}"),
            plain => {
                let name = PLAIN.iter().find(|(_, input)| input == plain);
                f.write_str(name.expect("every plain input is listed").0)
            }
        }
    }
}

impl<'de> serde::Deserialize<'de> for Input {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
