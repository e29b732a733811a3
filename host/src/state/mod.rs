//! What plugins keep in the host: the local store, tickets, counters, and the budget of their log lines. Process-wide and
//! by the plugin's name, so it is exact across the workers and survives swaps and reloads. Everything here is bounded, for
//! a guest decides how much it asks for; the bounds are the ones that `wit/host.wit` promises.
//!
//! The sticky table and the common store can be shared with other proxies: `sharing` says how, and is the workers' side of
//! it, `redis` the other.

mod cells;
mod common;
mod counters;
mod figures;
mod lines;
mod local;
mod redis;
mod sharing;
mod table;
mod tickets;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;

use crate::config::checked::Shared;
use sharing::Sharing;

pub use common::CommonStore;
pub use counters::{Counters, MOST_SERIES, Series};
pub use lines::{LINES_A_SECOND, Lines};
pub use local::{Level, LocalStore, MOST_BYTES, MOST_ENTRIES, MOST_KEY, MOST_VALUE};
pub use table::Table;
pub use tickets::{MOST_TICKETS, Tickets};

/// Everything that plugins keep, by the plugin's name.
#[derive(Default)]
pub struct State {
    plugins: Mutex<HashMap<String, Arc<PluginState>>>,
    sharing: Arc<Sharing>,
}

/// What one plugin keeps. Its instances hold it, so calls find it without a look-up.
pub struct PluginState {
    pub local: LocalStore,
    /// What it shares with other proxies, where they share.
    pub common: Arc<CommonStore>,
    /// Where users are, by the keys that `sticky` gives them; shared too.
    pub table: Arc<Table>,
    pub tickets: Tickets,
    pub counters: Counters,
    pub lines: Lines,
}

impl State {
    pub fn new() -> Arc<State> {
        Arc::default()
    }

    /// What the plugin of that name keeps; made when it is new.
    pub fn of(&self, plugin: &str) -> Arc<PluginState> {
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = plugins.get(plugin) {
            return known.clone();
        }
        let fresh = Arc::new(PluginState::new(plugin, &self.sharing));
        plugins.entry(plugin.to_owned()).or_insert(fresh).clone()
    }

    /// Shares by these settings from now on, or not at all. Does not wait for Redis. Err: there is no thread to be had for it.
    pub fn share(self: &Arc<State>, settings: Option<&Shared>) -> std::io::Result<()> {
        self.sharing.set(self, settings)
    }

    /// Whether Redis answers, where state is shared.
    pub fn shares(&self) -> bool {
        self.sharing.is_on() && !self.sharing.is_alone()
    }

    /// What `/metrics` tells of sharing.
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(figures::SharingMetrics(self.sharing.clone()))
    }

    /// All that is kept, sorted by name.
    pub fn all(&self) -> Vec<(String, Arc<PluginState>)> {
        let plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = plugins
            .iter()
            .map(|(name, state)| (name.clone(), state.clone()))
            .collect();
        drop(plugins);
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

impl PluginState {
    fn new(plugin: &str, sharing: &Arc<Sharing>) -> PluginState {
        PluginState {
            local: LocalStore::default(),
            common: CommonStore::new(plugin, sharing),
            table: Table::new(plugin, sharing),
            tickets: Tickets::default(),
            counters: Counters::default(),
            lines: Lines::default(),
        }
    }
}
