//! A request to a server of HTTP/2, on a stream of a connection that others share (`mux`).

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http::Method;
use http::StatusCode;
use http::uri::{Authority, PathAndQuery};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::conn::Conn;
use super::fields::{self, lines};
use super::frame::Reason;
use super::incoming::Incoming;
use super::mux::Place;
use super::out::Out;
use super::remote::{Reply, Sending};
use super::stream::{Cause, Stream};
use crate::http::body::{Body, Unsent};
use crate::http::client::{Answer, MOST_INTERIM, Outgoing, Why, head_in};
use crate::http::message::ResponseHead;
use crate::http::patience::Patience;
use crate::http::turn::after_others;

/// Printable bytes that browsers encode in paths or queries, and HTTP/1.1's reader lets pass.
const NEVER_BARE: &AsciiSet = &CONTROLS.add(b'"').add(b'<').add(b'>').add(b'`');

/// There is no answer.
pub struct NoAnswer {
    pub why: Why,
    /// The request's body as it was, where the server has not so much as looked at it, and nothing of it is lost.
    pub body: Option<Body>,
}

/// A connection on which one more request may be sent.
pub struct Connection {
    pub(super) conn: Rc<Conn>,
    pub(super) place: Place,
    /// The bytes pass through TLS.
    pub(super) secure: bool,
}

impl Connection {
    /// Sends a request. Dropping the future resets its stream.
    pub async fn send(
        mut self,
        request: &impl Outgoing,
        body: Body,
        patience: Option<Patience>,
        interim: impl Fn(ResponseHead),
    ) -> Result<Answer, NoAnswer> {
        let none = |why, body| NoAnswer { why, body };
        let head = Head::of(request).ok_or(none(Why::Unsayable, None))?;
        let Some(stream) = self.conn.begin() else {
            return Err(none(Why::Refused, Some(body)));
        };
        self.place.stream = Some(stream.clone());
        stream.bodiless.set(*request.method() == Method::HEAD);
        let ended = body.is_empty();
        let mut out = Out::new(stream.clone(), None);
        let (method, length) = (request.method().as_str().as_bytes(), body.length());
        out.head(ended, |encoder, out| {
            encoder.request(method, self.secure, head.authority(), head.target(), out);
            fields::request(head.fields(), length, encoder, out);
        });
        out.keep();
        let mut sending = Sending {
            out,
            body,
            ended,
            patience,
        };
        after_others().await;
        sending.out.flush();
        let head = match until_answered(&stream, &mut sending, &interim).await {
            Ok(head) => head,
            Err(Why::Refused) => return Err(none(Why::Refused, sending.into_body())),
            Err(why) => return Err(none(why, None)),
        };
        self.place.answered();
        sending.answered();
        let body = Body::from_server_stream(Reply {
            incoming: Incoming::new(stream),
            sending,
            _place: self.place,
        });
        Ok(Answer {
            head,
            body,
            upgrade: None,
        })
    }
}

/// Sends on until the answer's head is there, which is read as HTTP/1.1's is, strictly.
async fn until_answered(
    stream: &Stream,
    sending: &mut Sending,
    interim: &impl Fn(ResponseHead),
) -> Result<ResponseHead, Why> {
    let mut told = 0;
    poll_fn(|cx| {
        match sending.poll(cx) {
            Poll::Ready(Err(Unsent::Body)) => return Poll::Ready(Err(Why::RequestBroken)),
            // Why, the stream tells; what is left may go to another.
            Poll::Ready(Err(Unsent::Peer)) => sending.ended = true,
            _ => {}
        }
        while let Some(text) = stream.take_head() {
            let Some((head, _)) = head_in(&text) else {
                return Poll::Ready(Err(Why::Invalid));
            };
            if !head.status.is_informational() {
                return Poll::Ready(Ok(head));
            }
            told += 1;
            if told > MOST_INTERIM {
                return Poll::Ready(Err(Why::Invalid));
            }
            // What `Expect: 100-continue` asked for we have said ourselves.
            if head.status != StatusCode::CONTINUE {
                interim(head);
            }
        }
        stream.poll_end(cx).map(|cause| Err(why(cause)))
    })
    .await
}

fn why(cause: Cause) -> Why {
    match cause {
        Cause::Reset(Reason::REFUSED_STREAM) | Cause::LeftOut => Why::Refused,
        Cause::Violation => Why::Invalid,
        Cause::Reset(_) | Cause::Closed | Cause::Ours => Why::Closed,
    }
}

/// A request's head as HTTP/1.1 has it, and where HTTP/2 says what in it.
struct Head {
    text: Bytes,
    /// Where its fields begin.
    fields: usize,
    authority: Authority,
    /// None: as it stands in the text.
    target: Option<String>,
}

impl Head {
    /// None: it can't be said.
    fn of(request: &impl Outgoing) -> Option<Head> {
        let mut text = Vec::with_capacity(1024);
        request.write(&mut text);
        let text = Bytes::from(text);
        let fields = memchr::memchr(b'\n', &text)? + 1;
        let (_, host) =
            lines(&text[fields..]).find(|(name, _)| name.eq_ignore_ascii_case(b"host"))?;
        // Host becomes the authority (RFC 9113, 8.3.1).
        let authority = Authority::try_from(host).ok()?;
        let mut head = Head {
            text,
            fields,
            authority,
            target: None,
        };
        // As it came, if the http crate lets it pass; else with those bytes encoded that URIs don't have (RFC 3986, 2.1).
        if PathAndQuery::try_from(head.target()).is_err() {
            let encoded = percent_encode(head.target(), NEVER_BARE).to_string();
            PathAndQuery::try_from(&*encoded).ok()?;
            head.target = Some(encoded);
        }
        Some(head)
    }

    fn authority(&self) -> &[u8] {
        self.authority.as_str().as_bytes()
    }

    fn target(&self) -> &[u8] {
        if let Some(target) = &self.target {
            return target.as_bytes();
        }
        let line = &self.text[..self.fields];
        let begin = memchr::memchr(b' ', line).map_or(0, |at| at + 1);
        let end = memchr::memrchr(b' ', line).unwrap_or(begin);
        line.get(begin..end).unwrap_or_default()
    }

    fn fields(&self) -> &[u8] {
        &self.text[self.fields..]
    }
}
