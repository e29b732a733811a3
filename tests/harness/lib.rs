//! Plumbing for the end-to-end tests, so that each of them reads as a story: origins, a proxy, a client, an act, what is
//! expected. Everything here is the real thing: the built binary, sockets on 127.0.0.1, curl. Nothing outlives its test:
//! dropping a [`Proxy`] or an [`Origin`] ends it, and what the proxy logged is printed when the test fails.
//!
//! All of it blocks on plain threads, but for the TLS in front of an origin. The tests are about another process's behaviour, and a reader need not know an async
//! runtime to follow them.

mod binary;
mod browser;
mod client;
mod collector;
mod config;
mod dns;
mod document;
mod guests;
mod lan;
mod load;
mod message;
mod metrics;
mod origin;
mod ports;
mod process;
mod proxy;
mod raw;
mod recording;
mod script;
pub mod soak;
mod story;
mod tls;
mod wait;
mod wasm;

pub use binary::{root, take_binary, tidegate};
pub use browser::Browser;
pub use client::{Client, curl, get, send};
pub use collector::{Collector, Exported};
pub use config::{listener, pool, server, site};
pub use dns::{Dns, SERVFAIL};
pub use document::{Block, Document, matches};
pub use guests::{guest, guest_wasip2};
pub use lan::{Host, Lan};
pub use load::{Load, Tally};
pub use message::Message;
pub use metrics::Metrics;
pub use origin::{Origin, reply};
pub use ports::Port;
pub use process::{Process, Signal};
pub use proxy::{Proxy, Setup, TOKEN};
pub use raw::Raw;
pub use recording::{Heard, Mark, Recording};
pub use script::{Server, python};
pub use story::Story;
pub use tls::{Authority, Front, Issued, Met, TlsStream, openssl, tls_connect, try_tls_connect};
pub use wait::{wait_for, wait_until, within};
pub use wasm::{shipped, variant};
