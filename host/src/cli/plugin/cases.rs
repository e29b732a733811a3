//! The cases file of `plugin test`: what is given to a plugin, and what is expected of it. Unknown keys are refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};
use toml::Spanned;

use super::super::terminal::{Failure, failed};
use super::want::Want;

/// The format, for `plugin test --help`.
pub const HELP: &str = include_str!("cases.txt");

/// What a pick that answers no server is written as.
pub const NONE: &str = "(none)";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cases {
    #[serde(default = "one_pool")]
    pub pools: Vec<String>,
    #[serde(default)]
    pub routes: Vec<String>,
    #[serde(default)]
    pub grants: Vec<String>,
    #[serde(default)]
    pub settings: toml::Table,
    #[serde(default, rename = "server")]
    pub servers: Vec<Server>,
    #[serde(default, rename = "case")]
    pub cases: Vec<Spanned<Case>>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Server {
    pub name: String,
    pub pool: Option<String>,
    pub address: Option<String>,
    #[serde(default = "one")]
    pub weight: u32,
    #[serde(default)]
    pub state: State,
    #[serde(default)]
    pub backup: bool,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub in_flight: u32,
    #[serde(default, deserialize_with = "duration")]
    pub first_byte: Duration,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    #[default]
    Ready,
    Drain,
    Down,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Case {
    pub name: String,
    pub settings: Option<toml::Table>,
    pub servers: Option<Vec<Server>>,
    pub refused: Option<String>,
    role: Option<Role>,
    request: Option<Request>,
    response: Option<Response>,
    pick: Option<Pick>,
    #[serde(default)]
    answers: Vec<Answer>,
    expect: Option<Want>,
    #[serde(default)]
    steps: Vec<Step>,
}

/// One question to the plugin.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    pub role: Option<Role>,
    pub request: Option<Request>,
    pub response: Option<Response>,
    pub pick: Option<Pick>,
    #[serde(default)]
    pub answers: Vec<Answer>,
    #[serde(default)]
    pub expect: Want,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Connect,
    Router,
    Filter,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Request {
    pub method: String,
    pub scheme: Scheme,
    pub version: Version,
    pub host: Option<String>,
    pub path: String,
    pub headers: BTreeMap<String, Values>,
    pub client: std::net::IpAddr,
    pub listener: String,
    pub server_name: Option<String>,
    pub notes: BTreeMap<String, String>,
    pub route: Option<String>,
    pub pool: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

#[derive(Clone, Copy, Default, Deserialize)]
pub enum Version {
    #[serde(rename = "HTTP/1.0")]
    Http10,
    #[default]
    #[serde(rename = "HTTP/1.1")]
    Http11,
    #[serde(rename = "HTTP/2")]
    Http2,
}

/// One field of a name, or several.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum Values {
    One(String),
    Several(Vec<String>),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Response {
    #[serde(default = "ok")]
    pub status: u16,
    pub server: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, Values>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Pick {
    pub pool: Option<String>,
    pub times: Option<u32>,
    pub tried: Vec<String>,
    pub hold: bool,
    pub random: Option<u64>,
}

/// What a fetch is answered with.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    Failed(FetchError),
    Reply(Reply),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FetchError {
    Timeout,
    Refused,
    TooLarge,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Reply {
    #[serde(default = "ok")]
    pub status: u16,
    #[serde(default)]
    pub headers: BTreeMap<String, Values>,
    #[serde(default)]
    pub body: String,
}

/// Reads the file; its text is for the places of failed cases.
pub fn read(file: &Path) -> Result<(Cases, String), Failure> {
    let text =
        std::fs::read_to_string(file).map_err(failed(format_args!("read {}", file.display())))?;
    match parse(&text) {
        Ok(cases) => Ok((cases, text)),
        Err(error) => Err(Failure::new(format!("{}: {error}", file.display()))),
    }
}

fn parse(text: &str) -> Result<Cases, String> {
    let cases: Cases = toml::from_str(text).map_err(|error| error.to_string())?;
    if cases.pools.is_empty() {
        return Err("`pools` is empty; leave it out, or name at least one".into());
    }
    for case in cases.cases.iter().map(Spanned::get_ref) {
        case.sound()
            .map_err(|why| format!("case {:?}: {why}", case.name))?;
    }
    Ok(cases)
}

impl Case {
    /// The questions, in order.
    pub fn steps(&self) -> Vec<Step> {
        if self.expect.is_none() {
            return self.steps.clone();
        }
        vec![Step {
            role: self.role,
            request: self.request.clone(),
            response: self.response.clone(),
            pick: self.pick.clone(),
            answers: self.answers.clone(),
            expect: self.expect.clone().unwrap_or_default(),
        }]
    }

    /// A case that compares nothing would pass whatever the plugin does.
    fn sound(&self) -> Result<(), String> {
        if self.refused.is_some() {
            let alone = self.expect.is_none() && self.steps.is_empty();
            return alone
                .then_some(())
                .ok_or_else(|| "`refused` stands alone, without `expect`".into());
        }
        if self.expect.is_some() != self.steps.is_empty() {
            return Err("write either `expect` or `steps`".into());
        }
        if self.expect.is_none()
            && (self.request.is_some() || self.response.is_some() || self.pick.is_some())
        {
            return Err(
                "with `steps`, each step has its own `request`, `response` or `pick`".into(),
            );
        }
        let empty = |step: &Step| step.expect.is_empty();
        if self.steps().iter().any(empty) {
            return Err("`expect` names nothing to compare".into());
        }
        Ok(())
    }
}

impl Server {
    pub fn plain(name: String) -> Server {
        Server {
            name,
            pool: None,
            address: None,
            weight: 1,
            state: State::Ready,
            backup: false,
            labels: BTreeMap::new(),
            in_flight: 0,
            first_byte: Duration::ZERO,
        }
    }
}

impl Values {
    pub fn all(&self) -> &[String] {
        match self {
            Values::One(value) => std::slice::from_ref(value),
            Values::Several(values) => values,
        }
    }
}

impl Default for Request {
    fn default() -> Request {
        Request {
            method: "GET".into(),
            scheme: Scheme::Http,
            version: Version::Http11,
            host: Some("example.com".into()),
            path: "/".into(),
            headers: BTreeMap::new(),
            client: std::net::Ipv4Addr::new(192, 0, 2, 1).into(),
            listener: "web".into(),
            server_name: None,
            notes: BTreeMap::new(),
            route: None,
            pool: None,
        }
    }
}

fn one_pool() -> Vec<String> {
    vec!["app".into()]
}

fn one() -> u32 {
    1
}

fn ok() -> u16 {
    200
}

/// `250us`, `3ms`, `1.5s`
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = text[..text.len() - unit.len()].parse::<f64>().ok();
    let scale = match unit {
        "us" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        _ => None,
    };
    number
        .zip(scale)
        .and_then(|(number, scale)| Duration::try_from_secs_f64(number * scale).ok())
        .ok_or_else(|| {
            D::Error::custom(format!("{text:?} is no duration; write 250us, 3ms or 1.5s"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_help_shows_is_valid() {
        let example = HELP
            .split_once("left out.\n")
            .and_then(|(_, rest)| rest.split_once("\nA case has"))
            .unwrap()
            .0;
        let cases = parse(example).unwrap();
        assert_eq!(cases.cases.len(), 2);
        assert_eq!(cases.servers[0].first_byte, Duration::from_millis(3));
        assert_eq!(cases.servers[0].in_flight, 2);
    }

    #[test]
    fn a_case_that_compares_nothing_is_refused() {
        let refused = |case: &str| parse(&format!("[[case]]\nname = \"x\"\n{case}")).err();
        assert!(
            refused("expect = {}")
                .unwrap()
                .contains("nothing to compare")
        );
        assert!(refused("").unwrap().contains("either"));
        assert!(
            refused("request = {}\nsteps = [{ expect = { next = true } }]")
                .unwrap()
                .contains("each step")
        );
        assert!(
            refused("refused = \"no\"\nexpect = { next = true }")
                .unwrap()
                .contains("alone")
        );
        assert!(
            refused("expect = { pol = \"app\" }")
                .unwrap()
                .contains("unknown field `pol`")
        );
        assert_eq!(refused("expect = { next = true }"), None);
        assert_eq!(refused("refused = \"no\""), None);
    }

    #[test]
    fn a_duration_has_a_unit() {
        let parse = |text: &str| {
            parse(&format!(
                "[[server]]\nname = \"a\"\nfirst-byte = \"{text}\""
            ))
        };
        assert_eq!(
            parse("1.5s").unwrap().servers[0].first_byte,
            Duration::from_millis(1500)
        );
        for bad in ["3", "ms", "3h", "-1s", ""] {
            assert!(
                parse(bad).err().unwrap().contains("is no duration"),
                "{bad}"
            );
        }
    }
}
