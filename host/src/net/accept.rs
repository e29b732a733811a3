//! Accepting connections until told to stop, and through times when the process has no file descriptor left.

use std::future::Future;
use std::io;
use std::time::Duration;

/// First pause when the system is out of something; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A source of connections: a listening socket with a gate before it, or a test's.
pub trait Accept {
    type Connection;
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

/// Gives each connection to `take`, until the future is dropped. A connection that broke before it was accepted is passed
/// over; when descriptors or memory run out (EMFILE, ENFILE, ENOBUFS, ENOMEM) it pauses, with one log line a burst: a tight
/// loop would take the very CPU that is needed to end other connections.
pub async fn accept<A: Accept>(mut source: A, listener: &str, mut take: impl FnMut(A::Connection)) {
    let mut pause = FIRST_PAUSE;
    let mut failed = 0_u64;
    loop {
        match source.accept().await {
            Ok(connection) => {
                if failed > 0 {
                    tracing::info!(listener, failed, "accepting connections again");
                    (pause, failed) = (FIRST_PAUSE, 0);
                }
                take(connection);
            }
            Err(error) if only_this_connection(&error) => {}
            Err(error) => {
                failed += 1;
                if failed == 1 {
                    tracing::error!(
                        listener, %error,
                        "cannot accept connections; raise the limit of open files (`ulimit -n`) if it is that"
                    );
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
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
