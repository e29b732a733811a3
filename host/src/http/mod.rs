//! HTTP messages in our own types (`message`, `body`), and the engine that reads and writes them: `server` towards clients,
//! `client` and `idle` towards servers, `tunnel` once a connection is upgraded. `link` is what a client's connection and
//! the steps that work for it share: counters, the one timer, the wish to close.
//!
//! The engine is hyper, and only the files here know it.

pub mod body;
pub mod client;
pub mod delivery;
pub mod hop;
pub mod idle;
pub mod link;
pub mod message;
mod refusal;
pub mod server;
mod stream;
pub mod tunnel;

pub use body::Body;
pub use link::Link;
pub use message::{Fields, RequestHead, ResponseHead};
