//! Connections to servers of HTTP/2: by address, on one worker, each shared by as many requests as the server takes at a time.
//! One is enough until that number is reached; then another is opened.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::client::Connection;
use super::conn::{Conn, Grant, Host};
use super::frame::Reason;
use super::request;
use super::stream;
use crate::http::by_address::ByAddress;
use crate::http::idle::IDLE_TICKS;
use crate::http::server::Unreadable;
use crate::net::Stream;

/// Requests at a time on one connection, however many more the server would take.
const MOST_STREAMS: usize = 128;

/// Bytes of an answer that wait for a client. A client that does not read holds up its own stream: the connection's window is
/// that of all its streams.
const WINDOW: u32 = 128 << 10;

/// Bytes of a header list, as HPACK counts them.
const LARGEST_HEAD: usize = 128 << 10;

/// A connection on which nothing at all has come for so long, while an answer was awaited, may be dead.
const SILENCE: Duration = Duration::from_secs(1);

/// The connections to one address.
#[derive(Default)]
pub struct Mux {
    list: RefCell<Vec<Rc<Shared>>>,
    /// Somebody opens one; the others wait for it.
    opening: Cell<bool>,
    opened: Notify,
    /// How often what was reached spoke no HTTP/2.
    odd: Cell<u64>,
}

/// A connection.
struct Shared {
    conn: Rc<Conn>,
    active: Cell<usize>,
    /// It is given no more requests.
    closed: Cell<bool>,
    secure: bool,
    /// The tick of its last use.
    used: Cell<u32>,
}

/// A request's place on its connection.
pub(super) struct Place {
    shared: Rc<Shared>,
    pub stream: Option<Rc<stream::Stream>>,
    began: Instant,
    read: u64,
    answered: bool,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum NoConnection<E> {
    Dial(E),
    /// What was reached does not speak HTTP/2.
    Handshake(io::Error),
}

thread_local! {
    static KNOWN: ByAddress<Mux> = ByAddress::default();
}

/// This worker's connections to that address.
pub fn to(address: &Rc<str>) -> Rc<Mux> {
    KNOWN.with(|known| known.to(address))
}

/// Called about once a second on each worker: closes what has been idle for too long.
pub fn sweep() {
    KNOWN.with(|known| {
        known.sweep(|mux, tick| {
            mux.list
                .borrow_mut()
                .retain(|shared| shared.is_of_use(tick))
        });
    });
}

/// Closes those of this worker that carry nothing, for want of what they hold.
pub fn let_go() {
    let busy = |shared: &Rc<Shared>| shared.active.get() > 0;
    KNOWN.with(|known| known.each(|mux| mux.list.borrow_mut().retain(busy)));
}

fn now() -> u32 {
    // Of a worker that ends nobody asks.
    KNOWN.try_with(ByAddress::tick).unwrap_or_default()
}

impl Mux {
    /// A place on a connection that is there, or on one that is opened over what `dial` gives. Without a deadline: the caller
    /// has one.
    pub async fn take<E>(
        &self,
        dial: impl AsyncFnOnce() -> Result<Stream, E>,
    ) -> Result<Connection, NoConnection<E>> {
        loop {
            if let Some(connection) = self.free() {
                return Ok(connection);
            }
            if !self.opening.replace(true) {
                let _opening = Opening(self);
                let socket = dial().await.map_err(NoConnection::Dial)?;
                let shared = match open(socket).await {
                    Ok(shared) => shared,
                    Err(error) => {
                        self.odd.set(self.odd.get() + 1);
                        return Err(NoConnection::Handshake(error));
                    }
                };
                let connection = shared.place();
                self.list.borrow_mut().push(shared);
                return Ok(connection);
            }
            let before = self.odd.get();
            self.opened.notified().await;
            // One after the other they would find out too late, and take it for silence.
            if self.odd.get() != before {
                return Err(NoConnection::Handshake(io::Error::other(
                    "as another request found",
                )));
            }
        }
    }

    fn free(&self) -> Option<Connection> {
        let mut list = self.list.borrow_mut();
        list.retain(|shared| !shared.is_closed());
        let shared = list.iter().find(|shared| shared.has_room())?;
        Some(shared.place())
    }
}

/// However it ends, others may go on.
struct Opening<'a>(&'a Mux);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.opened.notify_waiters();
    }
}

/// Until the server has said what it takes, which shows that it speaks HTTP/2 too.
async fn open(socket: Stream) -> io::Result<Rc<Shared>> {
    let secure = matches!(socket, Stream::Layered(_));
    let conn = Conn::of_server(
        socket,
        Grant {
            window: WINDOW,
            window_of_all: WINDOW * MOST_STREAMS as u32,
            streams: 0,
            most_head: LARGEST_HEAD,
        },
    );
    poll_fn(|cx| match conn.poll(&Nobody, cx) {
        Poll::Ready(()) => Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof))),
        Poll::Pending if conn.is_settled() => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    let owned = conn.clone();
    // It ends with its last stream, once nobody has a place on it.
    tokio::task::spawn_local(async move { poll_fn(|cx| owned.poll(&Nobody, cx)).await });
    Ok(Rc::new(Shared {
        conn,
        active: Cell::new(0),
        closed: Cell::new(false),
        secure,
        used: Cell::new(now()),
    }))
}

