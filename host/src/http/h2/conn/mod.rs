//! A connection, whichever end of it we are: frames that come are given to their streams, what the streams send is gathered and
//! written in as few pieces as possible, and windows, settings and farewells are kept.
//!
//! Its owner is a task that polls it, to read, and to write what the socket did not take at once. Streams are other tasks: they
//! append to what is to be written, and whoever is first to flush writes for all.

mod heard;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::PREFACE;
use super::flood::Flood;
use super::frame::{self, LAST_STREAM, Reason, flag, setting};
use super::hpack::{Decoder, Encoder};
use super::outbox::{MOST_OUT, Outbox};
use super::reader::Reader;
use super::request;
use super::stream::{Cause, Stream};
use crate::http::h1::wire::with_scratch;
use crate::http::server::Unreadable;
use crate::http::timers;
use crate::net;

/// Bytes that wait for the socket before nothing more is read: beyond what streams may have there, they are answers to what was read.
const MOST_BEFORE_READ: usize = 4 * MOST_OUT;

/// Streams that we have reset and on which the peer may still have something under way.
const MOST_RESET: usize = 128;

/// Said with the first GOAWAY, so as to know when the client has heard it.
const FAREWELL: &[u8; 8] = b"tidegate";

/// What we grant the peer.
#[derive(Clone, Copy)]
pub(super) struct Grant {
    /// Bytes of a stream, and of all together, before it has to wait for us.
    pub window: u32,
    pub window_of_all: u32,
    /// Streams that it may open.
    pub streams: u32,
    /// Bytes of a head.
    pub most_head: usize,
}

/// Whoever has to do with what a peer begins.
pub(super) trait Host {
    /// A request has come.
    fn begin(&self, stream: Rc<Stream>, request: Result<request::Read, Unreadable>);
    /// The connection ends for what the peer did.
    fn fails(&self, reason: Reason);
}

pub(super) struct Conn {
    side: Side,
    grant: Grant,
    socket: RefCell<net::Stream>,
    reader: RefCell<Reader>,
    decoder: RefCell<Decoder>,
    out: RefCell<Outbox>,
    /// By their ids, which grow.
    streams: RefCell<Vec<Rc<Stream>>>,
    /// Of those that the peer has opened, how many are not over.
    open: Cell<usize>,
    /// The last that the peer has opened, and the last that we have.
    last_heard: Cell<u32>,
    last_own: Cell<u32>,
    reset: RefCell<VecDeque<u32>>,
    /// Bytes that the peer may send on all streams, and those that were taken since it was last told.
    granted: Cell<i64>,
    owed: Cell<u32>,
    /// What the peer has granted.
    peers_window: Cell<i64>,
    peers_streams: Cell<usize>,
    /// Its first SETTINGS were there, and it has heard of ours.
    settled: Cell<bool>,
    heard_of_ours: Cell<bool>,
    state: Cell<State>,
    /// The peer takes or makes no more requests.
    peer_goes: Cell<bool>,
    read: Cell<u64>,
    owner: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    OfClient,
    OfServer,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Open,
    /// The client was told that it is let go, and may have requests under way.
    Leaving,
    /// No request is taken any more; what is under way is finished.
    Left,
    /// It ends as soon as what is to be said is written.
    Ending,
    Over,
}

impl Conn {
    /// With a client, of whom its preface is the first that is to be read.
    pub fn of_client(socket: net::Stream, grant: Grant) -> Rc<Conn> {
        // Written down, a head is bounded; packed, it is shorter, unless somebody makes it longer.
        let reader = Reader::of_client(2 * grant.most_head, Flood::new(timers::now()));
        let conn = Conn::new(Side::OfClient, socket, grant, reader);
        conn.append(|out| {
            let most_head = u32::try_from(grant.most_head).unwrap_or(u32::MAX);
            let list = [
                (setting::MAX_CONCURRENT_STREAMS, grant.streams),
                (setting::INITIAL_WINDOW_SIZE, grant.window),
                (setting::MAX_HEADER_LIST_SIZE, most_head.saturating_mul(2)),
                (setting::ENABLE_CONNECT_PROTOCOL, 1),
            ];
            frame::settings(&list, out);
        });
        conn.open_window();
        conn
    }

