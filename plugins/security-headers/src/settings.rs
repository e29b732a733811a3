//! The settings as written, and the headers made of them once.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use tidegate_sdk::field;

use crate::Header;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    hsts: Hsts,
    content_type_options: bool,
    frame_options: Switch,
    referrer_policy: Switch,
    content_security_policy: Switch,
    permissions_policy: Switch,
    cross_origin_opener_policy: Switch,
    cross_origin_embedder_policy: Switch,
    cross_origin_resource_policy: Switch,
    remove: Vec<String>,
    #[serde(rename = "override")]
    pub overrules: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hsts: Hsts::Switch(true),
            content_type_options: true,
            frame_options: Switch::On(true),
            referrer_policy: Switch::On(true),
            content_security_policy: Switch::On(false),
            permissions_policy: Switch::On(false),
            cross_origin_opener_policy: Switch::On(false),
            cross_origin_embedder_policy: Switch::On(false),
            cross_origin_resource_policy: Switch::On(false),
            remove: vec!["server".to_owned(), "x-powered-by".to_owned()],
            overrules: false,
        }
    }
}

/// `false`, `true` for the default, or the value.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "`false`, `true` for the default, or the header's value as a string"
)]
enum Switch {
    On(bool),
    Value(String),
}

/// Deserialised by hand: serde's untagged enums would not say which key of the table is wrong.
#[derive(Debug)]
enum Hsts {
    Switch(bool),
    Policy(Policy),
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Policy {
    #[serde(deserialize_with = "tidegate_sdk::settings::duration")]
    max_age: Duration,
    include_subdomains: bool,
    preload: bool,
}

/// A browser must be told again within this time, or it takes http again.
const YEAR: u64 = 365 * 24 * 60 * 60;

impl Default for Policy {
    fn default() -> Policy {
        let max_age = Duration::from_secs(YEAR);
        Policy {
            max_age,
            include_subdomains: false,
            preload: false,
        }
    }
}

impl Settings {
    pub fn headers(&self) -> Result<Vec<Header>, String> {
        let no_sniff = Switch::On(self.content_type_options);
        let rows: [(&str, &Switch, Kind); 8] = [
            ("content-type-options", &no_sniff, NO_SNIFF),
            ("frame-options", &self.frame_options, FRAME),
            ("referrer-policy", &self.referrer_policy, REFERRER),
            (
                "content-security-policy",
                &self.content_security_policy,
                CONTENT_SECURITY,
            ),
            ("permissions-policy", &self.permissions_policy, PERMISSIONS),
            (
                "cross-origin-opener-policy",
                &self.cross_origin_opener_policy,
                OPENER,
            ),
            (
                "cross-origin-embedder-policy",
                &self.cross_origin_embedder_policy,
                EMBEDDER,
            ),
            (
                "cross-origin-resource-policy",
                &self.cross_origin_resource_policy,
                RESOURCE,
            ),
        ];
        let mut headers: Vec<Header> = self.hsts.header()?.into_iter().collect();
        for (key, switch, kind) in rows {
            let value = kind
                .value(switch)
                .map_err(|words| format!("key `{key}`: {words}"))?;
            headers.extend(value.map(|value| Header {
                name: kind.header,
                value,
                secure: false,
            }));
        }
        Ok(headers)
    }

    pub fn remove(&self) -> Result<Vec<String>, String> {
        let names = self.remove.iter().map(|name| field::name(name));
        let mut names: Vec<String> = names
            .collect::<Result<_, _>>()
            .map_err(|words| format!("key `remove`: {words}"))?;
        names.sort();
        names.dedup();
        // What may be asked of a response is bounded; this leaves room for the headers above.
        match names.len() {
            0..=40 => Ok(names),
            count => Err(format!("key `remove`: {count} names, at most 40 are taken")),
        }
    }
}

impl Hsts {
    /// RFC 6797, 6.1.
    fn header(&self) -> Result<Option<Header>, String> {
        let default = Policy::default();
        let policy = match self {
            Hsts::Switch(false) => return Ok(None),
            Hsts::Switch(true) => &default,
            Hsts::Policy(policy) => policy,
        };
        let seconds = policy.max_age.as_secs();
        if policy.preload && (!policy.include_subdomains || seconds < YEAR) {
            return Err("key `hsts.preload`: browsers' preload lists ask for include-subdomains = true and a max-age of 365d or more".to_owned());
        }
        let mut value = format!("max-age={seconds}");
        if policy.include_subdomains {
            value += "; includeSubDomains";
        }
        if policy.preload {
            value += "; preload";
        }
        Ok(Some(Header {
            name: "strict-transport-security",
            value,
            secure: true,
        }))
    }
}

impl<'de> Deserialize<'de> for Hsts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hsts, D::Error> {
        deserializer.deserialize_any(HstsVisitor)
    }
}

