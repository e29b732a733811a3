//! The next request on a connection: read into the worker's scratch buffer, kept only while it is incomplete.

use std::future::poll_fn;
use std::ops::Range;

use http::Method;
use http::header::HOST;

use super::head::{self, FieldAt, Framing, Refused, RequestIndex, Version};
use super::wire::Wire;
use crate::http::fields::Fields;
use crate::http::h2;
use crate::http::message::{RequestHead, Target};
use crate::http::server::Unreadable;

/// Bytes of the read that a head is expected in.
pub const HEAD_READ: usize = 16 << 10;

/// Bytes of a head that is read again for each line of it.
const SHORT: usize = 4 << 10;

/// A head, and what was read behind it.
pub struct Heard {
    pub head: RequestHead,
    pub framing: Framing,
    pub keep_alive: bool,
    pub expects: bool,
    pub have: Vec<u8>,
}

/// None: the client has closed.
pub async fn next(wire: &Wire) -> Result<Option<Box<Heard>>, Unreadable> {
    let mut partial = wire.take_rest();
    let most = wire.most_head();
    // Pipelined behind the request before.
    if !partial.is_empty()
        && let Some(heard) = hear(&partial, most)?
    {
        return Ok(Some(heard));
    }
    // How much of it was there when it was last read from its beginning.
    let mut heard = 0;
    loop {
        let read = poll_fn(|cx| {
            wire.poll_read(cx, HEAD_READ, |bytes| {
                if bytes.is_empty() {
                    return Ok(None);
                }
                if partial.is_empty() {
                    let heard = hear_first(wire, bytes, most)?;
                    if heard.is_none() {
                        partial.extend_from_slice(bytes);
                    }
                    return Ok(Some(heard));
                }
                partial.extend_from_slice(bytes);
                if partial.len() <= most && !is_worth_reading(&partial, bytes.len(), heard) {
                    return Ok(Some(None));
                }
                heard = partial.len();
                hear_first(wire, &partial, most).map(Some)
            })
        })
        .await;
        match read {
            Ok(Ok(Some(Some(heard)))) => return Ok(Some(heard)),
            Ok(Ok(Some(None))) => {}
            Ok(Err(why)) => return Err(why),
            // The client has gone away, in the middle of a head perhaps: there is nobody to answer.
            Ok(Ok(None)) | Err(_) => return Ok(None),
        }
    }
}

/// Whether a head of which the last `new` bytes have just come is to be read again, from its beginning. Only a line's end can complete
/// it, or spoil it. Once it is long, one that is spoiled can wait: were it read for each line, one that comes line by line would
/// cost the square of its length.
fn is_worth_reading(head: &[u8], new: usize, heard: usize) -> bool {
    let begin = head.len() - new;
    if memchr::memchr2(b'\n', b'\r', &head[begin..]).is_none() {
        return false;
    }
    let last = &head[begin.saturating_sub(3)..];
    let ends = |mark: &[u8]| memchr::memmem::find(last, mark).is_some();
    head.len() <= SHORT || head.len() >= 2 * heard || ends(b"\n\r\n") || ends(b"\n\n")
}

/// What is no head may be the beginning of HTTP/2: then it is kept for that.
fn hear_first(wire: &Wire, bytes: &[u8], most: usize) -> Result<Option<Box<Heard>>, Unreadable> {
    let heard = hear(bytes, most);
    if heard.is_err() && h2::is_preface(bytes) {
        wire.keep(bytes);
        return Err(Unreadable::Preface);
    }
    heard
}

/// The head that these bytes are, no more and no less.
pub fn read_whole(bytes: &[u8]) -> Result<Box<Heard>, Unreadable> {
    let heard = hear(bytes, usize::MAX)?.filter(|heard| heard.have.is_empty());
    heard.ok_or(Unreadable::Refused(Refused::RequestLine))
}

/// A head in these bytes, of which it may take so many.
fn hear(bytes: &[u8], most: usize) -> Result<Option<Box<Heard>>, Unreadable> {
    super::with_index(|fields| {
        // What lies behind it is not looked at, so that it does not matter how much of it has come.
        let head = &bytes[..bytes.len().min(most)];
        let found = match head::request(head, fields).map_err(Unreadable::Refused)? {
            Some(found) => found,
            None if bytes.len() > most => return Err(Unreadable::HeadTooLarge),
            None => return Ok(None),
        };
        Ok(Some(Box::new(Heard {
            head: request_head(&bytes[..found.end], &found, fields)?,
            framing: found.framing,
            keep_alive: found.keep_alive,
            expects: found.expects,
            have: bytes[found.end..].to_vec(),
        })))
    })
}

/// An absolute form's authority stands for Host (RFC 9112, 3.2.2); the two agree, or it would have been refused.
fn request_head(
    bytes: &[u8],
    found: &RequestIndex,
    index: &[FieldAt],
) -> Result<RequestHead, Unreadable> {
    let part = |at: &Range<u32>| &bytes[at.start as usize..at.end as usize];
    let method = Method::from_bytes(part(&found.method))
        .map_err(|_| Unreadable::Refused(Refused::Method))?;
    let mut fields = Fields::of_head(bytes, index);
    if let (None, Some(authority)) = (&found.host, &found.authority) {
        fields.append_sent(&HOST, part(authority));
    }
    // An absolute form with nothing behind its authority (RFC 9112, 3.2.4).
    let target = if found.target.is_empty() && method == Method::OPTIONS {
        &b"*"[..]
    } else {
        part(&found.target)
    };
    let version = match found.version {
        Version::Http10 => http::Version::HTTP_10,
        Version::Http11 => http::Version::HTTP_11,
    };
    Ok(RequestHead {
        method,
        target: Target::new(target),
        version,
        fields,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_head_that_comes_line_by_line_is_not_read_for_each() {
        let lines = "a: b\r\n".repeat(8_000);
        let (mut heard, mut bytes) = (0, 0);
        for end in (6..=lines.len()).step_by(6) {
            if is_worth_reading(&lines.as_bytes()[..end], 6, heard) {
                (heard, bytes) = (end, bytes + end);
            }
        }
        let short = SHORT * SHORT / 6;
        assert!(bytes < short + 4 * lines.len(), "{bytes}");
    }

    #[test]
    fn the_end_of_a_head_is_seen_however_it_comes() {
        let head = ["a".repeat(2 * SHORT).as_bytes(), b"\r\n\r\n"].concat();
        for new in 1..=5 {
            assert!(is_worth_reading(&head, new, head.len() - 1), "{new}");
        }
        assert!(!is_worth_reading(
            &head[..head.len() - 1],
            2,
            head.len() - 2
        ));
    }
}
