//! The first step: a new connection goes to the worker that has the fewest.
//!
//! One listening socket an address with a hand-off, rather than SO_REUSEPORT: the kernel's spread of 100 connections was
//! uneven, and a socket that closes takes its queue with it.

use std::sync::Arc;

use tokio::net::TcpListener;

use super::workers::WorkerHandle;
use crate::net;

/// Accepts for the listener of that name, until the future is dropped. What waits in the socket's queue then is not lost as
/// long as the socket stays open.
pub async fn accept(socket: Arc<TcpListener>, listener: Arc<str>, workers: Vec<WorkerHandle>) {
    net::accept::accept(&*socket, &listener, |stream| {
        let Some(worker) = least_loaded(&workers) else {
            return;
        };
        match stream.into_std() {
            Ok(stream) => worker.connection(stream, listener.clone()),
            Err(error) => tracing::debug!(%error, "an accepted connection was lost"),
        }
    })
    .await;
}

fn least_loaded(workers: &[WorkerHandle]) -> Option<&WorkerHandle> {
    workers.iter().min_by_key(|worker| worker.connections())
}
