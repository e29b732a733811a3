//! A client's connection: frames are read and written, each stream becomes a task of its own, and the connection ends when it is
//! to end. It holds the client to its bounds: streams at a time, header lists, windows, floods (`flood`).
//!
//! Its `Link` is the connection's alone: how it is to close, and how long it may be without a stream. Each stream has one of its
//! own, for its phases, its deadlines and its counters.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::Reason;
use h2::server::{Builder, Connection};

use super::Settings;
use super::exchange;
use super::flood::Resets;
use super::io::{Io, Seen};
use super::out::Chunk;
use crate::base::event::Silence;
use crate::http::link::{Blame, Closing, Link, Phase};
use crate::http::server::Service;
use crate::http::timers;
use crate::net::Stream;

/// For a client to see that we are going, once nothing is under way.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes that a connection's streams together may send before we ask for more, at most: a stream that nobody reads holds up no
/// other, unless they are very many.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// Streams that a client may reset before we have so much as seen them (CVE-2023-44487).
const MOST_UNSEEN_RESETS: usize = 20;

/// What a connection and its streams share.
pub(super) struct Shared<S> {
    pub service: S,
    pub link: Rc<Link>,
    streams: RefCell<HashMap<u32, Rc<Link>>>,
    resets: RefCell<Resets>,
    /// It asks too much, and whether it was told so.
    flood: Cell<bool>,
    calmed: Cell<bool>,
    /// It takes no more requests.
    leaving: Cell<bool>,
}

/// Serves a connection until it ends; `first` was read of it already.
pub async fn serve<S: Service + 'static>(
    socket: Stream,
    first: Vec<u8>,
    link: Rc<Link>,
    service: S,
    settings: Settings,
) {
    let io = Io::of_client(socket, first);
    let seen = io.seen();
    link.take_head_began();
    link.enter(Phase::Head, link.limits().head);
    let handshake = builder(&link, settings).handshake::<_, Chunk>(io);
    let shared = Rc::new(Shared {
        service,
        link,
        streams: RefCell::default(),
        resets: RefCell::new(Resets::new(timers::now())),
        flood: Cell::new(false),
        calmed: Cell::new(false),
        leaving: Cell::new(false),
    });
    let mut handshake = pin!(handshake);
    let begun = poll_fn(|cx| {
        shared.link.owner(cx.waker());
        match handshake.as_mut().poll(cx) {
            Poll::Ready(Ok(connection)) => Poll::Ready(Some(connection)),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "no HTTP/2 connection came of it");
                Poll::Ready(None)
            }
            Poll::Pending if shared.link.closing() > Closing::No => Poll::Ready(None),
            Poll::Pending if shared.link.late().is_some() => {
                shared.service.was_silent(Silence::FirstRequest);
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if let Some(mut connection) = begun {
        poll_fn(|cx| poll_connection(&mut connection, &shared, &seen, cx)).await;
    }
}

/// A head is bounded as we write it down. HPACK's own count of it is larger (RFC 7541, 4.1), and what is too large for it too
/// is answered by the h2 crate, unlogged, or ends the connection.
fn builder(link: &Link, settings: Settings) -> Builder {
    let most_head = u32::try_from(link.limits().most_head).unwrap_or(u32::MAX);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(settings.max_streams)
        .initial_window_size(settings.window)
        .initial_connection_window_size(
            (settings.window.saturating_mul(settings.max_streams))
                .min(CONNECTION_WINDOW)
                .max(settings.window),
        )
        .max_header_list_size(most_head.saturating_mul(2))
        .max_pending_accept_reset_streams(MOST_UNSEEN_RESETS)
        .enable_connect_protocol();
    builder
}

fn poll_connection<S: Service + 'static>(
    connection: &mut Connection<Io, Chunk>,
    shared: &Rc<Shared<S>>,
    seen: &Seen,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let link = &shared.link;
    link.owner(cx.waker());
    loop {
        match connection.poll_accept(cx) {
            Poll::Ready(Some(Ok((request, respond)))) => {
                exchange::spawn(shared, request, respond);
                continue;
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "an HTTP/2 connection broke");
                let calm = error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
                if calm && !error.is_remote() && !shared.calmed.get() {
                    shared.blame(Blame::Flood);
                    shared.service.was_flooding(link);
                }
                return Poll::Ready(());
            }
            Poll::Ready(None) => return Poll::Ready(()),
            Poll::Pending => {}
        }
        if link.closing() == Closing::Cut {
            shared.cut();
            return Poll::Ready(());
        }
        let flood = seen.flood.get() || shared.flood.get();
        if flood && !shared.calmed.replace(true) {
            shared.blame(Blame::Flood);
            shared.service.was_flooding(link);
            shared.leave();
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            continue;
        }
        if link.closing() == Closing::WhenIdle && !shared.leave() {
            connection.graceful_shutdown();
            continue;
        }
        match link.late() {
            None => return Poll::Pending,
            // Told that we are going, it has not gone.
            Some(_) if shared.leave() => return Poll::Ready(()),
            Some(phase) => {
                shared.service.was_silent(match phase {
                    Phase::Idle => Silence::NextRequest,
                    _ => Silence::FirstRequest,
                });
                connection.graceful_shutdown();
            }
        }
    }
}

impl<S> Shared<S> {
    /// A stream has begun.
    pub fn enter(&self, id: u32, stream: &Rc<Link>) {
        self.streams.borrow_mut().insert(id, stream.clone());
        self.link.enter(Phase::Busy, Duration::ZERO);
    }

    /// It has ended; `by_reset`: by the client, before it was answered.
    pub fn ended(&self, id: u32, by_reset: bool) {
        self.streams.borrow_mut().remove(&id);
        if !self.resets.borrow_mut().ended(by_reset, timers::now()) {
            self.flood.set(true);
            self.link.wake();
        }
        if self.streams.borrow().is_empty() {
            self.wait();
        }
    }

    /// For the next stream, or for the client to go.
    fn wait(&self) {
        let at_most = if self.leaving.get() {
            LINGER
        } else {
            self.link.limits().idle
        };
        self.link.enter(Phase::Idle, at_most);
    }

    /// No more requests are taken from now on. True: that was so before.
    fn leave(&self) -> bool {
        let before = self.leaving.replace(true);
        if !before && self.streams.borrow().is_empty() {
            self.wait();
        }
        before
    }

    /// Of its streams, and of itself.
    fn blame(&self, whom: Blame) {
        let streams = self.streams.borrow();
        let all = streams.values().chain([&self.link]);
        all.for_each(|link| link.blame(whom));
    }

    fn cut(&self) {
        self.blame(Blame::Operator);
        for stream in self.streams.borrow().values() {
            stream.close(Closing::Cut);
        }
    }
}
