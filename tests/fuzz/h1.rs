//! The readers of heads and of chunked bodies.

#[path = "../../host/src/http/h1/chunk.rs"]
pub mod chunk;
#[path = "../../host/src/http/h1/head.rs"]
pub mod head;
