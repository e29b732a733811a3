//! What every floor stands on: ids, and the events that the data path reports, trails of decisions. Imports nothing of ours.

mod boxed;
pub mod event;
pub mod ids;
pub mod text;
pub mod trail;

pub use boxed::in_place;