    /// With a server.
    pub fn of_server(socket: net::Stream, grant: Grant) -> Rc<Conn> {
        let reader = Reader::of_server(2 * grant.most_head);
        let conn = Conn::new(Side::OfServer, socket, grant, reader);
        conn.append(|out| {
            out.extend_from_slice(PREFACE);
            let list = [
                (setting::ENABLE_PUSH, 0),
                (setting::INITIAL_WINDOW_SIZE, grant.window),
                (setting::MAX_HEADER_LIST_SIZE, grant.most_head as u32),
            ];
            frame::settings(&list, out);
        });
        conn.open_window();
        conn
    }

    fn new(side: Side, socket: net::Stream, grant: Grant, reader: Reader) -> Rc<Conn> {
        Rc::new(Conn {
            side,
            grant,
            socket: RefCell::new(socket),
            reader: RefCell::new(reader),
            decoder: RefCell::default(),
            out: RefCell::default(),
            streams: RefCell::default(),
            open: Cell::new(0),
            last_heard: Cell::new(0),
            last_own: Cell::new(0),
            reset: RefCell::default(),
            granted: Cell::new(i64::from(frame::WINDOW)),
            owed: Cell::new(0),
            peers_window: Cell::new(i64::from(frame::WINDOW)),
            peers_streams: Cell::new(match side {
                Side::OfClient => 0,
                Side::OfServer => usize::MAX,
            }),
            settled: Cell::new(false),
            heard_of_ours: Cell::new(false),
            state: Cell::new(State::Open),
            peer_goes: Cell::new(false),
            read: Cell::new(0),
            owner: RefCell::default(),
        })
    }

    /// A connection begins with a window that only an update can make larger (RFC 9113, 6.9.2).
    fn open_window(&self) {
        let more = self.grant.window_of_all.saturating_sub(frame::WINDOW);
        if more > 0 {
            self.granted.set(self.granted.get() + i64::from(more));
            self.append(|out| frame::window_update(0, more, out));
        }
    }

    /// Bytes ever read.
    pub fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// The peer has said what it takes.
    pub fn is_settled(&self) -> bool {
        self.settled.get()
    }

    /// No request can be sent on it any more.
    pub fn is_closed(&self) -> bool {
        self.state.get() > State::Open
            || self.peer_goes.get()
            || self.last_own.get() >= LAST_STREAM - 2
    }

    /// Requests that the server takes at a time.
    pub fn peers_streams(&self) -> usize {
        self.peers_streams.get()
    }

