//! The readers of heads and chunks by themselves, without the rest of the proxy, and what must hold of them whatever they are
//! given. `tidegate`'s own tests hold the same invariants over the corpus.

pub mod h1;
/// Where those files look for it.
pub mod http {
    pub use crate::h1::known;
}
pub mod invariants;
