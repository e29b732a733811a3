//! Bytes passed between two streams, both ways at once, until both sides have ended or one has broken.
//!
//! An end is passed on, and the other direction goes on (half-close). A direction reads only once what it read before is
//! taken, so a slow reader slows its writer. What is read goes through one buffer of the thread's; a direction has memory of its
//! own only for what the other side has not taken, so a connection that is silent, as most of a database's are, holds none.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use super::Stream;

/// One read. As large as a socket's buffer commonly fills between two turns.
const READ: usize = 64 << 10;

/// Reads in a row before others get their turn.
const TURN: usize = 16;

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

#[derive(Default)]
struct Direction {
    /// Read and not taken.
    held: Vec<u8>,
    taken: usize,
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

impl<F: AsyncRead + AsyncWrite + Unpin> Relay<F> {
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
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), End>> {
        for _ in 0..TURN {
            ready!(self.poll_held(cx, to)).map_err(|_| End::Writer)?;
            if self.ended {
                return self.poll_end(cx, to).map_err(|_| End::Writer);
            }
            ready!(self.poll_more(cx, from, to))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What was read before and not taken.
    fn poll_held(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while self.taken < self.held.len() {
            let written = ready!(write(cx, to, &self.held[self.taken..]))?;
            self.taken += written;
            self.passed += written as u64;
        }
        (self.held, self.taken) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
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

    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
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

fn write(
    cx: &mut Context<'_>,
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(written),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

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
}