    /// Reads and writes until it is over.
    pub fn poll(self: &Rc<Self>, host: &impl Host, cx: &mut Context<'_>) -> Poll<()> {
        self.own(cx.waker());
        loop {
            let written = match self.poll_flush(cx) {
                Poll::Ready(Err(_)) => return self.over(),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            if self.state.get() >= State::Ending {
                if !written {
                    return Poll::Pending;
                }
                let _ = ready!(Pin::new(&mut *self.socket.borrow_mut()).poll_shutdown(cx));
                return self.over();
            }
            if self.is_done() {
                self.say_goodbye(Reason::NO_ERROR, State::Ending);
                continue;
            }
            if !written && self.out.borrow().pending() > MOST_BEFORE_READ {
                return Poll::Pending;
            }
            match ready!(self.poll_read(host, cx)) {
                Ok(true) => {}
                Ok(false) | Err(_) => return self.over(),
            }
        }
    }

    /// Nothing is under way, and nothing may begin any more.
    fn is_done(&self) -> bool {
        let gone = self.peer_goes.get() || self.state.get() == State::Left;
        gone && self.streams.borrow().is_empty()
    }

    fn over(&self) -> Poll<()> {
        self.abandon();
        Poll::Ready(())
    }

    /// Nobody polls it any more.
    pub fn abandon(&self) {
        self.state.set(State::Over);
        for stream in self.streams.borrow().iter() {
            stream.end(Cause::Closed);
        }
        self.out.borrow_mut().nobody_waits();
    }

    fn own(&self, waker: &Waker) {
        let mut known = self.owner.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.owner.borrow() {
            waker.wake_by_ref();
        }
    }

    /// One read. False: the peer sends nothing more.
    fn poll_read(
        self: &Rc<Self>,
        host: &impl Host,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        with_scratch(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *self.socket.borrow_mut()).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            self.hear(bytes, host);
            Poll::Ready(Ok(!bytes.is_empty()))
        })
    }

    /// Ends the connection; its streams are told once that is said. False: it ends as it is.
    pub fn fail(&self, reason: Reason) -> bool {
        let first = self.state.get() < State::Ending;
        self.say_goodbye(reason, State::Ending);
        first
    }

    /// Lets the client go: what it has sent before it hears of that is still answered.
    pub fn leave(&self) {
        if self.state.get() == State::Open {
            self.state.set(State::Leaving);
            self.append(|out| {
                frame::goaway(LAST_STREAM, Reason::NO_ERROR, out);
                frame::ping(FAREWELL, 0, out);
            });
        }
    }

    /// Nobody sends requests on it any more.
    pub fn retire(&self) {
        if self.state.get() < State::Left {
            self.state.set(State::Left);
            self.wake();
        }
    }

    fn say_goodbye(&self, reason: Reason, state: State) {
        if self.state.get() >= State::Ending {
            return;
        }
        self.state.set(state);
        let last = self.last_heard.get();
        self.append(|out| frame::goaway(last, reason, out));
    }

    /// Appends to what is to be written, and sees that it is.
    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.borrow_mut().append(write);
        self.wake();
    }

    /// Writes what is there, as far as the socket takes it now; the owner goes on with what is left.
    pub fn flush(&self) {
        let owner = self.owner.borrow();
        let Some(owner) = &*owner else { return };
        let mut cx = Context::from_waker(owner);
        if self.state.get() < State::Ending
            && let Poll::Ready(Err(_)) = self.poll_flush(&mut cx)
        {
            // Whoever reads finds out too.
            owner.wake_by_ref();
        }
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = self.socket.borrow_mut();
        let mut out = self.out.borrow_mut();
        let before = out.written;
        let flushed = loop {
            if out.pending() == 0 {
                break match socket.holds() {
                    true => Pin::new(&mut *socket).poll_flush(cx),
                    false => Poll::Ready(Ok(())),
                };
            }
            match Pin::new(&mut *socket).poll_write(cx, out.rest()) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => out.took(written),
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        let written = (out.written - before) as usize;
        if written > 0 {
            self.reader.borrow_mut().wrote(written);
            out.wake_those_who_wait();
        }
        flushed
    }

    fn open(self: &Rc<Self>, id: u32) -> Rc<Stream> {
        let (granted, window) = (i64::from(self.grant.window), self.peers_window.get());
        let stream = Stream::new(id, self, granted, window);
        self.streams.borrow_mut().push(stream.clone());
        stream
    }

    /// A stream of our own. None: there are no more to be had.
    pub fn begin(self: &Rc<Self>) -> Option<Rc<Stream>> {
        if self.is_closed() {
            return None;
        }
        let last = self.last_own.get();
        let id = if last == 0 { 1 } else { last + 2 };
        self.last_own.set(id);
        Some(self.open(id))
    }

    /// Bytes of the peer's have been used, of whatever stream.
    pub fn took(&self, bytes: usize) {
        let owed = self.owed.get() + bytes as u32;
        if owed < self.grant.window_of_all.max(frame::WINDOW) / 2 {
            return self.owed.set(owed);
        }
        self.owed.set(0);
        self.granted.set(self.granted.get() + i64::from(owed));
        self.append(|out| frame::window_update(0, owed, out));
    }

    /// The same, of this one, which may send more of them.
    pub fn took_of(&self, stream: &Stream, bytes: usize) {
        self.took(bytes);
        let owed = stream.owed.get() + bytes as u32;
        stream.owed.set(owed);
        if owed < self.grant.window / 2 || stream.peer_ended.get() || stream.cause().is_some() {
            return;
        }
        stream.owed.set(0);
        stream.granted.set(stream.granted.get() + i64::from(owed));
        self.append(|out| frame::window_update(stream.id, owed, out));
    }

    /// Resets a stream.
    pub fn reset(&self, stream: &Rc<Stream>, reason: Reason, cause: Cause) {
        if stream.cause().is_some() {
            return;
        }
        stream.end(cause);
        self.append(|out| frame::reset(stream.id, reason, out));
    }

    /// One that is no more, as far as that was not said lately.
    fn reset_once(&self, id: u32) {
        if !self.reset.borrow().contains(&id) {
            self.remember(id);
            self.append(|out| frame::reset(id, Reason::STREAM_CLOSED, out));
        }
    }

    fn remember(&self, id: u32) {
        let mut reset = self.reset.borrow_mut();
        if reset.len() == MOST_RESET {
            reset.pop_front();
        }
        reset.push_back(id);
    }

    /// Either side may have ended it, and both of them have.
    pub fn was_ended(&self, stream: &Stream) {
        if stream.ended.get() && stream.peer_ended.get() {
            self.uncount(stream);
        }
    }

    fn uncount(&self, stream: &Stream) {
        if self.side == Side::OfClient && stream.counted.replace(false) {
            self.open.set(self.open.get() - 1);
        }
    }

    /// Nobody has to do with a stream any more. What is not over on it is reset.
    pub fn forget(&self, stream: &Rc<Stream>, reason: Reason) {
        let over = stream.ended.get() && stream.peer_ended.get();
        if !over && stream.cause().is_none() {
            // All was said that is to be, and the rest of the request is of no use (RFC 9113, 8.1).
            let answered = stream.ended.get() && self.side == Side::OfClient;
            let reason = if answered { Reason::NO_ERROR } else { reason };
            self.reset(stream, reason, Cause::Ours);
        }
        if !stream.peer_ended.get() {
            self.remember(stream.id);
        }
        let unused = stream.take_data().len();
        if unused > 0 {
            self.took(unused);
        }
        self.uncount(stream);
        if stream.waits.get() {
            self.out.borrow_mut().wait_no_more(stream);
        }
        let mut streams = self.streams.borrow_mut();
        if let Ok(at) = streams.binary_search_by_key(&stream.id, |stream| stream.id) {
            streams.remove(at);
        }
        if streams.is_empty() && (self.peer_goes.get() || self.state.get() > State::Open) {
            self.wake();
        }
    }

    /// Sends a head; `write` appends its block.
    pub fn send_head(
        &self,
        stream: &Stream,
        end: bool,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> usize {
        let mut out = self.out.borrow_mut();
        let flags = if end { flag::END_STREAM } else { 0 };
        let sent = out.head(stream.id, flags, write);
        self.sent(&out, stream, end);
        sent
    }

    /// Sends bytes of a body as far as the windows allow; returns how many, and how many that is on the wire.
    pub fn send_data(&self, stream: &Stream, bytes: &[u8]) -> (usize, usize) {
        let mut out = self.out.borrow_mut();
        let allowed = out.window.min(stream.window.get()).max(0) as usize;
        let bytes = &bytes[..bytes.len().min(allowed)];
        if bytes.is_empty() {
            return (0, 0);
        }
        out.window -= bytes.len() as i64;
        stream.window.set(stream.window.get() - bytes.len() as i64);
        let sent = out.data(stream.id, bytes);
        self.sent(&out, stream, false);
        (bytes.len(), sent)
    }

    /// Ends a body.
    pub fn send_end(&self, stream: &Stream) {
        let mut out = self.out.borrow_mut();
        out.end(stream.id);
        self.sent(&out, stream, true);
    }

    fn sent(&self, out: &Outbox, stream: &Stream, end: bool) {
        stream.mark.set(out.end_of_all());
        if end {
            stream.ended.set(true);
            self.was_ended(stream);
        }
    }

    /// Whether streams may send on: not too much waits for the socket.
    pub fn has_room(&self) -> bool {
        self.out.borrow().pending() < MOST_OUT
    }

    /// Bytes before this stream's last that the socket has not taken.
    pub fn unwritten(&self, stream: &Stream) -> usize {
        let written = self.out.borrow().written;
        stream.mark.get().saturating_sub(written) as usize
    }

    /// Has the stream woken when its bytes have left, or may.
    pub fn wait_to_write(&self, stream: &Rc<Stream>, wants: usize, cx: &Context<'_>) {
        stream.wait(cx);
        stream.wants.set(wants);
        if !stream.waits.replace(true) {
            self.out.borrow_mut().wait(stream);
        }
    }
}
