//! Bytes passed between two streams, both ways at once, until both sides have ended or one has broken.
//!
//! An end is passed on, and the other direction goes on (half-close). A direction reads only once what it read before is
//! taken, so a slow reader slows its writer. What is read goes through one buffer of the thread's; a direction has memory of its
//! own only for what the other side has not taken, so a connection that is silent, as most of a database's are, holds none.
//! Where much comes at a time and both are plain sockets, the kernel moves it from one to the other without our seeing it (`pipe`).

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use super::Stream;
use super::pipe::{Pipe, is_refused};

/// One read. As large as a socket's buffer commonly fills between two turns.
const READ: usize = 64 << 10;

/// Reads in a row before others get their turn.
const TURN: usize = 16;

/// A read that the kernel would better have moved to the other socket itself: splice(2) copies nothing, but a call costs more, and
/// there is one more whenever nothing is left to move. Up to 32 KB that comes to the same, at 64 KB it is a tenth cheaper.
const LARGE: usize = 32 << 10;

/// Large reads in a row after which it does, until it once moves less.
const BULK: u8 = 2;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// Why it ends before both sides have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Side(Side),
    /// Neither side said anything for too long.
    Silent,
}

/// The side that broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    First,
    Second,
}

/// What passes between two streams, the second a socket.
pub struct Relay<F> {
    first: F,
    second: Stream,
    forth: Direction,
    back: Direction,
    /// When a byte last passed.
    last: Instant,
}

/// One of two that bytes pass between.
pub trait Peer: AsyncRead + AsyncWrite + Unpin {
    /// The socket itself, where bytes pass through nothing else: the kernel may move them.
    fn bare(&self) -> Option<&Stream> {
        None
    }

    /// The kernel has moved so many bytes from the socket.
    fn has_given(&self, _bytes: usize) {}

    /// The kernel has moved so many bytes to the socket.
    fn has_taken(&self, _bytes: usize) {}
}

impl Peer for Stream {
    fn bare(&self) -> Option<&Stream> {
        Stream::bare(self)
    }
}

#[derive(Default)]
struct Direction {
    /// Read and not taken.
    held: Vec<u8>,
    taken: usize,
    /// Moved by the kernel and not taken.
    pipe: Option<Pipe>,
    /// Large reads in a row.
    large: u8,
    /// The kernel does not move what comes from there.
    copies: bool,
    /// Bytes that were taken.
    passed: u64,
    ended: bool,
    /// The end was passed on.
    done: bool,
}

impl Relay<Stream> {
    /// Both are reset rather than ended, once they are dropped.
    pub fn cut(&self) {
        self.first.cut();
        self.second.cut();
    }
}

impl<F: Peer> Relay<F> {
    /// What was read of either already goes first.
    pub fn new(first: (F, Vec<u8>), second: (Stream, Vec<u8>)) -> Relay<F> {
        Relay {
            first: first.0,
            second: second.0,
            forth: Direction::beginning(first.1),
            back: Direction::beginning(second.1),
            last: Instant::now(),
        }
    }

    /// Passes bytes until both sides have ended, or neither has said anything for that long; zero: as long as they like.
    pub async fn run(&mut self, silence: Duration) -> Result<(), Broken> {
        let mut alarm = pin!(sleep_until(self.last + silence));
        poll_fn(|cx| {
            if let Poll::Ready(end) = self.poll(cx) {
                return Poll::Ready(end.map_err(Broken::Side));
            }
            while !silence.is_zero() && alarm.as_mut().poll(cx).is_ready() {
                if self.last + silence <= Instant::now() {
                    return Poll::Ready(Err(Broken::Silent));
                }
                alarm.as_mut().reset(self.last + silence);
            }
            Poll::Pending
        })
        .await
    }

