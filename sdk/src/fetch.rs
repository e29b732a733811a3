//! The role `request-filter`, for filters that ask somebody before they decide.
//!
//! A plugin never waits: it returns the call that it wants made, and is resumed with the answer, maybe in another instance.

use std::borrow::Cow;
use std::time::Duration;

use crate::bindings::request_filter::exports::tidegate::plugin::request_filter as wit;
use crate::export::{Component, Exported, Instance, Values};
use crate::outcome::field;
use crate::{Context, Outcome, Plugin, PoolIndex, Request, reply};

pub use wit::FetchError;

/// A request filter that may make calls before it decides. They go to pools of the config, which must grant them:
/// `grants = ["fetch:auth"]`.
///
/// ```
/// use tidegate_sdk::prelude::*;
/// use tidegate_sdk::test::{FakeRequest, Harness, json};
///
/// struct Authorise;
/// # impl Plugin for Authorise {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings, _: &Context) -> Result<Self, String> { Ok(Authorise) }
/// #     fn interest(&self) -> Interest { Interest::none().header("authorization") }
/// # }
///
/// impl FetchFilter for Authorise {
///     fn request(&self, r: &Request) -> Step {
///         Fetch::pool("auth").get("/check").copy(r, "authorization").then(0)
///     }
///     fn resume(&self, _: u64, a: Answer) -> Step {
///         if a.status == 200 { next().copy(&a, "x-user").into() } else { a.into_reply().into() }
///     }
/// }
///
/// let plugin = Harness::<Authorise>::setup().pools(["auth"]).start().unwrap();
/// let (fetch, state) = plugin.request(&FakeRequest::get("/").header("authorization", "Bearer x")).fetch();
/// assert_eq!((fetch.path.as_str(), state), ("/check", 0));
/// let outcome = plugin.resume(state, Answer::new(200).header_set("x-user", "ada")).outcome();
/// assert_eq!(outcome, next().set("x-user", "ada"));
/// assert_eq!(plugin.resume(state, FetchError::Timeout).outcome().replied().unwrap().status, 504);
/// ```
pub trait FetchFilter: Plugin {
    /// Called once a request. Failure as with [`RequestFilter`](crate::RequestFilter).
    fn request(&self, r: &Request) -> Step;

    /// Called with the answer to a fetch and the number given with it. It may run on another instance than the one that
    /// asked: what it must know travels in `state` or is in the [`store`](crate::store). Failure as with `request`.
    fn resume(&self, state: u64, answer: Answer) -> Step;
}

/// What a [`FetchFilter`] says.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It has decided.
    Done(Outcome),
    /// Make this call, then resume with the number. At most 8 a request.
    Fetch(Fetch, u64),
    /// It has decided, and this call is made behind the request, which doesn't wait for it: to keep something fresh.
    /// [`resume`](FetchFilter::resume) is told the answer, and what it says then is dropped.
    DoneAndFetch(Outcome, Fetch, u64),
    /// Look this key up in what proxies share, then resume with the number: status 200 and the value as the body, or 404. See
    /// [`shared::look_up`](crate::shared::look_up).
    LookUp(Vec<u8>, u64),
}

impl From<Outcome> for Step {
    fn from(outcome: Outcome) -> Step {
        Step::Done(outcome)
    }
}

/// A call that the host makes for the plugin: [`Fetch::pool`], the method and path, then [`then`](Fetch::then).
#[derive(Clone, Debug, PartialEq)]
pub struct Fetch {
    /// Where it goes.
    pub to: Target,
    /// `GET` unless said otherwise.
    pub method: String,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// Host defaults to the server's address.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Empty unless said otherwise.
    pub body: Vec<u8>,
    /// For the whole call, 1 ms to 30 s. Absent: 5 s.
    pub timeout: Option<Duration>,
}

/// The pool that a fetch goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By index, as [`Context::pool`] gave it.
    Index(PoolIndex),
    /// By name. A pool that the config doesn't have makes the call fail; [`Context::pool`] finds it out earlier.
    Name(Cow<'static, str>),
}

impl From<PoolIndex> for Target {
    fn from(pool: PoolIndex) -> Target {
        Target::Index(pool)
    }
}

impl From<&'static str> for Target {
    fn from(name: &'static str) -> Target {
        Target::Name(name.into())
    }
}

impl From<String> for Target {
    fn from(name: String) -> Target {
        Target::Name(name.into())
    }
}

impl Fetch {
    /// A call to a pool, by its [`PoolIndex`] or its name; `GET /` unless said otherwise.
    pub fn pool(pool: impl Into<Target>) -> Fetch {
        Fetch {
            to: pool.into(),
            method: "GET".into(),
            path: "/".into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
        }
    }

    /// `GET` this path and query.
    pub fn get(self, path: impl Into<String>) -> Fetch {
        self.method("GET", path)
    }

    /// `POST` this body to this path and query.
    pub fn post(mut self, path: impl Into<String>, body: impl Into<Vec<u8>>) -> Fetch {
        self.body = body.into();
        self.method("POST", path)
    }

