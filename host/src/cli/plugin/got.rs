//! What a plugin decided, as text: to be compared with what a case expects, and shown in the words of the cases file.

use std::fmt;

use http::{HeaderName, HeaderValue};

use crate::hook::{Decision, Edit, Fetch, Note, Outcome, Reply, ResponseOutcome};

#[derive(Debug, Default)]
pub struct Got {
    pub said: Said,
    pub route: Option<String>,
    pub path: Option<String>,
    pub reason: Option<String>,
    pub notes: Vec<(String, String)>,
    pub edits: Vec<String>,
    pub fetches: Vec<Call>,
    pub picks: Vec<String>,
}

#[derive(Debug, Default, PartialEq)]
pub enum Said {
    #[default]
    Next,
    /// A connection is let in.
    Accept,
    Refuse,
    Pool(String),
    Reply(Call),
    /// It waits for the answer to a fetch that the case does not give.
    Waits,
}

/// A reply, or a call that is to be made.
#[derive(Debug, Default, PartialEq)]
pub struct Call {
    pub status: Option<u16>,
    pub pool: Option<String>,
    pub method: Option<String>,
    pub path: Option<String>,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// Pools and routes by index, as the plugin was told of them.
pub struct Names<'a> {
    pub pools: &'a [String],
    pub routes: &'a [String],
}

impl Names<'_> {
    pub fn pool(&self, index: u32) -> String {
        named(self.pools, index)
    }

    pub fn route(&self, index: u32) -> String {
        named(self.routes, index)
    }
}

fn named(names: &[String], index: u32) -> String {
    let name = names.get(index as usize).cloned();
    name.unwrap_or_else(|| format!("(no such index: {index})"))
}

impl Got {
    pub fn of_outcome(outcome: Outcome, names: &Names<'_>) -> Got {
        let said = match outcome.decision {
            Decision::Next => Said::Next,
            Decision::Pool(pool) => Said::Pool(names.pool(pool.0)),
            Decision::Reply(reply) => Said::Reply(of_reply(*reply)),
        };
        Got {
            said,
            path: outcome.path,
            reason: outcome.reason,
            notes: of_notes(outcome.notes),
            edits: of_edits(&outcome.edits),
            ..Got::default()
        }
    }

    pub fn of_response(outcome: ResponseOutcome) -> Got {
        Got {
            notes: of_notes(outcome.notes),
            edits: of_edits(&outcome.edits),
            ..Got::default()
        }
    }
}

pub fn of_fetch(fetch: &Fetch, names: &Names<'_>) -> Call {
    Call {
        status: None,
        pool: Some(names.pool(fetch.pool.0)),
        method: Some(fetch.method.to_string()),
        path: Some(fetch.path.clone()),
        headers: fetch.headers.iter().map(of_field).collect(),
        body: text(&fetch.body),
    }
}

/// `["a", "b"]`
pub fn list(items: &Vec<String>) -> String {
    format!("{items:?}")
}

fn of_reply(reply: Reply) -> Call {
    Call {
        status: Some(reply.status),
        headers: reply.headers.iter().map(of_field).collect(),
        body: text(&reply.body),
        ..Call::default()
    }
}

fn of_field((name, value): &(HeaderName, HeaderValue)) -> (String, String) {
    (name.to_string(), text(value.as_bytes()))
}

fn of_notes(notes: Vec<Note>) -> Vec<(String, String)> {
    notes
        .into_iter()
        .map(|note| (note.name, note.value))
        .collect()
}

fn of_edits(edits: &[Edit]) -> Vec<String> {
    let shown = |edit: &Edit| match edit {
        Edit::Set(name, value) => format!("set {name}: {}", text(value.as_bytes())),
        Edit::Append(name, value) => format!("append {name}: {}", text(value.as_bytes())),
        Edit::Remove(name) => format!("remove {name}"),
        Edit::SetCookie(_, value) => format!("set-cookie {}", text(value.as_bytes())),
    };
    edits.iter().map(shown).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Said::Next => f.write_str("next = true"),
            Said::Accept => f.write_str("accept = true"),
            Said::Refuse => f.write_str("refuse = true"),
            Said::Pool(pool) => write!(f, "pool = {pool:?}"),
            Said::Reply(reply) => write!(f, "reply = {reply}"),
            Said::Waits => {
                f.write_str("a fetch, and the case gives no answer for it (answers = […])")
            }
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(status) = self.status {
            parts.push(format!("status = {status}"));
        }
        for (key, value) in [
            ("pool", &self.pool),
            ("method", &self.method),
            ("path", &self.path),
        ] {
            parts.extend(value.as_ref().map(|value| format!("{key} = {value:?}")));
        }
        if !self.headers.is_empty() {
            let fields = self
                .headers
                .iter()
                .map(|(name, value)| format!("{name} = {value:?}"));
            parts.push(format!(
                "headers = {{ {} }}",
                fields.collect::<Vec<_>>().join(", ")
            ));
        }
        if !self.body.is_empty() {
            parts.push(format!("body = {:?}", self.body));
        }
        write!(f, "{{ {} }}", parts.join(", "))
    }
}
