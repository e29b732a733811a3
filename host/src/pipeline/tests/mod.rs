//! The whole data path over sockets on 127.0.0.1: workers with closures for plugins, origins that say exactly what a test
//! wants said, and clients that see every byte.

mod bodies;
mod breaking;
mod client;
mod closing;
mod events;
mod filters;
mod heads;
mod limits;
mod origin;
mod plain;
mod servers;
mod setup;
mod sticking;
mod tcp;
mod timeouts;
mod upgrade;

use client::Client;
use origin::Origin;
use setup::{Proxy, Setup};

/// No test waits longer for anything.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// `future`, or a panic that tells what was waited for.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}
