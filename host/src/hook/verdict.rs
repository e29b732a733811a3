//! What a decision may say. Everything here is already checked: `plugin/adapt.rs` refuses what a plugin may not say.

use http::{HeaderName, HeaderValue};

use crate::base::ids::{PoolIndex, RouteIndex};

#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    Set(HeaderName, HeaderValue),
    Append(HeaderName, HeaderValue),
    Remove(HeaderName),
    /// A response's Set-Cookie for the cookie of that name, in place of others for it.
    SetCookie(String, HeaderValue),
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

impl Reply {
    /// What a filter is told of a look-up.
    pub fn looked_up(value: Option<Vec<u8>>) -> Reply {
        Reply {
            status: if value.is_some() { 200 } else { 404 },
            headers: Vec::new(),
            body: value.unwrap_or_default(),
        }
    }
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

/// What is decided about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Accept,
    /// Closed with a reset.
    Refuse,
    /// In tcp mode: the pool to use.
    Pool(PoolIndex),
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

/// What a prober found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Never `AsUsual`: there is nobody else to say.
    pub judgement: Judgement,
    /// In a few words.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Done(Outcome),
    /// Make this call, then resume with the number beside it.
    Fetch(Box<Fetch>, u64),
    /// Decided; the call is made behind the request, and what `resume` says of it is dropped.
    DoneAndFetch(Outcome, Box<Fetch>, u64),
    /// Look this key up in what proxies share, then resume with the number beside it.
    LookUp(Vec<u8>, u64),
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

/// Where a user's session is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    #[default]
    None,
    /// At the server of that name.
    Server(String),
    /// Where the table says.
    Key(Vec<u8>),
}

/// What `sticky` found of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    pub affinity: Affinity,
    pub edits: Vec<Edit>,
    pub notes: Vec<Note>,
    /// For the access log.
    pub reason: Option<String>,
}

/// What `sticky` makes of a response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Binding {
    pub edits: Vec<Edit>,
    /// A key to remember the server by, and for how long.
    pub remember: Option<(Vec<u8>, std::time::Duration)>,
}
