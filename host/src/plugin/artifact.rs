//! A loaded plugin.

use std::fmt;

/// A compiled plugin and what is known of it without running it.
pub struct Artifact {
    pub(super) sha256: [u8; 32],
}

/// What the file was before it was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A core module (`wasm32-unknown-unknown`), made into a component at load.
    Module,
    /// A component (`wasm32-wasip2`, or componentised elsewhere).
    Component,
}

/// The roles that a plugin exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    pub router: bool,
    pub request_filter: bool,
    pub response_filter: bool,
    pub balancer: bool,
    pub request_balancer: bool,
    pub stateful: bool,
}

impl Artifact {
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }
    /// Bytes of the file.
    pub fn size(&self) -> usize {
        todo!()
    }
    pub fn kind(&self) -> Kind {
        todo!()
    }
    pub fn roles(&self) -> Roles {
        todo!()
    }
    /// The version of `tidegate:plugin` that it was built for.
    pub fn wit_version(&self) -> &str {
        todo!()
    }
    /// The names of what it imports, sorted.
    pub fn imports(&self) -> &[String] {
        todo!()
    }
}

impl Roles {
    /// `balancer` or `request-balancer`.
    pub fn any_balancer(&self) -> bool {
        self.balancer || self.request_balancer
    }
}

/// The WIT's names, separated by ", ".
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.router, "router"),
            (self.request_filter, "request-filter"),
            (self.response_filter, "response-filter"),
            (self.balancer, "balancer"),
            (self.request_balancer, "request-balancer"),
            (self.stateful, "stateful"),
        ];
        let mut first = true;
        for (_, name) in names.iter().filter(|(has, _)| *has) {
            f.write_str(if first { "" } else { ", " })?;
            f.write_str(name)?;
            first = false;
        }
        Ok(())
    }
}
