//! The files of the proxy that are fuzzed, as they are.

#[path = "../../host/src/http/h1/chunk.rs"]
pub mod chunk;
#[path = "../../host/src/http/h1/head.rs"]
pub mod head;
#[path = "../../host/src/http/known.rs"]
pub mod known;
