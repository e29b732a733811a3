//! Connections to servers that wait for their next request: by address, on one worker.
//!
//! They belong to the thread, so that taking one costs no lock and the answer needs no wake-up of another core. They are kept
//! by address, not by pool or generation: to a server, one connection of ours is as good as another.

use std::cell::RefCell;
use std::rc::Rc;

use super::by_address::ByAddress;
use super::client::Connection;

/// Most idle connections to one address on one worker; a further one is closed. More than as many clients keep a worker busy, so that
/// none is closed only to be opened again; what they hold is let go of after a while, and at once where files are short.
pub const MOST_IDLE: usize = 1_024;

/// Ticks (of about a second, see [`sweep`]) after which an idle connection is closed. Below what most servers wait
/// (nginx 75 s, Apache 5 s, Node 5 s: where theirs is shorter they close first, and that is noticed).
pub const IDLE_TICKS: u32 = 30;

/// The idle connections to one address, the one used last at the end: the others may grow old in peace.
#[derive(Default)]
pub struct Idle {
    list: RefCell<Vec<(Connection, u32)>>,
}

thread_local! {
    static KNOWN: ByAddress<Idle> = ByAddress::default();
}

/// This worker's idle connections to that address.
pub fn to(address: &Rc<str>) -> Rc<Idle> {
    KNOWN.with(|known| known.to(address))
}

/// Called about once a second on each worker: closes what has been idle for too long.
pub fn sweep() {
    KNOWN.with(|known| {
        known.sweep(|idle, tick| {
            let mut list = idle.list.borrow_mut();
            list.retain(|(_, since)| tick.wrapping_sub(*since) < IDLE_TICKS);
        });
    });
}

/// Closes all of them on this worker, for want of what they hold. Answers how many there were.
pub fn let_go() -> usize {
    let mut closed = 0;
    KNOWN.with(|known| known.each(|idle| closed += idle.list.take().len()));
    closed
}

fn now() -> u32 {
    // Of a worker that ends nobody asks.
    KNOWN.try_with(ByAddress::tick).unwrap_or_default()
}

impl Idle {
    /// A connection that, as far as is known, can take a request.
    pub fn take(&self) -> Option<Connection> {
        let mut list = self.list.borrow_mut();
        while let Some((connection, _)) = list.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    pub(super) fn put(&self, connection: Connection) {
        self.put_within(connection, MOST_IDLE);
    }

    fn put_within(&self, connection: Connection, most: usize) {
        let mut list = self.list.borrow_mut();
        if list.len() < most {
            list.push((connection, now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    /// Runs on a worker's kind of runtime, with connections to a server that says nothing.
    fn with_connections<F: Future<Output = ()>>(
        count: usize,
        test: impl FnOnce(Vec<Connection>) -> F,
    ) {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut connections = Vec::new();
            let mut accepted = Vec::new();
            for _ in 0..count {
                let socket = TcpStream::connect(listener.local_addr().unwrap())
                    .await
                    .unwrap();
                accepted.push(listener.accept().await.unwrap());
                connections.push(Connection::open(socket));
            }
            test(connections).await;
        });
    }

    #[test]
    fn a_connection_comes_back_and_is_taken_again() {
        with_connections(1, |connections| async {
            let home = to(&"a:1".into());
            for connection in connections {
                home.put(connection);
            }
            assert!(to(&"b:1".into()).take().is_none());
            assert!(to(&"a:1".into()).take().is_some());
            assert!(home.take().is_none());
        });
    }

    #[test]
    fn what_is_idle_for_too_long_is_closed() {
        with_connections(1, |connections| async {
            let home = to(&"a:1".into());
            connections
                .into_iter()
                .for_each(|connection| home.put(connection));
            (1..IDLE_TICKS).for_each(|_| sweep());
            assert_eq!(home.list.borrow().len(), 1);
            sweep();
            assert_eq!(home.list.borrow().len(), 0);
        });
    }

    #[test]
    fn they_are_let_go_of_for_want_of_files() {
        with_connections(3, |connections| async {
            let homes = [to(&"a:1".into()), to(&"b:1".into())];
            for (at, connection) in connections.into_iter().enumerate() {
                homes[at % 2].put(connection);
            }
            assert_eq!(let_go(), 3);
            assert_eq!(let_go(), 0);
            assert!(homes.iter().all(|home| home.take().is_none()));
        });
    }

    #[test]
    fn their_number_is_bounded() {
        with_connections(5, |connections| async {
            let home = to(&"a:1".into());
            connections
                .into_iter()
                .for_each(|connection| home.put_within(connection, 2));
            assert_eq!(home.list.borrow().len(), 2);
        });
    }
}
