//! How long a server may take over a request: to take it, and then to begin its answer.
//!
//! The client's side of this, how long it may take to send the request's body, is `FromClient`'s.

use std::rc::Rc;
use std::time::Duration;

use super::link::{Link, Phase};

/// With one request. Zero: as long as the server likes.
pub struct Patience {
    pub link: Rc<Link>,
    /// For the server to take anything of what is sent to it.
    pub send: Duration,
    /// From the whole of the request, as far as there is one, to the answer's head.
    pub first_byte: Duration,
    /// Bytes that were still to go when the server last took none.
    left: usize,
}

impl Patience {
    pub fn new(link: Rc<Link>, send: Duration, first_byte: Duration) -> Patience {
        Patience {
            link,
            send,
            first_byte,
            left: 0,
        }
    }

    /// The server takes nothing at the moment, and so many bytes are still to go.
    pub(super) fn blocked(&mut self, left: usize) {
        let link = &self.link;
        if link.awaits_answer() && (link.phase() != Phase::Sending || left != self.left) {
            link.enter(Phase::Sending, self.send);
            self.left = left;
        }
    }

    /// It has taken all that there was.
    pub(super) fn taken(&self) {
        if self.link.phase() == Phase::Sending {
            self.link.enter(Phase::FirstByte, self.first_byte);
        }
    }
}