struct HstsVisitor;

impl<'de> Visitor<'de> for HstsVisitor {
    type Value = Hsts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`false`, `true`, or a table such as { max-age = \"365d\", include-subdomains = true, preload = false }")
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<Hsts, E> {
        Ok(Hsts::Switch(on))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Hsts, A::Error> {
        Policy::deserialize(MapAccessDeserializer::new(map)).map(Hsts::Policy)
    }
}

/// What is known of a header.
struct Kind {
    header: &'static str,
    /// What `true` means; none where only the site itself can say.
    default: Option<&'static str>,
    /// The values that browsers know; empty when it is free text.
    known: &'static [&'static str],
}

impl Kind {
    fn value(&self, switch: &Switch) -> Result<Option<String>, String> {
        match switch {
            Switch::On(false) => Ok(None),
            Switch::On(true) => match self.default {
                Some(value) => Ok(Some(value.to_owned())),
                None => Err("has no default; give the policy as a string".to_owned()),
            },
            Switch::Value(value) => self.checked(value).map(Some),
        }
    }

    fn checked(&self, value: &str) -> Result<String, String> {
        field::value(value)?;
        let known = |word: &str| self.known.is_empty() || self.known.contains(&word);
        // A referrer policy may be a list, of which a browser takes the last that it knows.
        match value.split(',').map(str::trim).find(|word| !known(word)) {
            None if value.trim().is_empty() => {
                Err("is empty; give a value, or `false` to leave it out".to_owned())
            }
            None => Ok(value.to_owned()),
            Some(word) => {
                let known: Vec<String> =
                    self.known.iter().map(|word| format!("`{word}`")).collect();
                Err(format!("`{word}` is none of {}", known.join(", ")))
            }
        }
    }
}

const fn kind(
    header: &'static str,
    default: Option<&'static str>,
    known: &'static [&'static str],
) -> Kind {
    Kind {
        header,
        default,
        known,
    }
}

const NO_SNIFF: Kind = kind("x-content-type-options", Some("nosniff"), &["nosniff"]);
const FRAME: Kind = kind(
    "x-frame-options",
    Some("SAMEORIGIN"),
    &["DENY", "SAMEORIGIN"],
);
const REFERRER: Kind = kind(
    "referrer-policy",
    Some("strict-origin-when-cross-origin"),
    &[
        "no-referrer",
        "no-referrer-when-downgrade",
        "origin",
        "origin-when-cross-origin",
        "same-origin",
        "strict-origin",
        "strict-origin-when-cross-origin",
        "unsafe-url",
    ],
);
const CONTENT_SECURITY: Kind = kind("content-security-policy", None, &[]);
const PERMISSIONS: Kind = kind("permissions-policy", None, &[]);
const OPENER: Kind = kind(
    "cross-origin-opener-policy",
    Some("same-origin"),
    &[
        "same-origin",
        "same-origin-allow-popups",
        "noopener-allow-popups",
        "unsafe-none",
    ],
);
const EMBEDDER: Kind = kind(
    "cross-origin-embedder-policy",
    Some("require-corp"),
    &["require-corp", "credentialless", "unsafe-none"],
);
const RESOURCE: Kind = kind(
    "cross-origin-resource-policy",
    Some("same-origin"),
    &["same-origin", "same-site", "cross-origin"],
);