/// A server begins nothing.
struct Nobody;

impl Host for Nobody {
    fn begin(&self, _: Rc<stream::Stream>, _: Result<request::Read, Unreadable>) {}

    fn fails(&self, reason: Reason) {
        tracing::debug!(?reason, "a server breaks the protocol of HTTP/2");
    }
}

impl Shared {
    fn place(self: &Rc<Self>) -> Connection {
        self.active.set(self.active.get() + 1);
        self.used.set(now());
        Connection {
            conn: self.conn.clone(),
            place: Place {
                shared: self.clone(),
                stream: None,
                began: Instant::now(),
                read: self.conn.bytes_read(),
                answered: false,
            },
            secure: self.secure,
        }
    }

    fn has_room(&self) -> bool {
        self.active.get() < self.conn.peers_streams().min(MOST_STREAMS)
    }

    /// By either side, or about to be.
    fn is_closed(&self) -> bool {
        self.closed.get() || self.conn.is_closed()
    }

    fn is_of_use(&self, tick: u32) -> bool {
        let idle = self.active.get() == 0;
        !self.is_closed() && (!idle || tick.wrapping_sub(self.used.get()) < IDLE_TICKS)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.conn.retire();
    }
}

impl Place {
    /// The server has answered.
    pub fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let shared = &self.shared;
        if let Some(stream) = self.stream.take() {
            shared.conn.forget(&stream, Reason::CANCEL);
        }
        shared.active.set(shared.active.get() - 1);
        shared.used.set(now());
        let silent = shared.conn.bytes_read() == self.read && self.began.elapsed() > SILENCE;
        if silent && !self.answered {
            shared.closed.set(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::Future;
    use std::net::SocketAddr;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    /// What a server that takes two streams at a time has seen.
    #[derive(Default)]
    struct Server {
        accepted: Cell<usize>,
        closed: Cell<usize>,
    }

    async fn serve(listener: TcpListener, server: Rc<Server>) {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            server.accepted.set(server.accepted.get() + 1);
            let server = server.clone();
            tokio::task::spawn_local(async move {
                let mut builder = h2::server::Builder::new();
                let handshake = builder.max_concurrent_streams(2).handshake(socket);
                let mut connection: h2::server::Connection<_, bytes::Bytes> =
                    handshake.await.unwrap();
                while connection.accept().await.is_some() {}
                server.closed.set(server.closed.get() + 1);
            });
        }
    }

    /// Runs on a worker's kind of runtime.
    fn with_server<F: Future<Output = ()>>(test: impl FnOnce(SocketAddr, Rc<Server>) -> F) {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (address, server) = (listener.local_addr().unwrap(), Rc::<Server>::default());
            tokio::task::spawn_local(serve(listener, server.clone()));
            test(address, server).await;
        });
    }

    async fn take(mux: &Mux, address: SocketAddr) -> Connection {
        let dial = async || Ok::<_, Infallible>(TcpStream::connect(address).await.unwrap().into());
        mux.take(dial).await.unwrap()
    }

    #[test]
    fn a_connection_is_shared_until_it_is_full() {
        with_server(|address, server| async move {
            let mux = Mux::default();
            let (first, second) = tokio::join!(take(&mux, address), take(&mux, address));
            assert_eq!(server.accepted.get(), 1, "who waits shares what is opened");
            let third = take(&mux, address).await;
            assert_eq!(server.accepted.get(), 2);
            drop((first, second));
            let _fourth = take(&mux, address).await;
            assert_eq!(server.accepted.get(), 2);
            drop(third);
        });
    }

    #[test]
    fn what_speaks_something_else_is_found_out_once() {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (mux, dialled) = (Mux::default(), Cell::new(0));
            let dial = async || {
                dialled.set(dialled.get() + 1);
                let stream = TcpStream::connect(listener.local_addr().unwrap()).await;
                let (mut peer, _) = listener.accept().await.unwrap();
                peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    .await
                    .unwrap();
                Ok::<_, Infallible>(stream.unwrap().into())
            };
            let both = tokio::join!(mux.take(dial), mux.take(dial));
            assert!(matches!(
                (both.0.err(), both.1.err()),
                (
                    Some(NoConnection::Handshake(_)),
                    Some(NoConnection::Handshake(_))
                )
            ));
            assert_eq!(dialled.get(), 1);
        });
    }

    #[test]
    fn what_is_idle_for_too_long_is_closed() {
        with_server(|address, server| async move {
            let mux = to(&"a:1".into());
            let busy = take(&mux, address).await;
            (0..=IDLE_TICKS).for_each(|_| sweep());
            assert_eq!(mux.list.borrow().len(), 1, "a request is under way");
            drop(busy);
            (1..IDLE_TICKS).for_each(|_| sweep());
            assert_eq!(mux.list.borrow().len(), 1);
            sweep();
            assert_eq!(mux.list.borrow().len(), 0);
            while server.closed.get() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
}
