//! A client's connection: frames are read and written, each stream becomes a task of its own, and the connection ends when it is
//! to end. It holds the client to its bounds: streams at a time, header lists, windows, floods (`flood`).
//!
//! Its `Link` is the connection's alone: how it is to close, and how long it may be without a stream. Each stream has one of its
//! own, for its phases, its deadlines and its counters.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Settings;
use super::conn::{Conn, Grant, Host};
use super::exchange;
use super::flood::Resets;
use super::frame::Reason;
use super::request;
use super::stream::Stream;
use crate::base::event::Silence;
use crate::http::link::{Blame, Closing, Link, Phase};
use crate::http::server::{Service, Unreadable};
use crate::http::timers;
use crate::net;

/// For a client to see that we are going, once nothing is under way.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes that a connection's streams together may send before we ask for more, at most: a stream that nobody reads holds up no
/// other, unless they are very many.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// What a connection and its streams share.
pub(super) struct Shared<S> {
    pub service: S,
    pub link: Rc<Link>,
    conn: Rc<Conn>,
    /// By their ids, which grow.
    streams: RefCell<Vec<(u32, Rc<Link>)>>,
    resets: RefCell<Resets>,
    /// It has reset too many.
    flood: Cell<bool>,
    /// It takes no more requests.
    leaving: Cell<bool>,
}

/// Serves a connection until it ends; `first` was read of it already.
pub async fn serve<S: Service + 'static>(
    socket: net::Stream,
    first: Vec<u8>,
    link: Rc<Link>,
    service: S,
    settings: Settings,
) {
    link.take_head_began();
    link.enter(Phase::Head, link.limits().head);
    let window_of_all = settings.window.saturating_mul(settings.max_streams);
    let grant = Grant {
        window: settings.window,
        window_of_all: window_of_all.min(CONNECTION_WINDOW).max(settings.window),
        streams: settings.max_streams,
        most_head: link.limits().most_head,
    };
    let conn = Conn::of_client(socket, grant);
    let shared = Rc::new(Shared {
        service,
        link,
        conn: conn.clone(),
        streams: RefCell::default(),
        resets: RefCell::new(Resets::new(timers::now())),
        flood: Cell::new(false),
        leaving: Cell::new(false),
    });
    conn.hear(&first, &shared);
    drop(first);
    poll_fn(|cx| poll(&conn, &shared, cx)).await;
    conn.abandon();
}

fn poll<S: Service + 'static>(
    conn: &Rc<Conn>,
    shared: &Rc<Shared<S>>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let link = &shared.link;
    link.owner(cx.waker());
    loop {
        if conn.poll(shared, cx).is_ready() {
            return Poll::Ready(());
        }
        if link.closing() == Closing::Cut {
            shared.cut();
            return Poll::Ready(());
        }
        if shared.flood.take() && conn.fail(Reason::ENHANCE_YOUR_CALM) {
            shared.fails(Reason::ENHANCE_YOUR_CALM);
            continue;
        }
        if link.closing() == Closing::WhenIdle && !shared.leave() {
            // One that has not so much as begun has nothing to be told.
            if !conn.is_settled() {
                return Poll::Ready(());
            }
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
                if !conn.is_settled() {
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl<S: Service + 'static> Host for Rc<Shared<S>> {
    fn begin(&self, stream: Rc<Stream>, request: Result<request::Read, Unreadable>) {
        exchange::spawn(self, stream, request);
    }

    fn fails(&self, reason: Reason) {
        tracing::debug!(?reason, "a client breaks the protocol of HTTP/2");
        if reason == Reason::ENHANCE_YOUR_CALM {
            self.blame(Blame::Flood);
            self.service.was_flooding(&self.link);
        }
    }
}

impl<S> Shared<S> {
    /// A stream has begun.
    pub fn enter(&self, id: u32, stream: &Rc<Link>) {
        self.streams.borrow_mut().push((id, stream.clone()));
        self.link.enter(Phase::Busy, Duration::ZERO);
    }

    /// It has ended; `by_reset`: by the client, before it was answered.
    pub fn ended(&self, id: u32, by_reset: bool) {
        let mut streams = self.streams.borrow_mut();
        if let Ok(at) = streams.binary_search_by_key(&id, |(id, _)| *id) {
            streams.remove(at);
        }
        drop(streams);
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
        if !before {
            self.conn.leave();
            if self.streams.borrow().is_empty() {
                self.wait();
            }
        }
        before
    }

    /// Of its streams, and of itself.
    fn blame(&self, whom: Blame) {
        let streams = self.streams.borrow();
        let all = streams.iter().map(|(_, link)| link).chain([&self.link]);
        all.for_each(|link| link.blame(whom));
    }

    fn cut(&self) {
        self.blame(Blame::Operator);
        for (_, stream) in self.streams.borrow().iter() {
            stream.close(Closing::Cut);
        }
    }
}
