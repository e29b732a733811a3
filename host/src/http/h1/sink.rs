//! The way out: bytes are gathered in the worker's buffer and written in as few pieces as possible; what the peer does not
//! take yet is kept with the connection, and nothing more is read for it until that is gone.

use std::cell::Cell;
use std::io;
use std::task::{Context, Poll, ready};

use super::incoming::{Broken, Piece, Step};
use super::wire::Wire;
use crate::http::body::Body;

thread_local! {
    static OUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The framing of a body on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is: the length is in the head, or the end of the connection is the end of the body.
    Plain,
    Chunked,
}

/// What is on its way to one peer.
pub struct Sink {
    coding: Coding,
    /// Not taken yet.
    pending: Vec<u8>,
    at: usize,
    /// Taken by what the connection runs over, but not by the socket.
    held: bool,
}

impl Sink {
    pub fn new(coding: Coding) -> Sink {
        Sink {
            coding,
            pending: Vec::new(),
            at: 0,
            held: false,
        }
    }

    /// These bytes go before all others.
    pub fn begin_with(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.is_empty(), "nothing has been sent yet");
        self.pending = bytes;
    }

    /// Gathers what `fill` gives and writes it at once, as far as the peer takes it.
    pub fn send<T>(
        &mut self,
        wire: &Wire,
        cx: &mut Context<'_>,
        fill: impl FnOnce(&mut Gather<'_>, &mut Context<'_>) -> T,
    ) -> io::Result<T> {
        // Taken, not borrowed: a body that is filled in may itself have something to send.
        let mut out = OUT.take();
        out.clear();
        let mut gather = Gather {
            out: &mut out,
            coding: self.coding,
            ended: false,
        };
        let filled = fill(&mut gather, cx);
        let written = self.write(wire, cx, &out);
        OUT.set(out);
        written.map(|()| filled)
    }

    fn write(&mut self, wire: &Wire, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let mut at = 0;
        while at < bytes.len() && self.is_empty() {
            match wire.poll_write(cx, &bytes[at..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => at += written,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        self.pending.extend_from_slice(&bytes[at..]);
        self.held = wire.holds();
        Ok(())
    }

    /// Nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && !self.held
    }

    /// Bytes that were not taken yet.
    pub fn left(&self) -> usize {
        self.pending.len() - self.at
    }

    /// Until all is taken.
    pub fn poll_flush(&mut self, wire: &Wire, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.at < self.pending.len() {
            let written = ready!(wire.poll_write(cx, &self.pending[self.at..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.at += written;
            self.held = wire.holds();
        }
        if self.held {
            ready!(wire.poll_flush(cx))?;
            self.held = false;
        }
        self.at = 0;
        // A peer that reads slowly once need not hold a large buffer for ever.
        self.pending = Vec::new();
        Poll::Ready(Ok(()))
    }
}

/// The buffer that is written next.
pub struct Gather<'a> {
    pub out: &'a mut Vec<u8>,
    coding: Coding,
    ended: bool,
}

impl Gather<'_> {
    /// A step of a body, its end included; and how many bytes of it that gave.
    pub fn step(
        &mut self,
        body: &mut Body,
        cx: &mut Context<'_>,
    ) -> (Poll<Result<Step, Broken>>, u64) {
        let mut data = 0;
        let step = body.poll_step(cx, &mut |piece| match piece {
            Piece::Data(bytes) => {
                data += bytes.len() as u64;
                self.data(bytes);
            }
            Piece::Trailers(lines) => self.end(lines),
        });
        if let Poll::Ready(Ok(Step::Ended)) = step {
            self.end(b"");
        }
        (step, data)
    }

    fn data(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.coding {
            Coding::Plain => self.out.extend_from_slice(bytes),
            Coding::Chunked => {
                hex(bytes.len(), self.out);
                self.out.extend_from_slice(b"\r\n");
                self.out.extend_from_slice(bytes);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// The body's end, with trailers' lines; what is said first counts.
    fn end(&mut self, trailers: &[u8]) {
        if self.coding == Coding::Chunked && !std::mem::replace(&mut self.ended, true) {
            self.out.extend_from_slice(b"0\r\n");
            self.out.extend_from_slice(trailers);
            self.out.extend_from_slice(b"\r\n");
        }
    }
}

fn hex(number: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(DIGITS[number >> (4 * digit) & 15]);
    }
}

pub fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::Waker;

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net::Stream;
    use crate::net::stream::Layer;

    /// Takes everything, and gives nothing to its socket before that is said to have room.
    #[derive(Debug)]
    struct Holding {
        socket: Stream,
        held: usize,
        room: Rc<Cell<bool>>,
    }

    impl Layer for Holding {
        fn below(&self) -> &Stream {
            &self.socket
        }

        fn holds(&self) -> bool {
            self.held > 0
        }
    }

    impl AsyncRead for Holding {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Holding {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.held += bytes.len();
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !self.room.get() {
                return Poll::Pending;
            }
            self.held = 0;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_a_layer_holds_is_not_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap());
        let (socket, room) = (socket.await.unwrap().into(), Rc::new(Cell::new(false)));
        let layer = Holding {
            socket,
            held: 0,
            room: room.clone(),
        };
        let wire = Wire::new(Stream::Layered(Box::new(layer)), None);
        let mut cx = Context::from_waker(Waker::noop());
        let mut sink = Sink::new(Coding::Plain);
        let send = |sink: &mut Sink, cx: &mut Context<'_>| {
            let sent = sink.send(&wire, cx, |gather, _| {
                gather.out.extend_from_slice(b"hello")
            });
            sent.unwrap();
        };
        send(&mut sink, &mut cx);
        assert!(!sink.is_empty());
        assert!(sink.poll_flush(&wire, &mut cx).is_pending());
        room.set(true);
        assert!(sink.poll_flush(&wire, &mut cx).is_ready());
        assert!(sink.is_empty() && !wire.holds());
    }

    #[test]
    fn chunks_carry_their_size() {
        let mut out = Vec::new();
        let mut gather = Gather {
            out: &mut out,
            coding: Coding::Chunked,
            ended: false,
        };
        gather.data(&[b'x'; 26]);
        gather.data(b"");
        gather.data(b"y");
        gather.end(b"X: 1\r\n");
        assert_eq!(
            out,
            b"1a\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n1\r\ny\r\n0\r\nX: 1\r\n\r\n"
        );
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 7, 10, 1024, u64::MAX] {
            let mut out = Vec::new();
            decimal(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
        for number in [1, 15, 16, 65536] {
            let mut out = Vec::new();
            hex(number, &mut out);
            assert_eq!(out, format!("{number:x}").as_bytes());
        }
    }
}
