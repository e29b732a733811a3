//! A request to a server of HTTP/2, on a stream of a connection that others share (`mux`).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::header::CONTENT_LENGTH;
use http::uri::{Authority, Parts, PathAndQuery, Scheme, Uri};
use http::{Method, Request, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::fields::{self, is_bare, lines, write_line};
use super::incoming::Incoming;
use super::mux::Place;
use super::out::{Chunk, Out};
use super::remote::{Reply, Sending};
use crate::http::body::{Body, Unsent};
use crate::http::client::{Answer, MOST_INTERIM, Outgoing, Why, head_in};
use crate::http::message::ResponseHead;
use crate::http::patience::Patience;

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
    pub(super) sender: SendRequest<Chunk>,
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
        let head = head(request, &body, self.secure).ok_or(none(Why::Unsayable, None))?;
        let bodiless = *request.method() == Method::HEAD;
        let ended = body.is_empty();
        let sent = self.sender.send_request(head, ended);
        let (answer, stream) = match sent {
            Ok(sent) => sent,
            Err(_) => return Err(none(Why::Refused, Some(body))),
        };
        let mut out = Out::new(stream, None);
        out.keep();
        let mut sending = Sending {
            out,
            body,
            ended,
            patience,
        };
        let answer = until_answered(answer, &mut sending, &interim).await;
        let (head, length, stream) = match answer.and_then(read) {
            Ok(answer) => answer,
            Err(Why::Refused) => return Err(none(Why::Refused, sending.into_body())),
            Err(why) => return Err(none(why, None)),
        };
        self.place.answered();
        sending.answered();
        let length = length.filter(|_| !bodiless);
        let body = Body::from_server_stream(Reply {
            incoming: Incoming::new(stream, length),
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

/// Sends on until the answer's head is there.
async fn until_answered(
    answer: ResponseFuture,
    sending: &mut Sending,
    interim: &impl Fn(ResponseHead),
) -> Result<Response<RecvStream>, Why> {
    let (mut answer, mut told) = (pin!(answer), 0);
    poll_fn(|cx| {
        match sending.poll(cx) {
            Poll::Ready(Err(Unsent::Body)) => return Poll::Ready(Err(Why::RequestBroken)),
            // Why, the answer tells; what is left may go to another.
            Poll::Ready(Err(Unsent::Peer)) => sending.ended = true,
            _ => {}
        }
        while let Poll::Ready(Some(head)) = poll_interim(&mut answer, cx) {
            told += 1;
            match text_of(&head).and_then(|text| head_in(&text)) {
                Some((head, _)) if told <= MOST_INTERIM => interim(head),
                _ => return Poll::Ready(Err(Why::Invalid)),
            }
        }
        answer.as_mut().poll(cx).map_err(|error| why(&error))
    })
    .await
}

/// What `Expect: 100-continue` asked for we have said ourselves.
fn poll_interim(answer: &mut ResponseFuture, cx: &mut Context<'_>) -> Poll<Option<Response<()>>> {
    loop {
        match answer.poll_informational(cx) {
            Poll::Ready(Some(Ok(head))) if head.status() == StatusCode::CONTINUE => {}
            Poll::Ready(Some(Ok(head))) => return Poll::Ready(Some(head)),
            // An error is the answer's too.
            Poll::Ready(_) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        }
    }
}

fn why(error: &h2::Error) -> Why {
    let reason = error.reason();
    let refused = error.is_reset() && reason == Some(Reason::REFUSED_STREAM);
    // The streams that a server leaves out as it goes, it has not looked at (RFC 9113, 6.8).
    let left_out = error.is_go_away() && reason == Some(Reason::NO_ERROR);
    if error.is_remote() && (refused || left_out) {
        Why::Refused
    } else if error.is_library() {
        Why::Invalid
    } else {
        Why::Closed
    }
}

/// The head as text, HTTP/1.1's, becomes one of HTTP/2. None: it can't be one.
fn head(request: &impl Outgoing, body: &Body, secure: bool) -> Option<Request<()>> {
    let mut text = Vec::with_capacity(1024);
    request.write(&mut text);
    let text = Bytes::from(text);
    let line_ends = memchr::memchr(b'\n', &text)? + 1;
    let (line, rest) = (text.slice(..line_ends), text.slice(line_ends..));
    let mut parts = Parts::default();
    parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority(&rest)?);
    parts.path_and_query = Some(target(&line)?);
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = Uri::from_parts(parts).ok()?;
    let mut map = fields::of_lines(rest);
    if let Some(length) = body.length().filter(|length| *length > 0)
        && !map.contains_key(CONTENT_LENGTH)
    {
        map.insert(CONTENT_LENGTH, length.into());
    }
    *head.headers_mut() = map;
    Some(head)
}

/// As it came, if the http crate lets it pass; else with those bytes encoded that URIs don't have (RFC 3986, 2.1).
fn target(line: &Bytes) -> Option<PathAndQuery> {
    let begin = memchr::memchr(b' ', line)? + 1;
    let end = memchr::memrchr(b' ', line)?;
    let target = line.slice(begin..end);
    PathAndQuery::from_maybe_shared(target.clone())
        .or_else(|_| percent_encode(&target, NEVER_BARE).to_string().parse())
        .ok()
}

/// Host becomes the authority (RFC 9113, 8.3.1).
fn authority(fields: &Bytes) -> Option<Authority> {
    let (_, host) = lines(fields).find(|(name, _)| name.eq_ignore_ascii_case(b"host"))?;
    Authority::try_from(host).ok()
}

type Head = (ResponseHead, Option<u64>, RecvStream);

/// An answer's head is read as HTTP/1.1's is, strictly.
fn read(response: Response<RecvStream>) -> Result<Head, Why> {
    let (parts, stream) = response.into_parts();
    let mut response = Response::new(());
    (*response.status_mut(), *response.headers_mut()) = (parts.status, parts.headers);
    let length = response.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let head = text_of(&response).and_then(|text| head_in(&text));
    let (head, _) = head
        .filter(|(head, _)| !head.status.is_informational())
        .ok_or(Why::Invalid)?;
    Ok((head, length, stream))
}

/// None: a field that HTTP/1.1 could not carry.
fn text_of(head: &Response<()>) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(512);
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(head.status().as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(
        head.status()
            .canonical_reason()
            .unwrap_or_default()
            .as_bytes(),
    );
    text.extend_from_slice(b"\r\n");
    for (name, value) in head.headers() {
        if !is_bare(value.as_bytes()) {
            return None;
        }
        write_line(name.as_str().as_bytes(), value.as_bytes(), &mut text);
    }
    text.extend_from_slice(b"\r\n");
    Some(text)
}
