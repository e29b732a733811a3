//! The role `connect`: whether a connection is accepted.

use crate::bindings::connect::exports::tidegate::plugin::connect as wit;
use crate::export::{Component, Exported, Instance, Values};
use crate::{Plugin, Request};

/// The answer of [`Connect`]: `Accept`, `Refuse`, or in tcp mode `Pool` with an index.
pub use wit::Decision as Admission;

/// Decides about a connection before its first byte is read, or after its TLS hello where there is one.
///
/// ```
/// use tidegate_sdk::prelude::*;
/// use tidegate_sdk::test::{FakeRequest, Harness, json};
///
/// struct Deny;
/// # impl Plugin for Deny {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings, _: &Context) -> Result<Self, String> { Ok(Deny) }
/// #     fn interest(&self) -> Interest { Interest::none().client_address() }
/// # }
///
/// impl Connect for Deny {
///     fn connect(&self, c: &Request) -> Admission {
///         if c.client_address().starts_with("203.0.113.") { Admission::Refuse } else { Admission::Accept }
///     }
/// }
///
/// let plugin = Harness::<Deny>::new(json!({})).unwrap();
/// assert_eq!(plugin.connect(&FakeRequest::get("/").client_address("203.0.113.9")), Admission::Refuse);
/// ```
pub trait Connect: Plugin {
    /// Called once a connection; of the request just what belongs to the connection is there. When it fails the connection
    /// is refused.
    fn connect(&self, c: &Request) -> Admission;
}

impl<P: Connect> Instance<P> {
    pub(crate) fn connect(&self, values: &Values) -> Admission {
        self.plugin.connect(&self.request(values))
    }
}

impl<P: Exported + Connect> wit::Guest for Component<P> {
    fn on_connect(inputs: Values) -> Admission {
        P::instance(|instance| instance.connect(&inputs))
    }
}
