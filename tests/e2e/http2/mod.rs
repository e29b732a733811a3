//! HTTP/2 with clients and with servers: what it passes on, what it refuses, its bounds, and what rides on it.

mod clients;
mod floods;
mod grpc;
mod leaving;
mod servers;
mod streams;
mod strict;
mod violations;
mod websocket;

use tidegate_tests::{Proxy, python};

/// Runs a script against the listener `web`; `c` is a client of HTTP/2 that sends frames one by one.
#[track_caller]
fn frames(proxy: &Proxy, script: &str) -> String {
    let address = proxy.address("web").to_string();
    let opening = "import sys, time\nfrom frames import *\nc = Client(sys.argv[1])\n";
    python(&(opening.to_owned() + script), &[&address])
}
