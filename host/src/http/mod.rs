//! HTTP messages in our own types (`message`, `fields`, `body`), and the engine that reads and writes them: `server`
//! and `delivery` towards clients, `client`, `patience` and `idle` (with `by_address`) towards servers, `tunnel` once a connection
//! is upgraded.
//! `pace` and `taking` hold clients to a rate. `link` is what a client's connection and the steps that work for it share:
//! counters, the deadline, the wish to close; `timers` is the worker's clock for them. `h1` is HTTP/1.1 on the wire,
//! `h2` HTTP/2, where one connection carries many exchanges at a time.

pub mod body;
mod by_address;
pub mod client;
mod compress;
pub mod delivery;
pub mod fields;
pub mod h1;
pub mod h2;
pub mod hop;
pub mod idle;
pub mod known;
pub mod link;
pub mod message;
pub mod pace;
pub mod patience;
pub mod server;
mod taking;
pub mod timers;
pub mod tunnel;
mod turn;

pub use body::Body;
pub use fields::Fields;
pub use link::Link;
pub use message::{RequestHead, ResponseHead, Target};
