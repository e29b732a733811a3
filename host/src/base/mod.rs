//! What every floor stands on: ids, and the events that the data path reports. Imports nothing of ours.

mod boxed;
pub mod event;
pub mod ids;
pub mod text;

pub use boxed::in_place;
