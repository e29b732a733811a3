//! What plugins keep in the host: the local store, tickets, counters. Process-wide; survives swaps.

use std::sync::Arc;

/// Everything that plugins keep, by the plugin's name.
#[derive(Default)]
pub struct State {}

impl State {
    pub fn new() -> Arc<State> {
        Arc::default()
    }
}
