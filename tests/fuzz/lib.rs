//! The readers of heads, chunks and frames by themselves, without the rest of the proxy, and what must hold of them whatever they are
//! given. `tidegate`'s own tests hold the same invariants over the corpus.

pub mod http;
pub mod invariants;

pub use http::{h1, h2};
