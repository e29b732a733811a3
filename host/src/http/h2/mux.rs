//! Connections to servers of HTTP/2: by address, on one worker, each shared by as many requests as the server takes at a time.
//! One is enough until that number is reached; then another is opened.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use h2::client::{Builder, SendRequest};
use tokio::sync::Notify;

use super::client::Connection;
use super::io::{Io, Seen};
use super::out::Chunk;
use crate::http::by_address::ByAddress;
use crate::http::idle::IDLE_TICKS;
use crate::net::Stream;

/// Requests at a time on one connection, however many more the server would take.
const MOST_STREAMS: usize = 128;

/// Bytes of an answer that wait for a client. A client that does not read holds up its own stream: the connection's window is
/// that of all its streams.
const WINDOW: u32 = 128 << 10;

/// Bytes of a header list, as HPACK counts them.
const LARGEST_HEAD: u32 = 128 << 10;

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
    sender: SendRequest<Chunk>,
    active: Cell<usize>,
    /// It takes no more requests.
    closed: Cell<bool>,
    seen: Rc<Seen>,
    secure: bool,
    /// The tick of its last use.
    used: Cell<u32>,
}

/// A request's place on its connection.
pub(super) struct Place {
    shared: Rc<Shared>,
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
        // Only the one that is taken is asked whether it is open: the h2 crate has a lock around that.
        while let Some(at) = list.iter().position(|shared| shared.has_room()) {
            if !list[at].is_closed() {
                return Some(list[at].place());
            }
            list.remove(at);
        }
        None
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
    let io = Io::of_server(socket);
    let seen = io.seen();
    let handshake = Builder::new()
        .enable_push(false)
        .initial_max_send_streams(0)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * MOST_STREAMS as u32)
        .max_header_list_size(LARGEST_HEAD)
        .handshake::<_, Chunk>(io);
    let (sender, mut connection) = handshake.await.map_err(io::Error::other)?;
    poll_fn(|cx| match pin!(&mut connection).poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Err(ended
            .err()
            .map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other))),
        Poll::Pending if sender.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    let shared = Rc::new(Shared {
        sender,
        active: Cell::new(0),
        closed: Cell::new(false),
        seen,
        secure,
        used: Cell::new(now()),
    });
    let weak = Rc::downgrade(&shared);
    // It ends with its last stream and its last sender.
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a server broke");
        }
        if let Some(shared) = weak.upgrade() {
            shared.closed.set(true);
        }
    });
    Ok(shared)
}

impl Shared {
    fn place(self: &Rc<Self>) -> Connection {
        self.active.set(self.active.get() + 1);
        self.used.set(now());
        Connection {
            sender: self.sender.clone(),
            place: Place {
                shared: self.clone(),
                began: Instant::now(),
                read: self.seen.read.get(),
                answered: false,
            },
            secure: self.secure,
        }
    }

    fn has_room(&self) -> bool {
        !self.closed.get()
            && self.active.get() < self.sender.current_max_send_streams().min(MOST_STREAMS)
    }

    /// By either side, or about to be.
    fn is_closed(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.closed.get() || matches!(self.sender.clone().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    fn is_of_use(&self, tick: u32) -> bool {
        let idle = self.active.get() == 0;
        !self.is_closed() && (!idle || tick.wrapping_sub(self.used.get()) < IDLE_TICKS)
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
        shared.active.set(shared.active.get() - 1);
        shared.used.set(now());
        let silent = shared.seen.read.get() == self.read && self.began.elapsed() > SILENCE;
        if silent && !self.answered {
            shared.closed.set(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
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
                let mut connection: h2::server::Connection<_, Chunk> = handshake.await.unwrap();
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
