//! What a decision may say. Everything here is already checked: `plugin/adapt.rs` refuses what a plugin may not say.

use http::{HeaderName, HeaderValue};

use crate::base::ids::{PoolIndex, RouteIndex};

#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    Set(HeaderName, HeaderValue),
    Append(HeaderName, HeaderValue),
    Remove(HeaderName),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub name: String,
    pub value: String,
}

/// An answer made by a plugin, or the answer to its fetch.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Decision {
    #[default]
    Next,
    Pool(PoolIndex),
    Reply(Box<Reply>),
}

/// What a router or request filter says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub decision: Decision,
    pub edits: Vec<Edit>,
    /// The new path; replaces the query too if it holds a `?`. Begins with `/`.
    pub path: Option<String>,
    pub notes: Vec<Note>,
    pub reason: Option<String>,
}

/// What a router says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    pub outcome: Outcome,
    pub route: Option<RouteIndex>,
}

/// What a response filter says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseOutcome {
    pub edits: Vec<Edit>,
    pub notes: Vec<Note>,
}

/// What a probe's result means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// What the host would say by itself.
    AsUsual,
    /// Up, with this percentage of its weight, 1 to 100.
    Up(u32),
    /// Up, but for the users that it has.
    Drain,
    /// Not to be used, which is no failure.
    Maint,
    /// Down, and why.
    Down(String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Done(Outcome),
    /// Make this call, then resume with the number beside it.
    Fetch(Box<Fetch>, u64),
}

/// A call that the host makes for a filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetch {
    pub pool: PoolIndex,
    pub method: http::Method,
    /// Path and query.
    pub path: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Vec<u8>,
    pub timeout: std::time::Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    Timeout,
    Refused,
    TooLarge,
    NotGranted,
}
