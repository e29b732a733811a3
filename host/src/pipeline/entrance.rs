//! What a listener's connections pass before their first request, where there is more to it than HTTP on a bare socket.

use std::rc::Rc;

use crate::config::checked::{Mode, OnFailure, ProxyIn};
use crate::hook;

#[derive(Default)]
pub struct Entrance {
    pub mode: Mode,
    pub proxy_protocol: ProxyIn,
    /// In tcp mode: the client's TLS hello is read, and passed on with the rest.
    pub tls_passthrough: bool,
    /// Asked in order.
    pub connect: Vec<Doorkeeper>,
}

/// A plugin that is asked about connections.
pub struct Doorkeeper {
    pub name: Rc<str>,
    pub plugin: Rc<dyn hook::Connect>,
    pub on_failure: OnFailure,
}

impl Entrance {
    /// Nothing stands between accept and the first request.
    pub fn is_plain(&self) -> bool {
        self.mode == Mode::Http
            && self.proxy_protocol == ProxyIn::Off
            && !self.tls_passthrough
            && self.connect.is_empty()
    }
}
