//! The role `router`: which pool a request goes to.

use std::time::Duration;

use crate::bindings::router::exports::tidegate::plugin::router as wit;
use crate::export::{Component, Exported, Instance, Values};
use crate::{Outcome, Plugin, PoolIndex, Request, RouteIndex, next, reply};

/// Chooses the pool of a request. One router a listener; named by the listener's `router`.
///
/// ```
/// use tidegate_sdk::prelude::*;
/// use tidegate_sdk::test::{FakeRequest, Harness, json};
///
/// struct Canary { canary: PoolIndex }
/// # impl Plugin for Canary {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings, context: &Context) -> Result<Self, String> { Ok(Canary { canary: context.pool("canary")? }) }
/// #     fn interest(&self) -> Interest { Interest::none().header("x-canary") }
/// # }
///
/// impl Router for Canary {
///     fn route(&self, r: &Request) -> Route {
///         match r.header("x-canary") {
///             Some(_) => Route::pool(self.canary).why("asked for"),
///             None => Route::next(),
///         }
///     }
/// }
///
/// let plugin = Harness::<Canary>::setup().pools(["app", "canary"]).start().unwrap();
/// assert_eq!(plugin.route(&FakeRequest::get("/")), Route::next());
/// ```
pub trait Router: Plugin {
    /// Called once a request, after the listener's filters. When it fails, the listener's own pool is used.
    fn route(&self, r: &Request) -> Route;
}

/// What a router says.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The decision, and what is to be changed in the request.
    pub outcome: Outcome,
    /// The `[[route]]` taken: its filters run next, its name is logged.
    pub route: Option<RouteIndex>,
}

impl Route {
    /// The listener's own pool.
    pub fn next() -> Route {
        next().into()
    }

    /// This pool.
    pub fn pool(pool: PoolIndex) -> Route {
        Outcome::pool(pool).into()
    }

    /// This `[[route]]`, with its own pool and filters.
    pub fn take(route: RouteIndex) -> Route {
        Route {
            outcome: next(),
            route: Some(route),
        }
    }

    /// Answer at once, with this status (200 to 599).
    pub fn reply(status: u16) -> Route {
        reply(status).into()
    }

    /// Take this `[[route]]`'s name and filters, beside what is decided.
    pub fn by(mut self, route: RouteIndex) -> Route {
        self.route = Some(route);
        self
    }

    /// As [`Outcome::set`].
    pub fn set(self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Route {
        self.with(|outcome| outcome.set(name, value))
    }

    /// As [`Outcome::append`].
    pub fn append(self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Route {
        self.with(|outcome| outcome.append(name, value))
    }

    /// As [`Outcome::remove`].
    pub fn remove(self, name: impl Into<String>) -> Route {
        self.with(|outcome| outcome.remove(name))
    }

    /// As [`Outcome::path`].
    pub fn path(self, path: impl Into<String>) -> Route {
        self.with(|outcome| outcome.path(path))
    }

    /// As [`Outcome::note`].
    pub fn note(self, name: impl Into<String>, value: impl Into<String>) -> Route {
        self.with(|outcome| outcome.note(name, value))
    }

    /// As [`Outcome::why`].
    pub fn why(self, reason: impl Into<String>) -> Route {
        self.with(|outcome| outcome.why(reason))
    }

    /// As [`Outcome::body`].
    pub fn body(self, body: impl Into<Vec<u8>>) -> Route {
        self.with(|outcome| outcome.body(body))
    }

    /// As [`Outcome::retry_after`].
    pub fn retry_after(self, wait: Duration) -> Route {
        self.with(|outcome| outcome.retry_after(wait))
    }

    fn with(mut self, change: impl FnOnce(Outcome) -> Outcome) -> Route {
        self.outcome = change(self.outcome);
        self
    }
}

impl From<Outcome> for Route {
    fn from(outcome: Outcome) -> Route {
        Route {
            outcome,
            route: None,
        }
    }
}

impl<P: Router> Instance<P> {
    pub(crate) fn route(&self, values: &Values) -> Route {
        self.plugin.route(&self.request(values))
    }
}

impl<P: Exported + Router> wit::Guest for Component<P> {
    fn on_route(inputs: Values) -> wit::Choice {
        let route = P::instance(|instance| instance.route(&inputs));
        wit::Choice {
            outcome: route.outcome,
            route: route.route.map(|route| route.0),
        }
    }
}
