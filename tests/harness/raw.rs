//! A server of bare bytes, on a port or a Unix socket: what it does with a connection is a function.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Its threads wait for their clients, and end with the test's process at the latest.
pub struct Raw {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Raw {
    /// Calls `serve` for each connection, on a thread of its own; Err ends it as Ok does.
    pub fn serving(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Raw {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let accepted = Arc::<AtomicUsize>::default();
        let (count, serve) = (accepted.clone(), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let serve = serve.clone();
                thread::spawn(move || serve(stream));
            }
        });
        Raw { address, accepted }
    }

    /// The same at a Unix socket of that path.
    pub fn at(path: &Path, serve: impl Fn(UnixStream) -> io::Result<()> + Send + Sync + 'static) {
        let listener = UnixListener::bind(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = serve.clone();
                thread::spawn(move || serve(stream));
            }
        });
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}
