//! The files of the proxy that are fuzzed, as they are, and where they look for each other.

#[path = "h1.rs"]
pub mod h1;
#[path = "h2.rs"]
pub mod h2;
#[path = "../../host/src/http/known.rs"]
pub mod known;

pub mod timers {
    pub type Millis = u64;
}
