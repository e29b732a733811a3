//! Accepting connections until told to stop, and through times when the process has no file descriptor left.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

/// First pause when the system is out of something; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A source of connections: a listening socket, or a test's.
pub trait Accept {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for tokio::net::TcpListener {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        tokio::net::TcpListener::accept(self)
    }
}

/// Gives each connection to `take`, until the future is dropped. A connection that broke before it was accepted is passed
/// over; when descriptors or memory run out (EMFILE, ENFILE, ENOBUFS, ENOMEM) it pauses, with one log line a burst: a tight
/// loop would take the very CPU that is needed to end other connections.
pub async fn accept<A: Accept>(socket: &A, listener: &str, mut take: impl FnMut(TcpStream)) {
    let mut pause = FIRST_PAUSE;
    let mut failed = 0_u64;
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                if failed > 0 {
                    tracing::info!(listener, failed, "accepting connections again");
                    (pause, failed) = (FIRST_PAUSE, 0);
                }
                take(stream);
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
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    /// Fails as often as told, then hands out the connections it has, then waits for ever.
    struct Scripted {
        failures: AtomicUsize,
        connections: Mutex<Vec<TcpStream>>,
    }

    impl Accept for Scripted {
        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            let left = self
                .failures
                .fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
            if left.is_ok() {
                return Err(io::Error::from_raw_os_error(24)); // EMFILE
            }
            let next = self.connections.lock().unwrap().pop();
            match next {
                Some(stream) => {
                    let peer = stream.peer_addr()?;
                    Ok((stream, peer))
                }
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test]
    async fn it_pauses_while_descriptors_are_out_and_then_goes_on() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let source = Scripted {
            failures: AtomicUsize::new(3),
            connections: Mutex::new(vec![stream]),
        };
        let begun = std::time::Instant::now();
        let (took, mut taken) = tokio::sync::mpsc::unbounded_channel();
        let accepting = accept(&source, "web", |stream| took.send(stream).unwrap());
        tokio::select! {
            () = accepting => unreachable!("it goes on until dropped"),
            stream = taken.recv() => assert!(stream.is_some()),
        }
        assert_eq!(source.failures.load(Relaxed), 0);
        assert!(
            begun.elapsed() >= FIRST_PAUSE * 7,
            "three failures cost three growing pauses"
        );
    }
}
