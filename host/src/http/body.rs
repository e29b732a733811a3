//! The body of a message: bytes at hand, or a stream from one peer that is read as fast as the other takes it.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};

use super::idle::Lease;
use super::link::{Link, Phase};

pub struct Body(Source);

enum Source {
    Empty,
    Full(Bytes),
    Client(FromClient),
    Server(FromServer),
}

/// A request's body on its way in.
struct FromClient {
    incoming: Incoming,
    link: Rc<Link>,
    /// How long the server may then take to answer.
    first_byte: Duration,
    ended: bool,
}

/// A response's body on its way in. Read to its end, the connection can be used again.
struct FromServer {
    incoming: Incoming,
    _lease: Lease,
}

/// A stream broke off.
#[derive(Debug)]
pub struct Broken(Box<dyn std::error::Error + Send + Sync>);

/// Why a body could not be collected.
#[derive(Debug, PartialEq, Eq)]
pub enum CollectError {
    TooLarge,
    Broken,
}

impl Body {
    pub fn empty() -> Body {
        Body(Source::Empty)
    }

    pub fn full(bytes: impl Into<Bytes>) -> Body {
        let bytes = bytes.into();
        Body(if bytes.is_empty() {
            Source::Empty
        } else {
            Source::Full(bytes)
        })
    }

    pub(super) fn from_client(incoming: Incoming, link: Rc<Link>) -> Body {
        if incoming.is_end_stream() {
            return Body::empty();
        }
        link.begin_upload();
        Body(Source::Client(FromClient {
            incoming,
            link,
            first_byte: Duration::ZERO,
            ended: false,
        }))
    }

    pub(super) fn from_server(incoming: Incoming, lease: Lease) -> Body {
        if incoming.is_end_stream() {
            return Body::empty();
        }
        Body(Source::Server(FromServer {
            incoming,
            _lease: lease,
        }))
    }

    /// Whether nothing comes, or nothing more.
    pub fn is_empty(&self) -> bool {
        self.is_end_stream()
    }

    /// The bytes to come, where that is known.
    pub fn length(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// How long the server may take to answer once it has the whole of this request's body.
    pub fn answer_within(&mut self, first_byte: Duration) {
        if let Source::Client(client) = &mut self.0 {
            client.first_byte = first_byte;
        }
    }

    /// All of it, up to a limit.
    pub async fn collect(self, limit: usize) -> Result<Bytes, CollectError> {
        let all = Limited::new(self, limit).collect().await;
        all.map(|all| all.to_bytes()).map_err(|error| {
            if error.is::<LengthLimitError>() {
                CollectError::TooLarge
            } else {
                CollectError::Broken
            }
        })
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.0 {
            Source::Empty => Poll::Ready(None),
            Source::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Source::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Source::Client(client) => client.poll_frame(cx),
            Source::Server(server) => {
                let frame = ready!(Pin::new(&mut server.incoming).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(Broken::by)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Empty => true,
            Source::Full(_) => false,
            Source::Client(client) => client.incoming.is_end_stream(),
            Source::Server(server) => server.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Empty => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Client(client) => client.incoming.size_hint(),
            Source::Server(server) => server.incoming.size_hint(),
        }
    }
}

impl FromClient {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                self.waits(Phase::RequestBody, self.link.timeouts().body);
                return Poll::Pending;
            }
            Poll::Ready(frame) => frame,
        };
        self.waits(Phase::FirstByte, self.first_byte);
        match &frame {
            Some(Ok(frame)) => {
                self.link.count_body(frame.data_ref().map_or(0, Bytes::len));
                // Trailers are the last frame.
                self.ended = frame.is_trailers() || self.incoming.is_end_stream();
            }
            Some(Err(_)) => {}
            None => self.ended = true,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Broken::by)))
    }

    /// Until the response's head is here; a server that answers before it has the whole request has a phase of its own.
    fn waits(&self, phase: Phase, at_most: Duration) {
        let now = self.link.phase();
        if matches!(now, Phase::FirstByte | Phase::RequestBody)
            && !(phase == now && phase == Phase::RequestBody)
        {
            self.link.enter(phase, at_most);
        }
    }
}

impl Drop for FromClient {
    fn drop(&mut self) {
        self.link.end_upload();
        if !self.ended {
            self.link.leave_body();
        }
    }
}

impl Broken {
    fn by(error: hyper::Error) -> Broken {
        Broken(error.into())
    }

    /// It took too long.
    pub(super) fn timed_out() -> Broken {
        Broken("nothing came for too long".into())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Broken {}

impl Default for Body {
    fn default() -> Body {
        Body::empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_collected_up_to_a_limit() {
        let body = || Body::full("0123456789");
        assert_eq!(body().length(), Some(10));
        assert_eq!(body().collect(10).await.unwrap(), "0123456789");
        assert_eq!(body().collect(9).await, Err(CollectError::TooLarge));
        assert_eq!(Body::empty().collect(0).await.unwrap(), "");
    }
}
