//! What every floor stands on: ids, the events that the data path reports, trails of decisions, and how often to tell of what
//! happens often (`burst`). Imports nothing of ours.

mod boxed;
pub mod burst;
pub mod event;
pub mod ids;
pub mod text;
pub mod trail;

pub use boxed::in_place;
