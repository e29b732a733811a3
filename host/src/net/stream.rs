//! A connected socket, whatever it runs over: what reads and writes bytes above it need not know.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::unsent;

/// A byte stream to a peer.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Bytes pass through something (TLS) before they reach the socket.
    Layered(Box<dyn Layer>),
}

/// What a stream may run over.
pub trait Layer: AsyncRead + AsyncWrite + Unpin + std::fmt::Debug {
    /// What it runs over.
    fn below(&self) -> &Stream;
    /// Whether it has taken bytes that the socket has not: a flush is owed.
    fn holds(&self) -> bool;
}

impl Stream {
    /// The socket at the bottom.
    pub fn socket(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(socket) => socket.as_fd(),
            Stream::Unix(socket) => socket.as_fd(),
            Stream::Layered(layer) => layer.below().socket(),
        }
    }

    /// Whether bytes pass straight from and to the socket, so that the kernel may move them by itself.
    pub fn bare(&self) -> Option<&Stream> {
        (!matches!(self, Stream::Layered(_))).then_some(self)
    }

    /// Does something with the socket itself as soon as it is ready for it; what would block is done again once it is. Of a layer
    /// there is no such thing.
    pub fn poll_io<T>(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        mut act: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(self.poll_ready(cx, interest))?;
            match self.try_io(interest, &mut act) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// The same, of what moves bytes, `most` of them. Fewer mean that the socket has, or takes, no more: who comes next waits without
    /// asking it.
    fn poll_move(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        most: usize,
        mut act: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_ready(cx, interest))?;
            let mut moved = 0;
            let done = self.try_io(interest, || {
                moved = act()?;
                match 0 < moved && moved < most {
                    // The runtime's word for that.
                    true => Err(io::ErrorKind::WouldBlock.into()),
                    false => Ok(()),
                }
            });
            match done {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                Err(_) if moved == 0 => {}
                _ => return Poll::Ready(Ok(moved)),
            }
        }
    }

    /// Reads from the socket. Straight from the kernel: to libc each read and write is a point at which a thread may be cancelled, and
    /// what it does for that took a fiftieth of a request's time.
    fn poll_recv(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buffer.initialize_unfilled();
        let most = room.len();
        let read = ready!(self.poll_move(cx, Interest::READABLE, most, || {
            Ok(recv(self.socket(), &mut *room, RecvFlags::empty())?.1)
        }))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }

    fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_move(cx, Interest::WRITABLE, bytes.len(), || {
            Ok(send(self.socket(), bytes, SendFlags::NOSIGNAL)?)
        })
    }

    fn poll_ready(&self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        let is_write = interest.is_writable();
        match self {
            Stream::Tcp(socket) if is_write => socket.poll_write_ready(cx),
            Stream::Tcp(socket) => socket.poll_read_ready(cx),
            Stream::Unix(socket) if is_write => socket.poll_write_ready(cx),
            Stream::Unix(socket) => socket.poll_read_ready(cx),
            Stream::Layered(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    fn try_io<T>(&self, interest: Interest, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Stream::Tcp(socket) => socket.try_io(interest, act),
            Stream::Unix(socket) => socket.try_io(interest, act),
            Stream::Layered(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether nothing has come while nothing was to come: neither an end nor a byte. Costs a system call only when
    /// something has. Nobody else may wait for it.
    pub fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut byte = [0; 1];
        // What a layer has to say to itself (a session ticket) is nobody's byte.
        let read = Pin::new(self).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
        read.is_pending()
    }

    /// Whether bytes that were written have not reached the socket: a flush is owed. Never so of plain TCP.
    pub fn holds(&self) -> bool {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => false,
            Stream::Layered(layer) => layer.holds(),
        }
    }

    /// Has the layer say that we end here of our own will (TLS: close_notify), as far as that goes without waiting. What is
    /// broken off is dropped without it, so that the peer does not take it for whole. Plain TCP has nothing to say.
    pub fn part(&mut self) {
        if let Stream::Layered(layer) = self {
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(layer).poll_shutdown(&mut cx);
        }
    }

    /// The next byte, which is left where it is. None: the peer has closed.
    pub async fn peek(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let seen = match self {
            Stream::Tcp(socket) => socket.peek(&mut byte).await?,
            Stream::Unix(socket) => {
                let look = || Ok(recv(socket, &mut byte, RecvFlags::PEEK)?.0);
                socket.async_io(Interest::READABLE, look).await?
            }
            Stream::Layered(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok((seen > 0).then_some(byte[0]))
    }

    /// Resolves once the peer has reset the connection, whatever it has sent that nobody has read.
    pub async fn breaks(&self) {
        self.is_found(Interest::ERROR).await;
    }

    /// Resolves once the peer has closed its sending side, or reset the connection.
    pub async fn ends(&self) {
        // Of reading it tells the end alone: the runtime knows of no urgent data, since it does not ask for such.
        self.is_found(Interest::PRIORITY | Interest::ERROR).await;
    }

    async fn is_found(&self, what: Interest) {
        let mut bottom = self;
        while let Stream::Layered(layer) = bottom {
            bottom = layer.below();
        }
        let found = match bottom {
            Stream::Tcp(socket) => socket.ready(what).await,
            Stream::Unix(socket) => socket.ready(what).await,
            Stream::Layered(_) => std::future::pending().await,
        };
        if found.is_err() {
            // The runtime ends, and we with it.
            std::future::pending::<()>().await;
        }
    }

    /// Bytes written that the peer's system has not acknowledged.
    pub fn unsent(&self) -> u64 {
        unsent(self.socket())
    }

    /// A reset rather than an end, once it is dropped.
    pub fn cut(&self) {
        let _ = SockRef::from(&self.socket()).set_linger(Some(Duration::ZERO));
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Stream {
        Stream::Tcp(socket)
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Stream {
        Stream::Unix(socket)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Layered(layer) => Pin::new(layer).poll_read(cx, buffer),
            socket => socket.poll_recv(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    /// A layer may keep what the socket does not take at once: see [`Stream::holds`].
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Layered(layer) => Pin::new(layer).poll_write(cx, bytes),
            socket => socket.poll_send(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        // One slice, as TLS mostly has, goes the shorter way through the kernel.
        if let (Stream::Tcp(socket), [_, _, ..]) = (&mut *stream, slices) {
            return Pin::new(socket).poll_write_vectored(cx, slices);
        }
        let first = slices.iter().find(|slice| !slice.is_empty());
        Pin::new(stream).poll_write(cx, first.map_or(&[], |slice| &**slice))
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self, Stream::Tcp(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Stream::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Stream::Layered(layer) => Pin::new(layer).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Layered(layer) => Pin::new(layer).poll_shutdown(cx),
        }
    }
}
