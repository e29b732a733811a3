//! A body on its way in, by length, in chunks or until the connection ends (RFC 9112, 6.3).

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::chunk::Decoder;
use super::head::Framing;
use super::wire::{SCRATCH, Wire};
use crate::http::body::Coming;

pub struct Incoming {
    left: Left,
    /// Read with the head.
    have: Vec<u8>,
    wire: Rc<Wire>,
}

enum Left {
    Length(u64),
    Chunked(Box<Decoder>),
    UntilClose,
    Done,
}

/// A body that ended before its end, or is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Of a body.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    Data(&'a [u8]),
    /// Lines of fields; the last that comes.
    Trailers(&'a [u8]),
}

/// What one step gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    More,
    Ended,
}

impl Incoming {
    /// `have` was read behind the head. `until_close`: what an unsaid length means.
    pub fn new(framing: Framing, until_close: bool, have: Vec<u8>, wire: Rc<Wire>) -> Incoming {
        let left = match framing {
            Framing::Length(0) => Left::Done,
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunked(Box::default()),
            Framing::Unsaid if until_close => Left::UntilClose,
            Framing::Unsaid => Left::Done,
        };
        let mut incoming = Incoming { left, have, wire };
        incoming.settle();
        incoming
    }

    pub fn is_done(&self) -> bool {
        matches!(self.left, Left::Done)
    }

    /// The bytes to come, where that is known.
    pub fn length(&self) -> Option<u64> {
        match self.left {
            Left::Length(length) => Some(length),
            Left::Done => Some(0),
            _ => None,
        }
    }

    /// What is at hand, else one read; what it holds goes to `take`.
    pub fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Piece<'_>),
    ) -> Poll<Result<Step, Broken>> {
        if self.is_done() {
            return Poll::Ready(Ok(Step::Ended));
        }
        if !self.have.is_empty() {
            let have = std::mem::take(&mut self.have);
            let used = self.take(&have, take)?;
            self.wire.keep(&have[used..]);
            return Poll::Ready(Ok(self.step()));
        }
        // Bytes of the next message are better left in the socket.
        let most = match self.left {
            Left::Length(left) => left.min(SCRATCH as u64) as usize,
            _ => SCRATCH,
        };
        let wire = self.wire.clone();
        let taken = ready!(wire.poll_read(cx, most, |bytes| {
            if bytes.is_empty() {
                return self.end_of_connection();
            }
            let used = self.take(bytes, take)?;
            wire.keep(&bytes[used..]);
            Ok(())
        }));
        match taken {
            Ok(Ok(())) => Poll::Ready(Ok(self.step())),
            Ok(Err(Broken)) | Err(_) => Poll::Ready(Err(Broken)),
        }
    }

    fn step(&self) -> Step {
        if self.is_done() {
            Step::Ended
        } else {
            Step::More
        }
    }

    fn end_of_connection(&mut self) -> Result<(), Broken> {
        match self.left {
            Left::UntilClose => {
                self.left = Left::Done;
                Ok(())
            }
            _ => Err(Broken),
        }
    }

    /// How many of these bytes belong to the body.
    fn take(&mut self, bytes: &[u8], take: &mut dyn FnMut(Piece<'_>)) -> Result<usize, Broken> {
        match &mut self.left {
            Left::Length(left) => {
                let used = (*left).min(bytes.len() as u64) as usize;
                take(Piece::Data(&bytes[..used]));
                *left -= used as u64;
                if *left == 0 {
                    self.left = Left::Done;
                }
                Ok(used)
            }
            Left::Chunked(decoder) => {
                let progress = decoder
                    .read(bytes, |at| take(Piece::Data(&bytes[at])))
                    .map_err(|_| Broken)?;
                if progress.done {
                    take(Piece::Trailers(decoder.trailers()));
                    self.left = Left::Done;
                }
                Ok(progress.used)
            }
            Left::UntilClose => {
                take(Piece::Data(bytes));
                Ok(bytes.len())
            }
            Left::Done => Ok(0),
        }
    }

    /// Where there is no body, what was read behind the head belongs to what comes next.
    fn settle(&mut self) {
        if self.is_done() && !self.have.is_empty() {
            self.wire.keep(&std::mem::take(&mut self.have));
        }
    }
}

impl Coming for Incoming {
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Piece<'_>),
    ) -> Poll<Result<Step, Broken>> {
        self.poll_step(cx, take)
    }

    fn is_done(&self) -> bool {
        self.is_done()
    }

    fn set_taken(&self, taken: bool) {
        self.wire.set_taken(taken);
    }
}
