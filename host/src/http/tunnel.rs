//! A connection after its protocol was changed (RFC 9110, 7.8): bytes both ways until both are done, or silent for too long.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::{Blame, Closing, Link};
use crate::net::Stream;
use crate::net::relay::{Broken, Peer, Relay, Side};

/// Passes bytes both ways; each comes with what was read of the new protocol already. An end on one side is passed on, the
/// other may still speak. Who or what broke it off is told to the link.
pub(super) async fn run<C: Peer>(
    link: &Rc<Link>,
    client: (C, Vec<u8>),
    server: (Stream, Vec<u8>),
    silence: Duration,
) -> bool {
    let mut relay = Relay::new(client, server);
    let ended = tokio::select! {
        ended = relay.run(silence) => ended.map_err(|broken| match broken {
            Broken::Side(Side::First) => Blame::Client,
            Broken::Side(Side::Second) => Blame::Server,
            Broken::Silent => Blame::TunnelTimeout,
        }),
        () = link.closes(Closing::Cut) => Err(Blame::Operator),
    };
    if let Err(blame) = ended {
        link.blame(blame);
    }
    ended.is_ok()
}

/// A client's socket whose traffic is counted.
pub(super) struct Counted {
    socket: Stream,
    link: Rc<Link>,
}

impl Counted {
    pub(super) fn new(socket: Stream, link: Rc<Link>) -> Counted {
        Counted { socket, link }
    }
}

impl Peer for Counted {
    fn bare(&self) -> Option<&Stream> {
        self.socket.bare()
    }

    fn has_given(&self, bytes: usize) {
        self.link.count_read(bytes);
    }

    fn has_taken(&self, bytes: usize) {
        self.link.count_written(bytes);
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        self.link.count_read(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, buf))?;
        self.link.count_written(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
