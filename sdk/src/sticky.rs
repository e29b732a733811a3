//! The role `sticky`: back to the server that holds the session.

use crate::bindings::sticky::exports::tidegate::plugin::sticky as wit;
use crate::export::{Component, Exported, Instance, Values};
use crate::{Edit, Plugin, PoolIndex, Request, Response};

pub use wit::{Affinity, Binding};

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
///     fn find(&self, _: PoolIndex, r: &Request) -> Affinity {
///         r.cookie("server").map_or(Affinity::None, |name| Affinity::Server(name.into()))
///     }
///     fn bind(&self, _: PoolIndex, server: &str, _: &Response) -> Binding {
///         Binding::none().append("set-cookie", format!("server={server}; Path=/; HttpOnly"))
///     }
/// }
///
/// let plugin = Harness::<ByCookie>::setup().pools(["app"]).start().unwrap();
/// let request = FakeRequest::get("/").header("cookie", "server=web1");
/// assert_eq!(plugin.find("app", &request), Affinity::Server("web1".into()));
/// assert_eq!(plugin.bind("app", "web1", &FakeResponse::new(200)).edits.len(), 1);
/// ```
pub trait Sticky: Plugin {
    /// Called once a request, before the balancer. When it fails, a server is picked.
    fn find(&self, pool: PoolIndex, r: &Request) -> Affinity;

    /// Called once a response, with the server that gave it.
    fn bind(&self, pool: PoolIndex, server: &str, r: &Response) -> Binding;
}

impl Binding {
    /// Nothing to remember, to begin with.
    pub fn none() -> Binding {
        Binding {
            edits: Vec::new(),
            key: None,
        }
    }

    /// Remember the server under this key in the host's table.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Binding {
        self.key = Some(key.into());
        self
    }

    /// Adds one more occurrence of a header to the response: a Set-Cookie, for one.
    pub fn append(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Binding {
        self.edits.push(Edit::Append((name.into(), value.into())));
        self
    }

    /// Sets a header of the response, in place of every occurrence.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Binding {
        self.edits.push(Edit::Set((name.into(), value.into())));
        self
    }
}

impl<P: Sticky> Instance<P> {
    pub(crate) fn find(&self, pool: PoolIndex, values: &Values) -> Affinity {
        self.plugin.find(pool, &self.request(values))
    }

    pub(crate) fn bind(&self, pool: PoolIndex, server: &str, values: &Values) -> Binding {
        self.plugin.bind(pool, server, &self.response(values))
    }
}

impl<P: Exported + Sticky> wit::Guest for Component<P> {
    fn find(pool: u32, inputs: Values) -> Affinity {
        P::instance(|instance| instance.find(PoolIndex(pool), &inputs))
    }

    fn bind(pool: u32, server: String, inputs: Values) -> Binding {
        P::instance(|instance| instance.bind(PoolIndex(pool), &server, &inputs))
    }
}
