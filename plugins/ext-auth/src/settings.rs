//! What the operator says of the service.

use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::{field, settings};

/// Headers of a request, and again of the service's answer.
const MOST_NAMES: usize = 32;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    pub pool: String,
    #[serde(default = "root")]
    pub path: String,
    /// Headers of the request that the service is told.
    #[serde(default = "credentials")]
    pub ask: Vec<String>,
    /// Whether it is told what is asked for.
    #[serde(default = "yes")]
    pub tell_target: bool,
    /// Headers of its answer that the server is told.
    #[serde(default)]
    pub pass: Vec<String>,
    #[serde(default = "five_seconds", deserialize_with = "settings::duration")]
    pub timeout: Duration,
    /// How long a yes is good for.
    #[serde(default, deserialize_with = "settings::duration")]
    pub keep: Duration,
    /// Whether it is good at other proxies too.
    #[serde(default)]
    pub shared: bool,
}

impl Settings {
    pub fn check(&self) -> Result<(), String> {
        if !self.path.starts_with('/') {
            return Err(format!("key `path`: `{}` must begin with `/`", self.path));
        }
        if !self.path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err(format!(
                "key `path`: `{}` holds what no path may; percent-encode it",
                self.path
            ));
        }
        let (least, most) = (Duration::from_millis(1), Duration::from_secs(30));
        if !(least..=most).contains(&self.timeout) {
            return Err("key `timeout`: give 1ms to 30s".to_owned());
        }
        if self.shared && self.keep.is_zero() {
            return Err("key `shared`: nothing is kept; give `keep`, such as \"30s\"".to_owned());
        }
        if self.keep > Duration::from_secs(3600) {
            return Err(
                "key `keep`: at most 1h; who loses a right would keep it as long".to_owned(),
            );
        }
        Ok(())
    }
}

pub fn names(key: &str, list: &[String]) -> Result<Vec<String>, String> {
    if list.len() > MOST_NAMES {
        return Err(format!(
            "key `{key}`: {} headers; at most {MOST_NAMES}",
            list.len()
        ));
    }
    let checked = list.iter().map(|name| field::name(name));
    checked
        .collect::<Result<_, _>>()
        .map_err(|e| format!("key `{key}`: {e}"))
}

fn root() -> String {
    "/".to_owned()
}

fn credentials() -> Vec<String> {
    vec!["authorization".to_owned(), "cookie".to_owned()]
}

fn yes() -> bool {
    true
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}
