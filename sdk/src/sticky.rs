//! The role `sticky`: back to the server that holds the session.

use std::time::Duration;

use crate::bindings::sticky::exports::tidegate::plugin::sticky as wit;
use crate::export::{Component, Exported, Instance, Values};
use crate::outcome::made_note;
use crate::{Edit, Plugin, PoolIndex, Request, Response};

pub use wit::{Affinity, Binding, Finding, Memory};

/// Brings a user back to the server that holds the session.
///
/// ```
/// use tidegate_sdk::prelude::*;
/// use tidegate_sdk::test::{FakeRequest, FakeResponse, Harness, json};
///
/// struct ByCookie;
/// # impl Plugin for ByCookie {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings, _: &Context) -> Result<Self, String> { Ok(ByCookie) }
/// #     fn interest(&self) -> Interest { Interest::none().cookie("server") }
/// # }
///
/// impl Sticky for ByCookie {
///     fn find(&self, _: PoolIndex, r: &Request) -> Finding {
///         r.cookie("server").map_or(Finding::none(), Finding::server)
///     }
///     fn bind(&self, _: PoolIndex, server: &str, _: &Response) -> Binding {
///         Binding::none().set_cookie("server", format!("{server}; Path=/; HttpOnly"))
///     }
/// }
///
/// let plugin = Harness::<ByCookie>::setup().pools(["app"]).start().unwrap();
/// let request = FakeRequest::get("/").header("cookie", "server=web1");
/// assert_eq!(plugin.find("app", &request).affinity, Affinity::Server("web1".into()));
/// assert_eq!(plugin.bind("app", "web1", &FakeResponse::new(200)).edits.len(), 1);
/// ```
pub trait Sticky: Plugin {
    /// Called once a request, after the filters and before the balancer. A server that drains keeps the users that are brought back to
    /// it; one that is gone, down or can't be connected to loses them. When it fails, a server is picked.
    fn find(&self, pool: PoolIndex, r: &Request) -> Finding;

    /// Called once a response, with the server that gave it; not for what the proxy itself answers.
    fn bind(&self, pool: PoolIndex, server: &str, r: &Response) -> Binding;
}

/// Made by [`Finding::none`], [`Finding::server`] or [`Finding::key`], then by adding to it.
impl Finding {
    /// A user who was not here before.
    pub fn none() -> Finding {
        Finding {
            affinity: Affinity::None,
            edits: Vec::new(),
            notes: Vec::new(),
            reason: None,
        }
    }

    /// The server of that name holds the session.
    pub fn server(name: impl Into<String>) -> Finding {
        Finding {
            affinity: Affinity::Server(name.into()),
            ..Finding::none()
        }
    }

    /// The host's table knows, under that key.
    pub fn key(key: impl Into<Vec<u8>>) -> Finding {
        Finding {
            affinity: Affinity::Key(key.into()),
            ..Finding::none()
        }
    }

    /// Sets a header of the request, in place of every occurrence.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Finding {
        self.edits.push(Edit::Set((name.into(), value.into())));
        self
    }

    /// Removes a header of the request.
    pub fn remove(mut self, name: impl Into<String>) -> Finding {
        self.edits.push(Edit::Remove(name.into()));
        self
    }

    /// Sets a note: of a value, 1 KiB is kept.
    pub fn note(mut self, name: impl Into<String>, value: impl Into<String>) -> Finding {
        self.notes.push(made_note(name.into(), value.into()));
        self
    }

    /// Why, for the access log.
    pub fn why(mut self, reason: impl Into<String>) -> Finding {
        self.reason = Some(reason.into());
        self
    }
}

impl Binding {
    /// Nothing to remember, to begin with.
    pub fn none() -> Binding {
        Binding {
            edits: Vec::new(),
            remember: None,
        }
    }

    /// Remember the server under this key in the host's table, for so long.
    pub fn remember(mut self, key: impl Into<Vec<u8>>, ttl: Duration) -> Binding {
        self.remember = Some(Memory {
            key: key.into(),
            ttl_ms: u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX).max(1),
        });
        self
    }

    /// Sets one cookie: `rest` is its value with what follows, such as `x; Path=/`.
    pub fn set_cookie(mut self, name: impl Into<String>, rest: impl Into<Vec<u8>>) -> Binding {
        self.edits.push(Edit::SetCookie((name.into(), rest.into())));
        self
    }

    /// Adds one more occurrence of a header to the response.
    pub fn append(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Binding {
        self.edits.push(Edit::Append((name.into(), value.into())));
        self
    }

    /// Sets a header of the response, in place of every occurrence.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Binding {
        self.edits.push(Edit::Set((name.into(), value.into())));
        self
    }

    /// Removes a header of the response.
    pub fn remove(mut self, name: impl Into<String>) -> Binding {
        self.edits.push(Edit::Remove(name.into()));
        self
    }
}

impl<P: Sticky> Instance<P> {
    pub(crate) fn find(&self, pool: PoolIndex, values: &Values) -> Finding {
        self.plugin.find(pool, &self.request(values))
    }

    pub(crate) fn bind(&self, pool: PoolIndex, server: &str, values: &Values) -> Binding {
        self.plugin.bind(pool, server, &self.response(values))
    }
}

impl<P: Exported + Sticky> wit::Guest for Component<P> {
    fn find(pool: u32, inputs: Values) -> Finding {
        P::instance(|instance| instance.find(PoolIndex(pool), &inputs))
    }

    fn bind(pool: u32, server: String, inputs: Values) -> Binding {
        P::instance(|instance| instance.bind(PoolIndex(pool), &server, &inputs))
    }
}
