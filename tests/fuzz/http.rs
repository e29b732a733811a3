//! The files of the proxy that are fuzzed, as they are, and where they look for each other.

#[path = "h1.rs"]
pub mod h1;
#[path = "../../host/src/http/known.rs"]
pub mod known;
