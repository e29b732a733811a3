//! The role `response-filter`.

use crate::bindings::response_filter::exports::tidegate::plugin::response_filter as wit;
use crate::export::{Component, Exported, Instance, Values};
use crate::outcome::made_note;
use crate::{Edit, Plugin, Response};

pub use wit::ResponseOutcome;

/// Sees each response's head before it is sent to the client, in the reverse of the request's order. Also sees the
/// replies of plugins and the proxy's own error pages.
///
/// ```
/// use tidegate_sdk::prelude::*;
/// use tidegate_sdk::test::{FakeResponse, Harness, json};
///
/// struct NoStore;
/// # impl Plugin for NoStore {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings, _: &Context) -> Result<Self, String> { Ok(NoStore) }
/// #     fn interest(&self) -> Interest { Interest::none().status() }
/// # }
///
/// impl ResponseFilter for NoStore {
///     fn response(&self, r: &Response) -> ResponseOutcome {
///         match r.status() {
///             500.. => ResponseOutcome::unchanged().set("cache-control", "no-store"),
///             _ => ResponseOutcome::unchanged(),
///         }
///     }
/// }
///
/// let plugin = Harness::<NoStore>::new(json!({})).unwrap();
/// assert_eq!(plugin.response(&FakeResponse::new(200)), ResponseOutcome::unchanged());
/// assert_eq!(plugin.response(&FakeResponse::new(503)).edits.len(), 1);
/// ```
pub trait ResponseFilter: Plugin {
    /// Called once a response. When it fails the client gets 503 (`on-failure = "reject"`, the default) or the
    /// response as it was (`"fallback"`).
    fn response(&self, r: &Response) -> ResponseOutcome;
}

impl ResponseOutcome {
    /// Nothing to change, to begin with.
    pub fn unchanged() -> ResponseOutcome {
        ResponseOutcome {
            edits: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Sets a header, in place of every occurrence.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.edits.push(Edit::Set((name.into(), value.into())));
        self
    }

    /// Adds one more occurrence of a header.
    pub fn append(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.edits.push(Edit::Append((name.into(), value.into())));
        self
    }

    /// Removes every occurrence of a header.
    pub fn remove(mut self, name: impl Into<String>) -> Self {
        self.edits.push(Edit::Remove(name.into()));
        self
    }

    /// A note for later plugins and the access log; 1 KiB of it are kept.
    pub fn note(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.notes.push(made_note(name.into(), value.into()));
        self
    }
}

impl Default for ResponseOutcome {
    fn default() -> Self {
        ResponseOutcome::unchanged()
    }
}

impl<P: ResponseFilter> Instance<P> {
    pub(crate) fn on_response(&self, values: &Values) -> ResponseOutcome {
        self.plugin.response(&self.response(values))
    }
}

impl<P: Exported + ResponseFilter> wit::Guest for Component<P> {
    fn on_response(inputs: Values) -> ResponseOutcome {
        P::instance(|instance| instance.on_response(&inputs))
    }
}