    /// Any method, and path and query.
    pub fn method(mut self, method: impl Into<String>, path: impl Into<String>) -> Fetch {
        self.method = method.into();
        self.path = path.into();
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Fetch {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Takes a header over from the request, if it has it. It must be declared.
    pub fn copy(self, r: &Request, name: &str) -> Fetch {
        match r.header_bytes(name) {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// The call's time limit, 1 ms to 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Fetch {
        self.timeout = Some(timeout);
        self
    }

    /// Makes it a step: after this call, resume with that number.
    pub fn then(self, state: u64) -> Step {
        Step::Fetch(self, state)
    }

    /// Makes it a call behind a decision: the request doesn't wait for it.
    pub fn behind(self, decided: Outcome, state: u64) -> Step {
        Step::DoneAndFetch(decided, self, state)
    }

    pub(crate) fn into_wit(self, context: &Context) -> wit::Fetch {
        let pool = match self.to {
            Target::Index(index) => index,
            Target::Name(name) => context
                .pool(&name)
                .unwrap_or_else(|e| panic!("a fetch's pool: {e}")),
        };
        let millis = |t: Duration| t.as_millis().clamp(1, 30_000) as u32;
        wit::Fetch {
            pool: pool.0,
            method: self.method,
            path: self.path,
            headers: self.headers,
            body: self.body,
            timeout_ms: self.timeout.map_or(0, millis),
        }
    }
}

/// What came of a fetch. When there was no answer, `error` says why, and the status is what a client would be told:
/// 504 for a timeout, 502 for an answer too large, else 503. So `status == 200` alone is a safe test.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The answer's status.
    pub status: u16,
    /// The answer's header.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The answer's body, at most 1 MiB.
    pub body: Vec<u8>,
    /// Why there was no answer.
    pub error: Option<FetchError>,
}

impl Answer {
    /// An answer of that status, for tests.
    pub fn new(status: u16) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            error: None,
        }
    }

    /// Adds a header, for tests.
    pub fn header_set(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Answer {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body, for tests.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Answer {
        self.body = body.into();
        self
    }

    /// The first field of that name, case-insensitive, as bytes.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        field(&self.headers, name)
    }

    /// The first field of that name, if it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.header(name)?).ok()
    }

    /// The client's answer: this one, without the fields that belong to its own connection (RFC 9110, 7.6.1) or framing.
    /// A status that may not be sent on becomes 502.
    pub fn into_reply(self) -> Outcome {
        let status = if (200..600).contains(&self.status) {
            self.status
        } else {
            502
        };
        let nominated = self
            .text("connection")
            .unwrap_or_default()
            .to_ascii_lowercase();
        let own = |name: &str| {
            let name = name.to_ascii_lowercase();
            OF_THE_CONNECTION.contains(&name.as_str())
                || nominated.split(',').any(|n| n.trim() == name)
        };
        let mut outcome = reply(status).body(self.body);
        for (name, value) in self.headers {
            if !own(&name) {
                outcome = outcome.append(name, value);
            }
        }
        match self.error {
            Some(error) => outcome.why(format!("fetch: {}", words(error))),
            None => outcome,
        }
    }
}

const OF_THE_CONNECTION: &[&str] = &[
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn words(error: FetchError) -> &'static str {
    match error {
        FetchError::Timeout => "timeout",
        FetchError::Refused => "refused",
        FetchError::TooLarge => "answer too large",
        FetchError::NotGranted => "not granted",
    }
}

impl From<FetchError> for Answer {
    fn from(error: FetchError) -> Answer {
        let status = match error {
            FetchError::Timeout => 504,
            FetchError::TooLarge => 502,
            FetchError::Refused | FetchError::NotGranted => 503,
        };
        Answer {
            error: Some(error),
            ..Answer::new(status)
        }
    }
}

impl<P: FetchFilter> Instance<P> {
    pub(crate) fn on_request(&self, values: &Values) -> Step {
        self.plugin.request(&self.request(values))
    }

    fn to_wit(&self, step: Step) -> wit::Step {
        match step {
            Step::Done(outcome) => wit::Step::Done(outcome),
            Step::Fetch(fetch, state) => wit::Step::Fetch((fetch.into_wit(&self.context), state)),
            Step::DoneAndFetch(outcome, fetch, state) => {
                wit::Step::DoneAndFetch((outcome, fetch.into_wit(&self.context), state))
            }
            Step::LookUp(key, state) => wit::Step::LookUp((key, state)),
        }
    }
}

impl<P: Exported + FetchFilter> wit::Guest for Component<P> {
    fn on_request(inputs: Values) -> wit::Step {
        P::instance(|instance| instance.to_wit(instance.on_request(&inputs)))
    }

    fn resume(state: u64, answer: Result<crate::Reply, FetchError>) -> wit::Step {
        let answer = match answer {
            Ok(reply) => Answer {
                status: reply.status,
                headers: reply.headers,
                body: reply.body,
                error: None,
            },
            Err(error) => error.into(),
        };
        P::instance(|instance| instance.to_wit(instance.plugin.resume(state, answer)))
    }
}
