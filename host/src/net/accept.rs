//! Accepting connections until told to stop, and through times when the process has no file descriptor left.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::base::burst::Burst;

/// First pause when the system is out of something; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A source of connections: a listening socket with a gate before it, or a test's.
pub trait Accept {
    type Connection;
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

/// Gives each connection to `take`, until the future is dropped.
pub async fn accept<A: Accept>(mut source: A, listener: &str, mut take: impl FnMut(A::Connection)) {
    let mut outage = Outage::default();
    loop {
        take(next(&mut source, listener, &mut outage).await);
    }
}

/// The next connection. One that broke before it was accepted is passed over; when descriptors or memory run out (EMFILE, ENFILE,
/// ENOBUFS, ENOMEM) it pauses, with one log line a burst: a tight loop would take the very CPU that is needed to end other connections,
/// and at the limit one connection in two may find a place.
pub async fn next<A: Accept>(source: &mut A, listener: &str, outage: &mut Outage) -> A::Connection {
    loop {
        match source.accept().await {
            Ok(connection) => {
                if let Some(failed) = outage.over() {
                    tracing::info!(listener, failed, "accepting connections again");
                }
                return connection;
            }
            Err(error) if only_this_connection(&error) => {}
            Err(error) => {
                if outage.goes_on(Instant::now()) {
                    tracing::error!(
                        listener, %error,
                        "cannot accept connections; raise the limit of open files (`ulimit -n`) if it is that"
                    );
                }
                tokio::time::sleep(outage.pause()).await;
            }
        }
    }
}

impl Accept for TcpListener {
    type Connection = (TcpStream, SocketAddr);

    async fn accept(&mut self) -> io::Result<Self::Connection> {
        TcpListener::accept(self).await
    }
}

impl Accept for UnixListener {
    type Connection = UnixStream;

    async fn accept(&mut self) -> io::Result<UnixStream> {
        UnixListener::accept(self).await.map(|(stream, _)| stream)
    }
}

/// A time in which nothing can be accepted, or now and then only.
#[derive(Default)]
pub struct Outage {
    /// Since it last went well.
    failed: u32,
    burst: Burst,
    /// Its beginning, and not its end.
    told: bool,
}

impl Outage {
    /// True: it begins, and is to be told of.
    fn goes_on(&mut self, now: Instant) -> bool {
        self.failed = self.failed.saturating_add(1);
        let begins = self.burst.begins(now);
        self.told |= begins;
        begins
    }

    fn pause(&self) -> Duration {
        let doubled = self.failed.saturating_sub(1).min(16);
        (FIRST_PAUSE * (1 << doubled)).min(LONGEST_PAUSE)
    }

    /// Some: how often it failed, where somebody was told so.
    fn over(&mut self) -> Option<u32> {
        let failed = std::mem::take(&mut self.failed);
        std::mem::take(&mut self.told).then_some(failed)
    }
}

/// accept(2): errors of the new connection, which Linux hands out here.
fn only_this_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | HostUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails as often as told, then hands out what it has, then waits for ever.
    struct Scripted {
        failures: usize,
        connections: Vec<&'static str>,
    }

    impl Accept for Scripted {
        type Connection = &'static str;

        async fn accept(&mut self) -> io::Result<&'static str> {
            if self.failures > 0 {
                self.failures -= 1;
                return Err(io::Error::from_raw_os_error(24)); // EMFILE
            }
            match self.connections.pop() {
                Some(connection) => Ok(connection),
                None => std::future::pending().await,
            }
        }
    }

    #[test]
    fn a_limit_that_is_met_again_and_again_is_told_of_once() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        assert_eq!(outage.over(), None);
        let told = (0..200).map(|round| {
            let now = start + Duration::from_millis(100 * round);
            let begins = u32::from(outage.goes_on(now)) + u32::from(outage.goes_on(now));
            (begins, u32::from(outage.over().is_some()))
        });
        let told = told.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert_eq!(told, (1, 1), "its beginning and its end");
        let later = start + Duration::from_secs(60);
        assert!(outage.goes_on(later) && !outage.goes_on(later));
        assert_eq!(outage.over(), Some(2));
    }

    #[tokio::test]
    async fn it_pauses_while_descriptors_are_out_and_then_goes_on() {
        let source = Scripted {
            failures: 3,
            connections: vec!["the connection"],
        };
        let begun = std::time::Instant::now();
        let (took, mut taken) = tokio::sync::mpsc::unbounded_channel();
        let accepting = accept(source, "web", |connection| took.send(connection).unwrap());
        tokio::select! {
            () = accepting => unreachable!("it goes on until dropped"),
            connection = taken.recv() => assert_eq!(connection, Some("the connection")),
        }
        assert!(
            begun.elapsed() >= FIRST_PAUSE * 7,
            "three failures cost three growing pauses"
        );
    }
}
