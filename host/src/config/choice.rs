//! Choices among words, and what is like them: where and how to log, what a failure answers, what a value must be.

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::checked::{AccessFormat, AccessTarget, Coding, HttpVersion, OnFailure, ValueMatch};
use super::nearest;
use super::read::{Fault, FromText, Reader, Value, Written};
use super::schema;
use super::word::words;

/// `info`, or `info,TARGET=debug`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LogLevel(pub String);

/// `text/html`, or `text/*`; lower case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MediaRange(pub String);

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl FromText for LogLevel {
    fn form() -> String {
        format!(
            "a level ({}), or several such as \"info,tidegate::plugin=debug\"",
            LEVELS.join(", ")
        )
    }

    fn from_text(text: &str) -> Result<LogLevel, Fault> {
        for directive in text.split(',') {
            let (target, level) = directive.rsplit_once('=').unwrap_or(("any", directive));
            let fits = |c: char| c.is_ascii_alphanumeric() || "_:-".contains(c);
            if target.is_empty() || !target.chars().all(fits) {
                return Err(Fault::new(
                    "is no log level",
                    format!("write {}", Self::form()),
                ));
            }
            if !LEVELS.contains(&level) {
                let says = format!("has the unknown level {level:?}");
                return Err(Fault::new(says, nearest::remedy(level, "level", &LEVELS)));
            }
        }
        Ok(LogLevel(text.to_owned()))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl FromText for AccessTarget {
    fn form() -> String {
        "off, stdout, stderr, or a path with a slash in it".to_owned()
    }

    /// A path has a slash, so that a slip in a word makes no file.
    fn from_text(text: &str) -> Result<AccessTarget, Fault> {
        match text {
            "off" => Ok(AccessTarget::Off),
            "stdout" => Ok(AccessTarget::Stdout),
            "stderr" => Ok(AccessTarget::Stderr),
            path if path.ends_with('/') => Err(Fault::new("is a folder", "name a file in it")),
            path if path.contains('/') => Ok(AccessTarget::File(path.into())),
            word => {
                let remedy = nearest::remedy(word, "word", &["off", "stdout", "stderr"]);
                let remedy = format!("{remedy}; for a file write \"./{word}\"");
                Err(Fault::new("is no place for the access log", remedy))
            }
        }
    }

    fn text_schema() -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "enum": ["off", "stdout", "stderr"] },
            { "type": "string", "pattern": "/" },
        ] })
    }
}

words!(AccessFormat, "is no log format", "format", "json" => AccessFormat::Json, "combined" => AccessFormat::Combined, "httplog" => AccessFormat::Httplog);

words!(Coding, "is no compression that is known here", "algorithm", "zstd" => Coding::Zstd, "br" => Coding::Brotli, "gzip" => Coding::Gzip);

impl FromText for MediaRange {
    fn form() -> String {
        "a content type such as \"text/html\" or \"text/*\"".to_owned()
    }

    fn from_text(text: &str) -> Result<MediaRange, Fault> {
        let part = |part: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c);
            !part.is_empty() && part.chars().all(fits)
        };
        match text.split_once('/') {
            Some((kind, form)) if part(kind) && (form == "*" || part(form)) => {
                Ok(MediaRange(text.to_ascii_lowercase()))
            }
            _ => Err(Fault::new(
                "is no content type",
                format!("write {}", Self::form()),
            )),
        }
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[^/*;\\s]+/([^/*;\\s]+|\\*)$" })
    }
}

words!(OnFailure, "is no answer to a failure", "answer", "reject" => OnFailure::Reject, "fallback" => OnFailure::Fallback);

words!(HttpVersion, "is no version of HTTP", "version", "1.1" => HttpVersion::Http11, "h2" => HttpVersion::Http2);

impl Written for ValueMatch {
    fn expected() -> String {
        "a string, true (present) or false (absent)".to_owned()
    }

    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<ValueMatch> {
        match value.get_ref() {
            DeValue::Boolean(true) => Some(ValueMatch::Present),
            DeValue::Boolean(false) => Some(ValueMatch::Absent),
            _ => {
                let text = reader.text(value, &Self::expected())?;
                Some(ValueMatch::Exact(text.value))
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let string = json_schema!({ "type": ["string", "boolean"] });
        schema::text(string, generator)
    }
}
