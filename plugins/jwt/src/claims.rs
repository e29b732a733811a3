//! What is asked of a token's claims (RFC 7519, 4.1).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};
use tidegate_sdk::now;

use crate::Refusal;

pub struct Rules {
    /// One of them; empty: any.
    pub issuers: Vec<String>,
    pub audiences: Vec<String>,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// Whether a token may be good for ever.
    pub without_expiry: bool,
    /// Claims and the values that they may have.
    pub wanted: BTreeMap<String, Vec<String>>,
}

impl Rules {
    pub fn check(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        self.check_times(claims)?;
        let one_of = |name: &str, known: &[String]| {
            known.is_empty()
                || values(claims, name)
                    .iter()
                    .any(|value| known.contains(value))
        };
        if !one_of("iss", &self.issuers) {
            return Err(Refusal::Invalid("wrong issuer"));
        }
        if !one_of("aud", &self.audiences) {
            return Err(Refusal::Invalid("wrong audience"));
        }
        let wanted = self.wanted.iter().all(|(name, known)| one_of(name, known));
        match wanted {
            true => Ok(()),
            false => Err(Refusal::Insufficient("a claim is missing")),
        }
    }

    fn check_times(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        let (now, leeway) = (now().as_secs_f64(), self.leeway.as_secs_f64());
        match time(claims, "exp")? {
            Some(expires) if now >= expires + leeway => return Err(Refusal::Invalid("expired")),
            None if !self.without_expiry => return Err(Refusal::Invalid("no expiry")),
            _ => {}
        }
        match time(claims, "nbf")? {
            Some(begins) if now < begins - leeway => Err(Refusal::Invalid("not valid yet")),
            _ => Ok(()),
        }
    }
}

/// A NumericDate, which may have a fraction (RFC 7519, 2). Anything else in its place is no time at all.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_f64()
            .map(Some)
            .ok_or(Refusal::Invalid("malformed")),
    }
}

/// One, or a list (RFC 7519, 4.1.3); a scope is a list with blanks (RFC 8693, 4.2).
fn values(claims: &Map<String, Value>, name: &str) -> Vec<String> {
    match claims.get(name) {
        Some(Value::Array(list)) => list.iter().filter_map(plain).collect(),
        Some(Value::String(text)) if name == "scope" => {
            text.split(' ').map(str::to_owned).collect()
        }
        Some(value) => plain(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// For a note or header: a list's values are parted by blanks.
pub fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    match claims.get(name)? {
        Value::Array(list) => Some(list.iter().filter_map(plain).collect::<Vec<_>>().join(" ")),
        value => plain(value),
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
