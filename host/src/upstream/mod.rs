//! Servers as the whole process sees them: their live counters and their health, kept by identity across generations; who waits
//! for them, how often they are tried, and what is kept for that.

pub mod breaker;
mod budget;
mod kept;
pub mod live;
pub mod outcome;
pub mod queue;
pub mod uptime;
pub mod vitals;

#[cfg(test)]
mod tests;

pub use budget::Retrying;
pub use kept::Room;
pub use live::{Crew, LiveTable, Server};
pub use vitals::Vitals;
