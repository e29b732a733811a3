//! End-to-end tests: the built binary between real origins and real clients, told as short stories. One test binary, so that
//! the proxy's crates are linked once; a module a topic.

mod access;
mod admin;
mod authoring;
mod balancing;
mod bodies;
mod check;
mod dashboard;
mod examples;
mod faults;
mod fetching;
mod filters;
mod first_run;
mod forwarding;
mod health;
mod http2;
mod leaving;
mod limits;
mod logs;
mod misbehaving;
mod monitoring;
mod pair;
mod plugin_cli;
mod rate;
mod readme;
mod reload;
mod routing;
mod service;
mod sticking;
mod swap;
mod tls_in;
mod tls_out;
mod tokens;
