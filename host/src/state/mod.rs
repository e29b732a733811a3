//! What plugins keep in the host: the local store, tickets, counters, and the budget of their log lines. Process-wide and
//! by the plugin's name, so it is exact across the workers and survives swaps and reloads. Everything here is bounded, for
//! a guest decides how much it asks for; the bounds are the ones that `wit/host.wit` promises.

mod cells;
mod counters;
mod lines;
mod local;
mod tickets;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use counters::{Counters, MOST_SERIES, Series};
pub use lines::{LINES_A_SECOND, Lines};
pub use local::{LocalStore, MOST_BYTES, MOST_ENTRIES, MOST_KEY, MOST_VALUE};
pub use tickets::{MOST_TICKETS, Tickets};

/// Everything that plugins keep, by the plugin's name.
#[derive(Default)]
pub struct State {
    plugins: Mutex<HashMap<String, Arc<PluginState>>>,
}

/// What one plugin keeps. Its instances hold it, so calls find it without a look-up.
#[derive(Default)]
pub struct PluginState {
    pub local: LocalStore,
    /// Where users are, by the keys that `sticky` gives them.
    pub table: LocalStore,
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
        plugins.entry(plugin.to_owned()).or_default().clone()
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
