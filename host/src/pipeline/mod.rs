//! A request's way, one file a step: `accept` hands connections that pass the listener's `gate` to workers; on its `worker`
//! a connection goes through `arrive` (and `approach`, where there is more to it than HTTP on a bare socket); one in tcp mode is passed
//! on by `tcp`, others' requests pass `protocol` (what the HTTP engine read, made safe), `filter` and `route`, `pick` and `forward`
//! (`turn` where servers are full, `repeat` for what is sent again, `multiplex` where requests share a connection), `respond` and `log`;
//! `trail` keeps what each decided while somebody follows.
//!
//! ```text
//! accept ─► arrive ─► protocol ─► filter ─► route ─► filter ─► pick ─► forward ─► respond ─► log
//!                     hop-by-hop  listener  router   route     balancer  server    filters   RequestEnded
//!                     forwarded   fetch                        turn      repeat    reversed
//!                                                                ▲────retry──┘
//! ```
//!
//! The steps hold hook traits, never a plugin, and speak `crate::http`'s own types, never hyper's: they are tested with
//! closures, and the engine below can be replaced. A `Site` is what they need of the configuration; a request pins the one
//! that it began with.

mod accept;
mod approach;
mod arrive;
mod capture;
mod compress;
mod dial;
mod entrance;
mod exchange;
mod explain;
mod fault;
mod fetch;
mod filter;
mod forward;
mod forwarded;
mod gate;
mod grpc;
mod log;
mod multiplex;
mod passive;
mod pick;
mod protocol;
mod repeat;
mod respond;
mod route;
mod session;
mod site;
mod stick;
mod tcp;
mod trace;
mod trail;
mod turn;
mod worker;
mod workers;

pub use accept::accept;
pub use entrance::{Doorkeeper, Entrance};
pub use explain::{Explained, Question};
pub use gate::{Bounds, Gate, Gates, Told};
pub use site::{Filter, Limits, ListenerSite, PoolSite, RouteSite, ServerSite, Site};
pub use workers::{WorkerHandle, Workers};

#[cfg(test)]
mod tests;
