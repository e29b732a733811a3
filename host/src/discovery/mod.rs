//! What the names of servers stand for: each is asked for again as its TTL ends (`names`), by way of /etc/hosts and DNS
//! (`resolver`), and what was learned last is kept for whoever builds a pool of it.
//!
//! Nothing here is on a request's way, and nothing here knows pools: it is told which names are wanted, and tells when an
//! answer has changed. An answer outlives the failures of DNS for as long as the settings say.

mod names;
mod resolver;

pub use names::{Answers, Counts, Names, Standing};
