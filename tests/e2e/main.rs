//! End-to-end tests: the built binary between real origins and real clients, told as short stories. One test binary, so that
//! the proxy's crates are linked once; a module a topic.

mod admin;
mod authoring;
mod balancing;
mod check;
mod databases;
mod examples;
mod faults;
mod fetching;
mod filters;
mod first_run;
mod forwarding;
mod leaving;
mod limits;
mod logs;
mod misbehaving;
mod passthrough;
mod plugin_cli;
mod proxy_protocol;
mod readme;
mod reload;
mod routing;
mod swap;
mod tcp;
mod unix;
