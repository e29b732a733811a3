//! What a connection has to write: frames of its streams and of its own, in the order in which they were appended. The buffer is the
//! worker's while nothing waits in it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::frame::{self, HEAD, LARGEST, flag, kind};
use super::hpack::Encoder;
use super::stream::Stream;

/// Bytes that wait for the socket before streams have to wait.
pub(super) const MOST_OUT: usize = 64 << 10;

/// Buffers that a worker keeps for the connections that write next, and how large one may have grown.
const MOST_KEPT: usize = 32;
const LARGEST_KEPT: usize = 2 * MOST_OUT;

thread_local! {
    static STOCK: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Outbox {
    buffer: Vec<u8>,
    /// Bytes of it that the socket has taken.
    at: usize,
    /// Bytes ever taken by it.
    pub written: u64,
    pub encoder: Encoder,
    /// Bytes that may be sent on all streams.
    pub window: i64,
    /// The last frame, where it is one of DATA that may be made longer.
    tail: Option<Tail>,
    /// Those that wait for their bytes to leave, or for room for more.
    waiting: VecDeque<Rc<Stream>>,
}

struct Tail {
    stream: u32,
    begin: usize,
    end: usize,
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox {
            buffer: Vec::new(),
            at: 0,
            written: 0,
            encoder: Encoder::default(),
            window: i64::from(frame::WINDOW),
            tail: None,
            waiting: VecDeque::new(),
        }
    }
}

impl Outbox {
    /// Bytes that the socket has not taken.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.at
    }

    /// The same, to be written.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Up to where all would have been written.
    pub fn end_of_all(&self) -> u64 {
        self.written + self.pending() as u64
    }

    /// To be appended to.
    fn ready(&mut self) -> &mut Outbox {
        if self.buffer.capacity() == 0 {
            self.buffer = STOCK.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        self
    }

    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.ready().buffer);
    }

    /// Appends a head, of which `write` writes the block; how many bytes that is.
    pub fn head(
        &mut self,
        stream: u32,
        flags: u8,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> usize {
        let Outbox {
            buffer, encoder, ..
        } = self.ready();
        let begin = buffer.len();
        frame::head(0, kind::HEADERS, 0, stream, buffer);
        write(encoder, buffer);
        frame::end_head(begin, stream, flags, buffer);
        buffer.len() - begin
    }

    /// The socket has taken so many bytes.
    pub fn took(&mut self, bytes: usize) {
        self.at += bytes;
        self.written += bytes as u64;
        if self.at < self.buffer.len() {
            return;
        }
        self.at = 0;
        self.tail = None;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        if buffer.capacity() <= LARGEST_KEPT {
            STOCK.with_borrow_mut(|stock| {
                if stock.len() < MOST_KEPT {
                    stock.push(buffer);
                }
            });
        }
    }

    /// Puts bytes into frames; how many that is with their heads.
    pub fn data(&mut self, stream: u32, mut bytes: &[u8]) -> usize {
        let before = self.buffer.len();
        if let Some(begin) = self.tail_of(stream) {
            let length = before - begin - HEAD;
            let (more, rest) = bytes.split_at(bytes.len().min(LARGEST - length));
            self.buffer.extend_from_slice(more);
            frame::amend(&mut self.buffer[begin..], length + more.len(), 0);
            bytes = rest;
            self.set_tail(stream, begin);
        }
        for piece in bytes.chunks(LARGEST) {
            let buffer = &mut self.ready().buffer;
            let begin = buffer.len();
            frame::head(piece.len(), kind::DATA, 0, stream, buffer);
            buffer.extend_from_slice(piece);
            self.set_tail(stream, begin);
        }
        self.buffer.len() - before
    }

    pub fn end(&mut self, stream: u32) {
        match self.tail_of(stream) {
            Some(begin) => {
                let length = self.buffer.len() - begin - HEAD;
                frame::amend(&mut self.buffer[begin..], length, flag::END_STREAM);
            }
            None => frame::head(
                0,
                kind::DATA,
                flag::END_STREAM,
                stream,
                &mut self.ready().buffer,
            ),
        }
        self.tail = None;
    }

    fn set_tail(&mut self, stream: u32, begin: usize) {
        let end = self.buffer.len();
        self.tail = Some(Tail { stream, begin, end });
    }

    /// Where the last frame begins, if it is one of this stream's DATA of which nothing was written.
    fn tail_of(&self, stream: u32) -> Option<usize> {
        let tail = self.tail.as_ref()?;
        let untouched = tail.end == self.buffer.len() && tail.begin >= self.at;
        (untouched && tail.stream == stream).then_some(tail.begin)
    }

    /// Wakes those whose bytes have left, and of the others as many as there is room for, in the order in which they came.
    pub fn wake_those_who_wait(&mut self) {
        let mut room = MOST_OUT.saturating_sub(self.pending());
        room = room.min(usize::try_from(self.window).unwrap_or(0));
        let written = self.written;
        self.waiting.retain(|stream| {
            let wants = stream.wants.get();
            let goes_on = match wants {
                0 => stream.mark.get() <= written,
                _ => room > 0 && stream.window.get() > 0,
            };
            if goes_on || stream.cause().is_some() {
                room = room.saturating_sub(wants);
                stream.waits.set(false);
                stream.wake();
                return false;
            }
            true
        });
    }

    pub fn wait(&mut self, stream: &Rc<Stream>) {
        self.waiting.push_back(stream.clone());
    }

    pub fn wait_no_more(&mut self, stream: &Rc<Stream>) {
        self.waiting.retain(|waits| !Rc::ptr_eq(waits, stream));
    }

    pub fn nobody_waits(&mut self) {
        self.waiting.clear();
    }
}
