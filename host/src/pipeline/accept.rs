//! The first step: a new connection passes the listener's gate and goes to the worker that has the fewest.
//!
//! One listening socket an address with a hand-off, rather than SO_REUSEPORT: the kernel's spread of 100 connections was
//! uneven, and a socket that closes takes its queue with it.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use super::gate::{Gate, Pass};
use super::workers::WorkerHandle;
use crate::net::accept::Accept;
use crate::net::{self, Accepted, Listening, shortage};

/// Accepts for the gate's listener, until the future is dropped. What waits in the socket's queue then is not lost as long as
/// the socket stays open.
pub async fn accept(socket: Listening, gate: Gate, workers: Vec<WorkerHandle>) {
    let listener = gate.listener().clone();
    let door = Door {
        socket,
        gate,
        waited: false,
        workers: workers.clone(),
    };
    net::accept::accept(door, &listener, |(stream, pass)| {
        let Some(worker) = least_loaded(&workers) else {
            return;
        };
        worker.connection(stream, listener.clone(), pass);
    })
    .await;
}

fn least_loaded(workers: &[WorkerHandle]) -> Option<&WorkerHandle> {
    workers.iter().min_by_key(|worker| worker.connections())
}

/// A listening socket behind its listener's gate.
struct Door {
    socket: Listening,
    gate: Gate,
    /// The gate had no room when it was last asked.
    waited: bool,
    workers: Vec<WorkerHandle>,
}

impl Accept for Door {
    type Connection = (Accepted, Pass);

    async fn accept(&mut self) -> io::Result<Self::Connection> {
        let accepted = poll_fn(|cx| self.poll_accept(cx)).await;
        // What nobody uses makes room for who is waiting.
        if accepted.as_ref().is_err_and(shortage::is_ours) {
            self.workers.iter().for_each(WorkerHandle::let_go_of_idle);
        }
        accepted
    }
}

impl Door {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Accepted, Pass)>> {
        loop {
            let Door {
                socket,
                gate,
                waited,
                ..
            } = self;
            let entered = gate.poll_enter(cx, waited, |cx| socket.poll_accept(cx));
            match ready!(entered)? {
                (stream, Some(pass)) => return Poll::Ready(Ok((stream, pass))),
                (stream, None) => stream.refuse(),
            }
        }
    }
}
