//! Made-up servers.

use crate::ServerState;
use crate::bindings::base::tidegate::plugin::types;

use super::host::FakeHost;

/// A server for [`Harness::set_pool`](super::Harness::set_pool): ready, of weight 1, no backup, unless said otherwise.
#[derive(Clone, Debug)]
pub struct FakeServer {
    pub(crate) name: String,
    address: String,
    pub(crate) weight: u32,
    state: ServerState,
    backup: bool,
    labels: Vec<(String, String)>,
}

/// A server of that name.
pub fn server(name: impl Into<String>) -> FakeServer {
    let name = name.into();
    FakeServer {
        address: format!("{name}.test:80"),
        name,
        weight: 1,
        state: ServerState::Ready,
        backup: false,
        labels: Vec::new(),
    }
}

impl FakeServer {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// 0 to 256.
    pub fn weight(mut self, weight: u32) -> FakeServer {
        self.weight = weight;
        self
    }

    /// `host:port`.
    pub fn address(mut self, address: impl Into<String>) -> FakeServer {
        self.address = address.into();
        self
    }

    /// Not to be picked.
    pub fn down(mut self) -> FakeServer {
        self.state = ServerState::Down;
        self
    }

    /// Not to be picked for new users.
    pub fn drain(mut self) -> FakeServer {
        self.state = ServerState::Drain;
        self
    }

    /// Used only when no other is usable.
    pub fn backup(mut self) -> FakeServer {
        self.backup = true;
        self
    }

    /// Adds a label.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> FakeServer {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// As the plugin is told of it.
    pub(crate) fn told(&self, host: &FakeHost, pool: &str) -> types::Server {
        types::Server {
            slot: host.slot(pool, &self.name),
            name: self.name.clone(),
            address: self.address.clone(),
            weight: self.weight,
            state: self.state,
            backup: self.backup,
            labels: self.labels.clone(),
        }
    }
}
