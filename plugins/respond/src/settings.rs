//! The settings as written, and the answer made of them once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::Deserializer;
use tidegate_sdk::settings::duration;
use tidegate_sdk::{Outcome, field, reply};

/// The largest body, in bytes. Each worker holds it, and a copy is made for each answer.
pub const LARGEST: usize = 256 * 1024;

/// How many headers, and bytes of names and values; the host takes a little more of an answer.
const MOST_HEADERS: usize = 100;
const MOST_HEADER_BYTES: usize = 48 * 1024;

/// What the host takes, in bytes.
const LONGEST_REASON: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    status: u16,
    body: String,
    content_type: Option<String>,
    headers: BTreeMap<String, String>,
    #[serde(deserialize_with = "wait")]
    retry_after: Option<Duration>,
    path: Option<String>,
    path_exact: Option<String>,
    reason: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            status: 200,
            body: String::new(),
            content_type: None,
            headers: BTreeMap::new(),
            retry_after: None,
            path: None,
            path_exact: None,
            reason: None,
        }
    }
}

/// Which requests are answered.
#[derive(Debug)]
pub enum Where {
    Everywhere,
    Exact(String),
    /// A prefix at a segment boundary.
    Under(String),
}

impl Settings {
    pub fn place(&self) -> Result<Where, String> {
        match (&self.path, &self.path_exact) {
            (None, None) => Ok(Where::Everywhere),
            (Some(_), Some(_)) => Err("keys `path`, `path-exact`: give one of the two".to_owned()),
            (None, Some(exact)) => {
                rooted("path-exact", exact).map(|path| Where::Exact(path.to_owned()))
            }
            (Some(prefix), None) => {
                rooted("path", prefix).map(|path| Where::Under(path.to_owned()))
            }
        }
    }

    pub fn answer(&self) -> Result<Outcome, String> {
        self.check()?;
        let mut answer = reply(self.status).body(self.body.as_bytes());
        match &self.content_type {
            Some(content_type) => {
                let value = field::value(content_type).map_err(at("content-type"))?;
                answer = answer.set("content-type", value);
            }
            None if self.body.is_empty() => {}
            None => answer = answer.set("content-type", "text/plain; charset=utf-8"),
        }
        if let Some(wait) = self.retry_after {
            answer = answer.retry_after(wait);
        }
        for (name, value) in &self.headers {
            let name = field::name(name).map_err(at("headers"))?;
            answer = answer.set(name, field::value(value).map_err(at("headers"))?);
        }
        answer.reason = self.reason.clone();
        Ok(answer)
    }

    fn check(&self) -> Result<(), String> {
        if !(200..=599).contains(&self.status) {
            return Err(format!(
                "key `status`: {} is no final status; give 200 to 599",
                self.status
            ));
        }
        // RFC 9110, 15.3.5, 15.3.6 and 15.4.5.
        if matches!(self.status, 204 | 205 | 304) && !self.body.is_empty() {
            return Err(format!(
                "key `body`: a {} has none; leave it out",
                self.status
            ));
        }
        if self.body.len() > LARGEST {
            let length = self.body.len();
            return Err(format!(
                "key `body`: {length} bytes, at most {LARGEST} are taken; serve larger pages from a server"
            ));
        }
        let count = self.headers.len();
        let bytes: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if count > MOST_HEADERS || bytes > MOST_HEADER_BYTES {
            return Err(format!(
                "key `headers`: {count} headers of {bytes} bytes, at most {MOST_HEADERS} of {MOST_HEADER_BYTES} are taken"
            ));
        }
        match self.reason.as_ref().map_or(0, String::len) {
            0..=LONGEST_REASON => Ok(()),
            length => Err(format!(
                "key `reason`: {length} bytes, at most {LONGEST_REASON} are logged"
            )),
        }
    }
}

fn wait<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn rooted<'a>(key: &str, path: &'a str) -> Result<&'a str, String> {
    match path.starts_with('/') {
        true => Ok(path),
        false => Err(format!("key `{key}`: `{path}` must begin with `/`")),
    }
}

fn at(key: &str) -> impl Fn(String) -> String {
    move |words| format!("key `{key}`: {words}")
}
