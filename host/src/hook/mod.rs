//! The extension contract in plain Rust: what a decision sees (`view`), what it may say (`verdict`) and how it is asked
//! (`role`). Knows neither hyper nor wasmtime: the pipeline holds these traits, the plugin runtime implements them, and a
//! test implements them with closures.

pub mod input;
pub mod role;
pub mod verdict;
pub mod view;

pub use input::{Input, Interest, sets_cookie, value_in_request, value_in_response};
pub use role::{
    Asked, Balancer, Connect, Failure, HealthJudge, HealthPlugin, LookedUp, Prober, RequestFilter,
    ResponseFilter, Router, Sticky, Wire,
};
pub use verdict::{
    Admission, Affinity, Binding, Choice, Decision, Edit, Fetch, FetchError, Finding, Judgement,
    Note, Outcome, Probed, Reply, ResponseOutcome, Step,
};
pub use view::{
    ConnectionFacts, ProbeTarget, ProbeView, RequestView, ResponseView, ServerState, ServerView,
    TlsFacts, Told,
};
