//! A connection after its protocol was changed (RFC 9110, 7.8): bytes both ways until both are done, or silent for too long.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};

use super::link::{Blame, Closing, Link};
use crate::net::Stream;

/// Passes bytes both ways; each comes with what was read of the new protocol already. An end on one side is passed on, the
/// other may still speak. Who or what broke it off is told to the link.
pub(super) async fn run<C: AsyncRead + AsyncWrite + Unpin>(
    link: &Rc<Link>,
    mut client: C,
    from_client: Bytes,
    mut server: Stream,
    from_server: Bytes,
    silence: Duration,
) -> bool {
    let passing = async {
        server
            .write_all(&from_client)
            .await
            .map_err(|_| Blame::Server)?;
        client
            .write_all(&from_server)
            .await
            .map_err(|_| Blame::Client)?;
        server.flush().await.map_err(|_| Blame::Server)?;
        client.flush().await.map_err(|_| Blame::Client)?;
        // Which side broke is not told; a client that goes away without a word is the usual case.
        copy_bidirectional(&mut client, &mut server)
            .await
            .map_err(|_| Blame::Client)
    };
    let ended = tokio::select! {
        ended = passing => ended.map(drop),
        () = silent(link, silence) => Err(Blame::TunnelTimeout),
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

/// Resolves when nothing has passed for `limit`, give or take an eighth of it.
async fn silent(link: &Link, limit: Duration) {
    if limit.is_zero() {
        return std::future::pending().await;
    }
    let mut before = link.traffic();
    let mut since = Instant::now();
    while since.elapsed() < limit {
        tokio::time::sleep(limit / 8).await;
        let now = link.traffic();
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
}
