//! The routes as the host hands them over: JSON that it writes from the file's `[[route]]`. Checked here all the same, since
//! nothing but this plugin knows what it can index.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use tidegate_sdk::path as spelling;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    #[serde(default)]
    pub routes: Vec<Route>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Route {
    /// As in `context.routes`.
    pub name: String,
    /// Empty: all.
    #[serde(default)]
    pub listeners: Vec<String>,
    #[serde(default)]
    pub host: Option<String>,
    /// A prefix at a segment boundary.
    #[serde(default)]
    pub path: Option<String>,
    #[serde(default)]
    pub path_exact: Option<String>,
    /// Empty: any.
    #[serde(default)]
    pub methods: Vec<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, Wanted>,
    #[serde(default)]
    pub query: BTreeMap<String, Wanted>,
    /// Pools by name with their weights; empty: the listener's pool.
    #[serde(default)]
    pub pools: Vec<(String, u32)>,
}

/// What a header or query parameter must be: a text, or `true` for present and `false` for absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Value(String),
    Present,
    Absent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Exact(String),
    /// What follows `*.`.
    Wildcard(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    Prefix(String),
    Exact(String),
}

impl Route {
    pub fn host(&self) -> Result<Option<Host>, String> {
        let Some(written) = &self.host else {
            return Ok(None);
        };
        let host = written.strip_suffix('.').unwrap_or(written);
        let host = host.to_ascii_lowercase();
        let (name, host) = match host.strip_prefix("*.") {
            Some(name) => (name.to_owned(), Host::Wildcard(name.to_owned())),
            None => (host.clone(), Host::Exact(host)),
        };
        if name.is_empty() || name.contains(['*', '/', ' ']) {
            return Err(self.wrong(&format!(
                "host: `{written}` is neither a name such as `example.com` nor `*.example.com`; leave `host` out to take all hosts"
            )));
        }
        Ok(Some(host))
    }

    pub fn path(&self) -> Result<Option<Path>, String> {
        match (&self.path, &self.path_exact) {
            (Some(_), Some(_)) => Err(self.wrong("path, path-exact: give one of the two")),
            (Some(path), None) => self.checked("path", path).map(Path::Prefix).map(Some),
            (None, Some(path)) => self.checked("path-exact", path).map(Path::Exact).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn checked(&self, key: &str, path: &str) -> Result<String, String> {
        if !path.starts_with('/') {
            return Err(self.wrong(&format!("{key}: `{path}` does not begin with `/`")));
        }
        if path.contains(['?', '#']) {
            return Err(self.wrong(&format!(
                "{key}: `{path}` holds a query or fragment, which is no part of a path; match parameters with `query`"
            )));
        }
        let canonical = String::from_utf8_lossy(&spelling::canonical(path.as_bytes())).into_owned();
        if canonical != path {
            return Err(self.wrong(&format!(
                "{key}: a path is compared as clients send it: write `{canonical}` instead of `{path}`"
            )));
        }
        Ok(canonical)
    }

    pub fn wrong(&self, words: &str) -> String {
        format!("route `{}`: {words}", self.name)
    }
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Wanted, D::Error> {
        deserializer.deserialize_any(WantedVisitor)
    }
}

struct WantedVisitor;

impl Visitor<'_> for WantedVisitor {
    type Value = Wanted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, `true` (present) or `false` (absent)")
    }

    fn visit_bool<E: Error>(self, present: bool) -> Result<Wanted, E> {
        Ok(if present {
            Wanted::Present
        } else {
            Wanted::Absent
        })
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Wanted, E> {
        Ok(Wanted::Value(value.to_owned()))
    }
}
