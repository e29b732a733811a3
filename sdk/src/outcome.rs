//! What a router or filter says, and how it is put together.

use std::time::Duration;

use crate::{Answer, PoolIndex};

pub use crate::bindings::base::tidegate::plugin::types::{Decision, Edit, Note, Outcome, Reply};

/// Go on: to the next filter, the router, the listener's pool.
pub fn next() -> Outcome {
    Outcome {
        decision: Decision::Next,
        edits: Vec::new(),
        path: None,
        notes: Vec::new(),
        reason: None,
    }
}

/// Answer at once, with this status (200 to 599); no server sees the request.
pub fn reply(status: u16) -> Outcome {
    let reply = Reply {
        status,
        headers: Vec::new(),
        body: Vec::new(),
    };
    Outcome {
        decision: Decision::Reply(reply),
        ..next()
    }
}

/// Made by [`next`], [`reply`] or [`Outcome::pool`], then by adding to it.
///
/// ```
/// use tidegate_sdk::{next, reply};
/// let on = next().set("x-user", "ada").remove("cookie").note("user", "ada");
/// let no = reply(429).retry_after(std::time::Duration::from_millis(1500)).body("slow down").why("over 5 a second");
/// assert_eq!(no.replied().unwrap().header("retry-after"), Some(&b"2"[..]));
/// # assert_eq!(on.edits.len(), 2);
/// ```
impl Outcome {
    /// Send the request to this pool. From a filter it overrules the router.
    pub fn pool(pool: PoolIndex) -> Outcome {
        Outcome {
            decision: Decision::Pool(pool.0),
            ..next()
        }
    }

    /// Sets a header, in place of every occurrence: the reply's if this is one, else the request's.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        let (name, value) = (name.into(), value.into());
        match &mut self.decision {
            Decision::Reply(reply) => {
                reply
                    .headers
                    .retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
                reply.headers.push((name, value));
            }
            _ => self.edits.push(Edit::Set((name, value))),
        }
        self
    }

    /// Adds one more occurrence of a header: of the reply if this is one, else of the request.
    pub fn append(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        match &mut self.decision {
            Decision::Reply(reply) => reply.headers.push((name.into(), value.into())),
            _ => self.edits.push(Edit::Append((name.into(), value.into()))),
        }
        self
    }

    /// Removes every occurrence of a header: of the reply if this is one, else of the request.
    pub fn remove(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        match &mut self.decision {
            Decision::Reply(reply) => reply
                .headers
                .retain(|(known, _)| !known.eq_ignore_ascii_case(&name)),
            _ => self.edits.push(Edit::Remove(name)),
        }
        self
    }

    /// Takes a header over from a fetch's answer. Where the answer has none the header is removed: what the client itself
    /// sent under that name must not pass for the answer's word.
    pub fn copy(self, answer: &Answer, name: &str) -> Self {
        match answer.header(name) {
            Some(value) => self.set(name, value),
            None => self.remove(name),
        }
    }

    /// The request's new path; with a `?` in it, the new query too. Begins with `/`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// A note for later plugins and the access log; 1 KiB of it are kept. Setting a name again replaces it.
    pub fn note(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.notes.push(made_note(name.into(), value.into()));
        self
    }

    /// Why, in a few words, for the access log; 256 bytes of it are kept.
    pub fn why(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(cut(reason.into(), 256));
        self
    }

    /// The reply's body. Does nothing to what is no reply.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        if let Decision::Reply(reply) = &mut self.decision {
            reply.body = body.into();
        }
        self
    }

    /// The reply's body as plain text, with the header that says so. Does nothing to what is no reply.
    pub fn text(self, body: impl Into<String>) -> Self {
        match self.decision {
            Decision::Reply(_) => self
                .set("content-type", "text/plain; charset=utf-8")
                .body(body.into()),
            _ => self,
        }
    }

    /// When to come again: `Retry-After` in whole seconds, rounded up (RFC 9110, 10.2.3).
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        self.set("retry-after", seconds.to_string())
    }

    /// The reply, if this is one.
    pub fn replied(&self) -> Option<&Reply> {
        match &self.decision {
            Decision::Reply(reply) => Some(reply),
            _ => None,
        }
    }
}

impl Default for Outcome {
    fn default() -> Self {
        next()
    }
}

impl Reply {
    /// The first field of that name, case-insensitive.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        field(&self.headers, name)
    }
}

pub(crate) fn field<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    headers
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_slice())
}

/// The host takes no longer ones: what a client sent may make a note long, and must not make the call fail.
pub(crate) fn made_note(name: String, value: String) -> Note {
    Note {
        name,
        value: cut(value, 1024),
    }
}

fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}
