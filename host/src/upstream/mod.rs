//! Servers as the whole process sees them: their live counters, kept by identity across generations.

pub mod live;

pub use live::{LiveTable, Server};
