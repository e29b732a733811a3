//! The role `request-filter`, for filters that decide by themselves. The half that makes calls is in `fetch`.

use crate::{Answer, FetchFilter, Outcome, Plugin, Request, Step, reply};

/// Sees each request before it is sent on: a listener's filters before routing, a route's filters after.
///
/// A filter that must ask somebody first implements [`FetchFilter`] instead.
///
/// ```
/// use tidegate_sdk::prelude::*;
/// use tidegate_sdk::test::{FakeRequest, Harness, json};
///
/// struct Limit { rate: f64, burst: u32 }
/// # impl Plugin for Limit {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings, _: &Context) -> Result<Self, String> { Ok(Limit { rate: 1.0, burst: 1 }) }
/// #     fn interest(&self) -> Interest { Interest::none().header("x-api-key") }
/// # }
///
/// impl RequestFilter for Limit {
///     fn request(&self, r: &Request) -> Outcome {
///         match store::take(r.header("x-api-key").unwrap_or(""), self.rate, self.burst) {
///             Ok(()) => next(),
///             Err(wait) => reply(429).retry_after(wait),
///         }
///     }
/// }
///
/// let plugin = Harness::<Limit>::new(json!({})).unwrap();
/// assert_eq!(plugin.request(&FakeRequest::get("/")).outcome(), next());
/// assert_eq!(plugin.request(&FakeRequest::get("/")).outcome().replied().unwrap().status, 429);
/// ```
pub trait RequestFilter: Plugin {
    /// Called once a request. When it fails the client gets 503 (`on-failure = "reject"`, the default) or the request goes
    /// on unchanged (`"fallback"`).
    fn request(&self, r: &Request) -> Outcome;
}

impl<P: RequestFilter> FetchFilter for P {
    fn request(&self, r: &Request) -> Step {
        Step::Done(RequestFilter::request(self, r))
    }

    /// Nothing was fetched, so nobody calls this.
    fn resume(&self, _: u64, _: Answer) -> Step {
        reply(503).why("an answer that nobody asked for").into()
    }
}
