//! Servers as the whole process sees them: their live counters and their health, kept by identity across generations.

pub mod live;
pub mod vitals;

pub use live::{LiveTable, Server};
pub use vitals::Vitals;
