//! Units in settings, as the config writes them: `#[serde(deserialize_with = "tidegate_sdk::settings::duration")]`.
//!
//! ```
//! use tidegate_sdk::prelude::*;
//! use tidegate_sdk::test::{Harness, json};
//! use std::time::Duration;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     #[serde(deserialize_with = "tidegate_sdk::settings::duration")]
//!     window: Duration,
//! }
//!
//! struct Windowed(Duration);
//! impl Plugin for Windowed {
//!     type Settings = Settings;
//!     fn new(settings: Settings, _: &Context) -> Result<Self, String> { Ok(Windowed(settings.window)) }
//! }
//!
//! let plugin = Harness::<Windowed>::new(json!({ "window": "90s" })).unwrap();
//! assert_eq!(plugin.plugin().0, Duration::from_secs(90));
//! let refusal = Harness::<Windowed>::new(json!({ "window": "90" })).unwrap_err();
//! assert_eq!(refusal, "key `window`: `90` has no unit: write a whole number and one of us, ms, s, m, h, d, such as \"30s\"");
//! ```

use std::time::Duration;

use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use serde_json::Value;

/// A duration: a whole number and one of us, ms, s, m, h, d, without a space: `"90s"`.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let units = Units {
        known: TIME,
        example: "30s",
    };
    deserializer
        .deserialize_str(units)
        .map(Duration::from_micros)
}

/// A number of bytes: a whole number and one of B, kB, MB, GB, KiB, MiB, GiB, without a space: `"16MiB"`.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_str(Units {
        known: SIZE,
        example: "16MiB",
    })
}

struct Units {
    known: &'static [(&'static str, u64)],
    example: &'static str,
}

/// In microseconds.
const TIME: &[(&str, u64)] = &[
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

const SIZE: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

impl Units {
    fn read(&self, text: &str) -> Result<u64, &'static str> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        match self.known.iter().find(|(name, _)| *name == unit) {
            _ if number.is_empty() => Err("does not begin with a number"),
            None if unit.is_empty() => Err("has no unit"),
            None => Err("has an unknown unit"),
            Some((_, factor)) => {
                let number = number.parse::<u64>().ok();
                number
                    .and_then(|number| number.checked_mul(*factor))
                    .ok_or("is too much")
            }
        }
    }

    fn form(&self) -> String {
        let names: Vec<&str> = self.known.iter().map(|(name, _)| *name).collect();
        format!(
            "a whole number and one of {}, such as {:?}",
            names.join(", "),
            self.example
        )
    }
}

impl Visitor<'_> for Units {
    type Value = u64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "text: {}", self.form())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        self.read(text)
            .map_err(|fault| E::custom(format_args!("`{text}` {fault}: write {}", self.form())))
    }
}

/// From the JSON that the host passes to the plugin's own settings. The error names the key (`servers[0].weight`), what stood there and what is expected.
pub(crate) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    let value: Value =
        serde_json::from_str(json).map_err(|e| format!("the settings are no JSON object: {e}"))?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if path == "." {
            inner.to_string()
        } else {
            format!("key `{path}`: {inner}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Settings {
        #[allow(dead_code)]
        per_second: u32,
        #[serde(default)]
        #[allow(dead_code)]
        list: Vec<Item>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        #[allow(dead_code)]
        weight: u8,
    }

    fn refusal(json: &str) -> String {
        parse::<Settings>(json).unwrap_err()
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Sized {
        #[serde(deserialize_with = "super::size")]
        size: u64,
    }

    #[test]
    fn a_size_has_a_unit() {
        let read = |text: &str| parse::<Sized>(&format!(r#"{{"size": {text}}}"#));
        assert_eq!(read("\"16MiB\""), Ok(Sized { size: 16 << 20 }));
        assert_eq!(read("\"3kB\""), Ok(Sized { size: 3000 }));
        for (text, fault) in [
            ("\"MiB\"", "does not begin with a number"),
            ("\"16\"", "has no unit"),
            ("\"16 MiB\"", "has an unknown unit"),
            ("\"99999999999GiB\"", "is too much"),
            ("16", "expected text: a whole number and one of B, kB"),
        ] {
            let refusal = read(text).unwrap_err();
            assert!(refusal.contains(fault), "{refusal}");
        }
    }

    #[test]
    fn an_error_names_the_key_and_what_is_expected() {
        assert_eq!(refusal("{}"), "missing field `per-second`");
        assert_eq!(
            refusal(r#"{"per-second": "x"}"#),
            "key `per-second`: invalid type: string \"x\", expected u32"
        );
        assert_eq!(
            refusal(r#"{"per-second": 1, "list": [{"weight": 1}, {"weight": 300}]}"#),
            "key `list[1].weight`: invalid value: integer `300`, expected u8"
        );
    }

    #[test]
    fn an_unknown_key_is_refused_and_the_known_ones_named() {
        assert_eq!(
            refusal(r#"{"per-second": 1, "burst": 2}"#),
            "key `burst`: unknown field `burst`, expected `per-second` or `list`"
        );
        let none = parse::<crate::NoSettings>(r#"{"a": 1}"#).unwrap_err();
        assert!(none.contains("unknown field `a`"), "{none}");
    }
}