    /// Bytes that passed from the first to the second, and back.
    pub fn passed(&self) -> (u64, u64) {
        (self.forth.passed, self.back.passed)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Side>> {
        let before = self.passed();
        let Relay {
            first,
            second,
            forth,
            back,
            ..
        } = self;
        let forth = forth.poll(cx, first, second);
        let back = back.poll(cx, second, first);
        if self.passed() != before {
            self.last = Instant::now();
        }
        let broken = |error: End, reader, writer| match error {
            End::Reader => reader,
            End::Writer => writer,
        };
        match (forth, back) {
            (Poll::Ready(Err(error)), _) => {
                Poll::Ready(Err(broken(error, Side::First, Side::Second)))
            }
            (_, Poll::Ready(Err(error))) => {
                Poll::Ready(Err(broken(error, Side::Second, Side::First)))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

/// Which end of a direction.
enum End {
    Reader,
    Writer,
}

impl Direction {
    fn beginning(held: Vec<u8>) -> Direction {
        Direction {
            held,
            ..Direction::default()
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Peer,
        to: &mut impl Peer,
    ) -> Poll<Result<(), End>> {
        for _ in 0..TURN {
            ready!(self.poll_piped(cx, to)).map_err(|_| End::Writer)?;
            ready!(self.poll_held(cx, to)).map_err(|_| End::Writer)?;
            if self.ended {
                return self.poll_end(cx, to).map_err(|_| End::Writer);
            }
            match self.lend(from, to) {
                Some(pipe) => ready!(self.poll_splice(cx, pipe, from))?,
                None => ready!(self.poll_more(cx, from, to))?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What was read before and not taken.
    fn poll_held(&mut self, cx: &mut Context<'_>, to: &mut impl Peer) -> Poll<io::Result<()>> {
        while self.taken < self.held.len() {
            let written = ready!(write(cx, to, &self.held[self.taken..]))?;
            self.taken += written;
            self.passed += written as u64;
        }
        (self.held, self.taken) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// What the kernel moved before and was not taken.
    fn poll_piped(&mut self, cx: &mut Context<'_>, to: &impl Peer) -> Poll<io::Result<()>> {
        let (Some(pipe), Some(socket)) = (&mut self.pipe, to.bare()) else {
            return Poll::Ready(Ok(()));
        };
        while !pipe.is_empty() {
            let moved = ready!(pipe.poll_drain(cx, socket))?;
            to.has_taken(moved);
            self.passed += moved as u64;
        }
        if let Some(empty) = self.pipe.take() {
            empty.give_back();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>, to: &mut impl Peer) -> Poll<io::Result<()>> {
        if !self.done {
            match ready!(Pin::new(to).poll_shutdown(cx)) {
                // It has gone already, after all that it was sent.
                Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                    return Poll::Ready(Err(error));
                }
                _ => self.done = true,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// A pipe, if what comes is worth one.
    fn lend(&self, from: &impl Peer, to: &impl Peer) -> Option<Pipe> {
        let is_bulk = self.large >= BULK && !self.copies;
        let are_bare = from.bare().is_some() && to.bare().is_some();
        (is_bulk && are_bare).then(Pipe::lend).flatten()
    }

    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        mut pipe: Pipe,
        from: &impl Peer,
    ) -> Poll<Result<(), End>> {
        let Some(socket) = from.bare() else {
            return Poll::Ready(Ok(()));
        };
        let moved = pipe.poll_fill(cx, socket, READ);
        match pipe.is_empty() {
            true => pipe.give_back(),
            false => self.pipe = Some(pipe),
        }
        match ready!(moved) {
            Ok(moved) => {
                from.has_given(moved);
                self.ended = moved == 0;
                self.large = if moved < LARGE { 0 } else { self.large };
            }
            Err(error) if is_refused(&error) => self.copies = true,
            Err(_) => return Poll::Ready(Err(End::Reader)),
        }
        Poll::Ready(Ok(()))
    }

    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Peer,
        to: &mut impl Peer,
    ) -> Poll<Result<(), End>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            match Pin::new(from).poll_read(cx, &mut read) {
                Poll::Ready(read) => read.map_err(|_| End::Reader)?,
                Poll::Pending => {
                    // What a layer still has of what it took must not wait for more to come.
                    let flushed = Pin::new(to).poll_flush(cx);
                    return match flushed {
                        Poll::Ready(Err(_)) => Poll::Ready(Err(End::Writer)),
                        _ => Poll::Pending,
                    };
                }
            }
            let bytes = read.filled();
            self.ended = bytes.is_empty();
            self.large = match bytes.len() >= LARGE {
                true => self.large.saturating_add(1),
                false => 0,
            };
            let mut taken = 0;
            while taken < bytes.len() {
                match write(cx, to, &bytes[taken..]) {
                    Poll::Ready(Ok(written)) => taken += written,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Writer)),
                    Poll::Pending => break,
                }
            }
            self.passed += taken as u64;
            self.held.extend_from_slice(&bytes[taken..]);
            Poll::Ready(Ok(()))
        })
    }
}

fn write(cx: &mut Context<'_>, to: &mut impl Peer, bytes: &[u8]) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(written),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rustix::fs::inotify;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio::task::yield_now;

    use super::*;

    fn ends() -> (Relay<Stream>, UnixStream, UnixStream) {
        let (client, first) = UnixStream::pair().unwrap();
        let (second, server) = UnixStream::pair().unwrap();
        let ahead = b"ahead ".to_vec();
        let relay = Relay::new((first.into(), ahead), (second.into(), Vec::new()));
        (relay, client, server)
    }

    #[tokio::test]
    async fn an_end_is_passed_on_and_the_other_side_still_speaks() {
        let (mut relay, mut client, mut server) = ends();
        let talk = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut heard = Vec::new();
            server.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"ahead question");
            server.write_all(b"answer").await.unwrap();
            drop(server);
            heard.clear();
            client.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"answer");
        };
        let (ended, ()) = tokio::join!(relay.run(Duration::ZERO), talk);
        assert_eq!(ended, Ok(()));
        assert_eq!(relay.passed(), (14, 6));
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_stops_its_writer() {
        let (mut relay, mut client, server) = ends();
        let mut sent = 0;
        let flood = async {
            loop {
                sent += client.write(&[7; 16 << 10]).await.unwrap();
            }
        };
        let patience = Duration::from_millis(200);
        tokio::select! {
            _ = tokio::time::timeout(patience, flood) => {}
            ended = relay.run(Duration::ZERO) => panic!("{ended:?}"),
        }
        assert!(sent < 4 << 20, "{sent} bytes went nowhere");
        assert!(relay.forth.held.len() <= READ);
        drop(server);
        assert_eq!(
            relay.run(Duration::ZERO).await,
            Err(Broken::Side(Side::Second))
        );
    }

    #[tokio::test]
    async fn silence_ends_it_and_a_word_puts_the_end_off() {
        let (mut relay, mut client, mut server) = ends();
        let limit = Duration::from_millis(400);
        let begun = Instant::now();
        let talk = async {
            let mut heard = [0; 8];
            server.read_exact(&mut heard[..6]).await.unwrap();
            tokio::time::sleep(limit / 2).await;
            client.write_all(b"more").await.unwrap();
            std::future::pending::<()>().await
        };
        tokio::select! {
            ended = relay.run(limit) => assert_eq!(ended, Err(Broken::Silent)),
            () = talk => {}
        }
        assert!(begun.elapsed() >= limit * 3 / 2, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn what_the_kernel_moves_comes_whole_and_in_order_both_ways() {
        let (mut relay, mut client, mut server) = ends_of_tcp().await;
        let (mut client_reads, mut client_writes) = client.split();
        let (mut server_reads, mut server_writes) = server.split();
        let (sent, answered) = (Cell::new(0), Cell::new(0));
        let talk = async {
            let forth = async {
                say(&mut client_writes, 24 << 20, &sent).await;
                client_writes.shutdown().await.unwrap();
            };
            let back = async {
                say(&mut server_writes, 16 << 20, &answered).await;
                server_writes.shutdown().await.unwrap();
            };
            let heard = (hear(&mut server_reads), hear(&mut client_reads));
            let (.., forth, back) = tokio::join!(forth, back, heard.0, heard.1);
            (forth, back)
        };
        let (ended, heard) = within(async { tokio::join!(relay.run(Duration::ZERO), talk) }).await;
        assert_eq!(ended, Ok(()));
        assert_eq!(heard, (24 << 20, 16 << 20));
        assert_eq!(relay.passed(), heard);
        let (lent, kept) = Pipe::counts();
        assert!(lent == 0 && kept > 0, "{lent} lent, {kept} kept");
    }

    #[tokio::test]
    async fn an_end_comes_after_what_lies_in_a_pipe() {
        let (mut relay, mut client, mut server) = ends_of_tcp().await;
        let said = Cell::new(0);
        until_a_pipe_is_full(&mut relay, say(&mut client, u64::MAX, &said)).await;
        client.shutdown().await.unwrap();
        let talk = async {
            let heard = hear(&mut server).await;
            server.write_all(b"answer").await.unwrap();
            drop(server);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"answer");
            heard
        };
        let (ended, heard) = within(async { tokio::join!(relay.run(Duration::ZERO), talk) }).await;
        assert_eq!(ended, Ok(()));
        assert_eq!(heard, said.get());
        assert_eq!(relay.passed(), (heard, 6));
    }

    #[tokio::test]
    async fn a_reader_that_breaks_takes_what_lies_in_a_pipe_along() {
        let (mut relay, mut client, server) = ends_of_tcp().await;
        let said = Cell::new(0);
        until_a_pipe_is_full(&mut relay, say(&mut client, u64::MAX, &said)).await;
        assert!(said.get() < 32 << 20, "{} bytes went nowhere", said.get());
        assert!(relay.forth.held.is_empty());
        reset(server);
        let ended = within(relay.run(Duration::ZERO)).await;
        assert_eq!(ended, Err(Broken::Side(Side::Second)));
        drop(relay);
        assert_eq!(Pipe::counts(), (0, 0), "nobody else may get it");
    }

    #[tokio::test]
    async fn a_writer_that_breaks_is_told_from_its_reader() {
        let (mut relay, mut client, mut server) = ends_of_tcp().await;
        let said = Cell::new(0);
        until_a_pipe_is_full(&mut relay, say(&mut client, u64::MAX, &said)).await;
        reset(client);
        let ended = within(async {
            tokio::select! {
                ended = relay.run(Duration::ZERO) => ended,
                heard = hear(&mut server) => panic!("it ended well, after {heard} bytes"),
            }
        });
        assert_eq!(ended.await, Err(Broken::Side(Side::First)));
    }

    #[tokio::test]
    async fn only_bulk_takes_a_pipe_and_only_while_it_flows() {
        let (mut relay, mut client, mut server) = ends_of_tcp().await;
        let bytes = vec![0; 1 << 20];
        let mut pass = async |size: usize, times| {
            for _ in 0..times {
                let talk = async {
                    let mut heard = vec![0; size];
                    let written = client.write_all(&bytes[..size]);
                    let (written, read) = tokio::join!(written, server.read_exact(&mut heard));
                    written.unwrap();
                    read.unwrap();
                };
                within(async {
                    tokio::select! {
                        ended = relay.run(Duration::ZERO) => panic!("{ended:?}"),
                        () = talk => {}
                    }
                })
                .await;
            }
            assert!(relay.forth.pipe.is_none() && relay.forth.held.capacity() == 0);
        };
        pass(16 << 10, 50).await;
        assert_eq!(Pipe::counts(), (0, 0), "small messages need none");
        pass(1 << 20, 4).await;
        assert_eq!(Pipe::counts(), (0, 1), "it is there for the next");
    }

    #[tokio::test]
    async fn without_a_pipe_bytes_are_copied() {
        let others: Vec<Pipe> = std::iter::from_fn(Pipe::lend).collect();
        let (mut relay, mut client, mut server) = ends_of_tcp().await;
        bulk_passes(&mut relay, &mut client, &mut server).await;
        assert_eq!(Pipe::counts(), (others.len(), 0));
    }

    /// A socket of which splice(2) thinks that it is something else.
    struct Disguised(Stream, Stream);

    impl Peer for Disguised {
        fn bare(&self) -> Option<&Stream> {
            Some(&self.1)
        }
    }

    impl AsyncRead for Disguised {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Disguised {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn what_the_kernel_does_not_move_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, folder.path(), inotify::WatchFlags::CREATE).unwrap();
        std::fs::write(folder.path().join("event"), "").unwrap();
        let odd = UnixStream::from_std(watch.into()).unwrap();
        let (relay, mut client, mut server) = ends_of_tcp().await;
        let first = Disguised(relay.first, odd.into());
        let mut relay = Relay::new((first, Vec::new()), (relay.second, Vec::new()));
        bulk_passes(&mut relay, &mut client, &mut server).await;
        assert!(relay.forth.copies);
    }

    async fn ends_of_tcp() -> (Relay<Stream>, TcpStream, TcpStream) {
        let pair = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let connecting = TcpStream::connect(listener.local_addr().unwrap());
            let (ours, accepted) = tokio::join!(connecting, listener.accept());
            (ours.unwrap(), accepted.unwrap().0)
        };
        let ((client, first), (second, server)) = (pair().await, pair().await);
        let relay = Relay::new((first.into(), Vec::new()), (second.into(), Vec::new()));
        (relay, client, server)
    }

    async fn within<T>(what: impl Future<Output = T>) -> T {
        let patience = Duration::from_secs(60);
        tokio::time::timeout(patience, what).await.unwrap()
    }

    /// Until the reader, which reads nothing, takes no more of what comes.
    async fn until_a_pipe_is_full(relay: &mut Relay<Stream>, flood: impl Future<Output = ()>) {
        let mut flood = pin!(flood);
        let full = poll_fn(|cx| {
            let _ = flood.as_mut().poll(cx);
            assert!(relay.poll(cx).is_pending());
            let is_full = relay
                .forth
                .pipe
                .as_ref()
                .is_some_and(|pipe| !pipe.is_empty());
            if is_full {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        within(full).await;
    }

    async fn bulk_passes(
        relay: &mut Relay<impl Peer>,
        client: &mut TcpStream,
        server: &mut TcpStream,
    ) {
        let said = Cell::new(0);
        let talk = async {
            say(client, 4 << 20, &said).await;
            client.shutdown().await.unwrap();
            client.read_to_end(&mut Vec::new()).await.unwrap();
        };
        let answer = async {
            let heard = hear(server).await;
            server.shutdown().await.unwrap();
            heard
        };
        let both = async { tokio::join!(relay.run(Duration::ZERO), talk, answer) };
        let (ended, (), heard) = within(both).await;
        assert_eq!((ended, heard), (Ok(()), 4 << 20));
    }

    /// Says the first so many bytes of an endless text, in pieces of any size.
    async fn say(to: &mut (impl AsyncWrite + Unpin), bytes: u64, said: &Cell<u64>) {
        let (text, mut dice) = (text(), Dice(7));
        while said.get() < bytes {
            let at = (said.get() % PERIOD as u64) as usize;
            let most = (bytes - said.get()).min(200_000) as usize;
            let size = dice.up_to(most);
            let written = to.write(&text[at..at + size]).await.unwrap();
            said.set(said.get() + written as u64);
        }
    }

    /// Hears the same text to its end, in pieces of any size, and tells how much it was.
    async fn hear(from: &mut (impl AsyncRead + Unpin)) -> u64 {
        let (text, mut dice) = (text(), Dice(11));
        let mut buffer = vec![0; 300_000];
        let mut heard = 0;
        loop {
            let size = dice.up_to(buffer.len());
            let read = from.read(&mut buffer[..size]).await.unwrap();
            if read == 0 {
                return heard;
            }
            let at = (heard % PERIOD as u64) as usize;
            let is_same = buffer[..read] == text[at..at + read];
            assert!(is_same, "other bytes within {read} from {heard}");
            heard += read as u64;
            for _ in 0..dice.up_to(4) {
                yield_now().await;
            }
        }
    }

    /// A prime, so that bytes which are lost or come twice are noticed, however many.
    const PERIOD: usize = 99_991;

    /// The text from any place within its period on, for as long as a piece may be.
    fn text() -> Vec<u8> {
        let mut dice = Dice(3);
        let period: Vec<u8> = (0..PERIOD).map(|_| dice.up_to(256) as u8).collect();
        period.iter().copied().cycle().take(5 * PERIOD).collect()
    }

    struct Dice(u64);

    impl Dice {
        fn up_to(&mut self, most: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) as usize % most + 1
        }
    }

    fn reset(socket: TcpStream) {
        Stream::from(socket).cut();
    }
}
