//! Bytes as they come, taken apart into frames. Frames of DATA are passed on piece by piece; of the others, and of what a header
//! block consists of, what has come is kept until the rest has.

use super::PREFACE;
use super::flood::Flood;
use super::frame::{HEAD, Head, LARGEST, LAST_STREAM, Reason, flag, kind};

/// Frames that a header block may come in.
const MOST_PIECES: u32 = 128;

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    Data {
        stream: u32,
        bytes: &'a [u8],
        /// Bytes of the peer's window that were used for it.
        cost: usize,
        end: bool,
    },
    /// A whole header block.
    Head {
        stream: u32,
        block: &'a [u8],
        end: bool,
    },
    Reset {
        stream: u32,
        reason: Reason,
    },
    Settings(&'a [u8]),
    SettingsHeard,
    Ping(&'a [u8; 8]),
    Pong(&'a [u8; 8]),
    GoAway {
        last: u32,
        reason: Reason,
    },
    Window {
        stream: u32,
        by: u32,
    },
}

pub struct Reader {
    /// Bytes of the preface that were not there yet.
    preface: usize,
    /// The first frame, which is SETTINGS, was there.
    begun: bool,
    /// A frame that has begun, its head included.
    rest: Vec<u8>,
    data: Option<Data>,
    block: Option<Block>,
    /// Bytes of a header block.
    most_block: usize,
    flood: Option<Flood>,
}

/// A frame of DATA under way.
struct Data {
    stream: u32,
    left: usize,
    padding: usize,
    /// What its padding cost, until that was said.
    cost: usize,
    end: bool,
}

/// A header block under way.
struct Block {
    stream: u32,
    end: bool,
    bytes: Vec<u8>,
    pieces: u32,
}

type Each<'a> = dyn FnMut(Frame<'_>) -> Result<(), Reason> + 'a;

impl Reader {
    /// Of what a client sends, which is held to its bounds.
    pub fn of_client(most_block: usize, flood: Flood) -> Reader {
        Reader {
            preface: PREFACE.len(),
            flood: Some(flood),
            ..Reader::of_server(most_block)
        }
    }

    pub fn of_server(most_block: usize) -> Reader {
        Reader {
            preface: 0,
            begun: false,
            rest: Vec::new(),
            data: None,
            block: None,
            most_block,
            flood: None,
        }
    }

    /// What all of these bytes are. An error is the connection's.
    pub fn read(&mut self, bytes: &[u8], now: u64, each: &mut Each<'_>) -> Result<(), Reason> {
        if let Some(flood) = &mut self.flood {
            flood.tick(now);
        }
        if self.rest.is_empty() {
            let used = self.frames(bytes, each)?;
            self.rest.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let used = self.frames(&rest, each)?;
        if used < rest.len() {
            self.rest = rest;
            self.rest.drain(..used);
        }
        Ok(())
    }

    /// Bytes that were sent earn a client the right to ask.
    pub fn wrote(&mut self, bytes: usize) {
        if let Some(flood) = &mut self.flood {
            flood.wrote(bytes);
        }
    }

    /// How many bytes the frames took that are whole.
    fn frames(&mut self, bytes: &[u8], each: &mut Each<'_>) -> Result<usize, Reason> {
        let mut at = self.preface(bytes)?;
        loop {
            if self.data.is_some() {
                at += self.more_data(&bytes[at..], each)?;
                if self.data.is_some() {
                    return Ok(at);
                }
            }
            let Some((head, behind)) = bytes[at..].split_first_chunk::<HEAD>() else {
                return Ok(at);
            };
            let head = Head::read(head);
            self.check(&head)?;
            if head.kind == kind::DATA {
                // The length of its padding stands before all else.
                let padded = usize::from(head.has(flag::PADDED));
                if behind.len() < padded {
                    return Ok(at);
                }
                self.count(&head)?;
                at += HEAD + padded;
                self.begin_data(&head, behind)?;
                continue;
            }
            let Some(payload) = behind.get(..head.length) else {
                return Ok(at);
            };
            self.count(&head)?;
            at += HEAD + head.length;
            self.frame(&head, payload, each)?;
        }
    }

    fn preface(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let have = bytes.len().min(self.preface);
        let expected = &PREFACE[PREFACE.len() - self.preface..][..have];
        if bytes[..have] != *expected {
            return Err(Reason::PROTOCOL_ERROR);
        }
        self.preface -= have;
        Ok(have)
    }

    /// What is wrong with a frame whatever it holds.
    fn check(&mut self, head: &Head) -> Result<(), Reason> {
        if head.length > LARGEST {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        if !self.begun && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        self.begun = true;
        // A header block is in one piece, as far as frames go.
        let goes_on = head.kind == kind::CONTINUATION;
        let fits = match &self.block {
            Some(block) => goes_on && block.stream == head.stream,
            None => !goes_on,
        };
        if !fits {
            return Err(Reason::PROTOCOL_ERROR);
        }
        let of_stream = match head.kind {
            kind::DATA | kind::HEADERS | kind::PRIORITY | kind::RST_STREAM | kind::CONTINUATION => {
                true
            }
            kind::SETTINGS | kind::PING | kind::GOAWAY => false,
            // Nobody was asked to push, and a client may not.
            kind::PUSH_PROMISE => return Err(Reason::PROTOCOL_ERROR),
            _ => return Ok(()),
        };
        if of_stream == (head.stream == 0) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        Ok(())
    }

    fn count(&mut self, head: &Head) -> Result<(), Reason> {
        let fine = self.flood.as_mut().is_none_or(|flood| flood.frame(head));
        if fine {
            Ok(())
        } else {
            Err(Reason::ENHANCE_YOUR_CALM)
        }
    }

    fn begin_data(&mut self, head: &Head, behind: &[u8]) -> Result<(), Reason> {
        let (padding, left) = if head.has(flag::PADDED) {
            let padding = usize::from(behind[0]);
            let left = head.length.checked_sub(1 + padding);
            (padding, left.ok_or(Reason::PROTOCOL_ERROR)?)
        } else {
            (0, head.length)
        };
        self.data = Some(Data {
            stream: head.stream,
            left,
            padding,
            cost: head.length - left,
            end: head.has(flag::END_STREAM),
        });
        Ok(())
    }

    fn more_data(&mut self, bytes: &[u8], each: &mut Each<'_>) -> Result<usize, Reason> {
        let Some(data) = &mut self.data else {
            return Ok(0);
        };
        let have = bytes.len().min(data.left);
        data.left -= have;
        let padding = (bytes.len() - have).min(data.padding);
        data.padding -= padding;
        let over = data.left + data.padding == 0;
        if have == 0 && !over {
            return Ok(padding);
        }
        let frame = Frame::Data {
            stream: data.stream,
            bytes: &bytes[..have],
            cost: have + std::mem::take(&mut data.cost),
            end: data.end && over,
        };
        if over {
            self.data = None;
        }
        each(frame)?;
        Ok(have + padding)
    }

    fn frame(&mut self, head: &Head, payload: &[u8], each: &mut Each<'_>) -> Result<(), Reason> {
        let stream = head.stream;
        match head.kind {
            kind::HEADERS => self.headers(head, payload, each),
            kind::CONTINUATION => self.continuation(head, payload, each),
            kind::RST_STREAM => {
                let reason = Reason(number(payload)?);
                each(Frame::Reset { stream, reason })
            }
            kind::SETTINGS if head.has(flag::ACK) => match payload {
                [] => each(Frame::SettingsHeard),
                _ => Err(Reason::FRAME_SIZE_ERROR),
            },
            kind::SETTINGS if !payload.len().is_multiple_of(6) => Err(Reason::FRAME_SIZE_ERROR),
            kind::SETTINGS => each(Frame::Settings(payload)),
            kind::PING => {
                let word = payload.try_into().map_err(|_| Reason::FRAME_SIZE_ERROR)?;
                each(if head.has(flag::ACK) {
                    Frame::Pong(word)
                } else {
                    Frame::Ping(word)
                })
            }
            kind::GOAWAY => {
                let last = number(payload.get(..4).unwrap_or_default())? & LAST_STREAM;
                let reason = Reason(number(payload.get(4..8).unwrap_or_default())?);
                each(Frame::GoAway { last, reason })
            }
            kind::WINDOW_UPDATE => {
                let by = number(payload)? & LAST_STREAM;
                each(Frame::Window { stream, by })
            }
            kind::PRIORITY if payload.len() != 5 => Err(Reason::FRAME_SIZE_ERROR),
            // Priorities are of the past (RFC 9113, 5.3.2), and what nobody knows is passed over (5.5).
            _ => Ok(()),
        }
    }

    fn headers(&mut self, head: &Head, payload: &[u8], each: &mut Each<'_>) -> Result<(), Reason> {
        let mut block = payload;
        let mut padding = 0;
        if head.has(flag::PADDED) {
            let (first, rest) = block.split_first().ok_or(Reason::FRAME_SIZE_ERROR)?;
            (padding, block) = (usize::from(*first), rest);
        }
        if head.has(flag::PRIORITY) {
            block = block.get(5..).ok_or(Reason::FRAME_SIZE_ERROR)?;
        }
        let length = block.len().checked_sub(padding);
        block = &block[..length.ok_or(Reason::PROTOCOL_ERROR)?];
        let (stream, end) = (head.stream, head.has(flag::END_STREAM));
        if head.has(flag::END_HEADERS) {
            return each(Frame::Head { stream, block, end });
        }
        self.block = Some(Block {
            stream,
            end,
            bytes: block.to_vec(),
            pieces: 1,
        });
        Ok(())
    }

    fn continuation(
        &mut self,
        head: &Head,
        payload: &[u8],
        each: &mut Each<'_>,
    ) -> Result<(), Reason> {
        let Some(block) = &mut self.block else {
            return Ok(());
        };
        block.pieces += 1;
        if block.pieces > MOST_PIECES || block.bytes.len() + payload.len() > self.most_block {
            return Err(Reason::ENHANCE_YOUR_CALM);
        }
        block.bytes.extend_from_slice(payload);
        if !head.has(flag::END_HEADERS) {
            return Ok(());
        }
        let Some(block) = self.block.take() else {
            return Ok(());
        };
        each(Frame::Head {
            stream: block.stream,
            block: &block.bytes,
            end: block.end,
        })
    }
}

fn number(bytes: &[u8]) -> Result<u32, Reason> {
    let bytes = bytes.try_into().map_err(|_| Reason::FRAME_SIZE_ERROR)?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::frame::{self, end_head};
    use super::*;

    /// What is read of these bytes, which come in pieces of that size.
    fn read(reader: &mut Reader, bytes: &[u8], size: usize) -> Result<Vec<String>, Reason> {
        let mut all: Vec<String> = Vec::new();
        let mut data = None;
        for piece in bytes.chunks(size) {
            reader.read(piece, 7, &mut |frame| {
                if let Frame::Data {
                    stream,
                    bytes,
                    cost,
                    end,
                } = frame
                {
                    let (text, sum) = data.get_or_insert_with(|| (String::new(), 0));
                    text.push_str(std::str::from_utf8(bytes).unwrap());
                    *sum += cost;
                    if end {
                        all.push(format!("data {stream} {text} {sum}"));
                    }
                } else {
                    all.push(format!("{frame:?}"));
                }
                Ok(())
            })?;
        }
        Ok(all)
    }

    fn settled() -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        frame::settings(&[(3, 100)], &mut bytes);
        bytes
    }

    fn client() -> Reader {
        Reader::of_client(1_000, Flood::new(7))
    }

    #[test]
    fn frames_are_the_same_in_whatever_pieces_they_come() {
        let mut bytes = settled();
        frame::head(0, kind::HEADERS, 0, 1, &mut bytes);
        let begin = bytes.len() - HEAD;
        bytes.extend_from_slice(b"block");
        end_head(begin, 1, 0, &mut bytes);
        frame::head(0, kind::DATA, 0, 1, &mut bytes);
        frame::head(5, kind::DATA, 0, 1, &mut bytes);
        bytes.extend_from_slice(b"hello");
        frame::head(
            8,
            kind::DATA,
            flag::PADDED | flag::END_STREAM,
            1,
            &mut bytes,
        );
        bytes.extend_from_slice(b"\x03 you\0\0\0");
        frame::head(4, 0x77, 0, 1, &mut bytes);
        bytes.extend_from_slice(b"????");
        frame::head(
            3,
            kind::HEADERS,
            flag::PRIORITY | flag::PADDED,
            3,
            &mut bytes,
        );
        let length = b"\x02\0\0\0\0\x10one\0\0";
        let at = bytes.len() - HEAD;
        bytes.extend_from_slice(length);
        frame::amend(&mut bytes[at..], length.len(), 0);
        frame::head(3, kind::CONTINUATION, flag::END_HEADERS, 3, &mut bytes);
        bytes.extend_from_slice(b"two");
        frame::ping(b"12345678", 0, &mut bytes);
        frame::window_update(1, 9, &mut bytes);
        frame::reset(1, Reason::CANCEL, &mut bytes);
        frame::goaway(3, Reason::NO_ERROR, &mut bytes);
        let whole = read(&mut client(), &bytes, bytes.len()).unwrap();
        assert_eq!(whole.len(), 8, "{whole:?}");
        assert_eq!(whole[2], "data 1 hello you 13");
        assert!(whole[3].contains("stream: 3"), "{}", whole[3]);
        for size in 1..bytes.len() {
            assert_eq!(read(&mut client(), &bytes, size).unwrap(), whole, "{size}");
        }
    }

    #[test]
    fn what_is_no_frame_is_told_by_its_kind_of_error() {
        let after = |more: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = settled();
            more(&mut bytes);
            let whole = read(&mut client(), &bytes, bytes.len()).unwrap_err();
            for size in [1, 3, 10] {
                assert_eq!(read(&mut client(), &bytes, size).unwrap_err(), whole);
            }
            whole
        };
        let of = |length: usize, kind: u8, flags: u8, stream: u32| {
            after(&|bytes| {
                frame::head(length, kind, flags, stream, bytes);
                bytes.resize(bytes.len() + length, 9);
            })
        };
        assert_eq!(of(LARGEST + 1, kind::DATA, 0, 1), Reason::FRAME_SIZE_ERROR);
        assert_eq!(of(1, kind::DATA, 0, 0), Reason::PROTOCOL_ERROR);
        assert_eq!(of(9, kind::DATA, flag::PADDED, 1), Reason::PROTOCOL_ERROR);
        assert_eq!(of(0, kind::HEADERS, 0, 0), Reason::PROTOCOL_ERROR);
        assert_eq!(
            of(9, kind::HEADERS, flag::PADDED, 1),
            Reason::PROTOCOL_ERROR
        );
        assert_eq!(
            of(4, kind::HEADERS, flag::PRIORITY, 1),
            Reason::FRAME_SIZE_ERROR
        );
        assert_eq!(of(0, kind::CONTINUATION, 4, 1), Reason::PROTOCOL_ERROR);
        assert_eq!(of(4, kind::PUSH_PROMISE, 4, 1), Reason::PROTOCOL_ERROR);
        assert_eq!(of(6, kind::SETTINGS, 0, 1), Reason::PROTOCOL_ERROR);
        assert_eq!(of(5, kind::SETTINGS, 0, 0), Reason::FRAME_SIZE_ERROR);
        assert_eq!(
            of(6, kind::SETTINGS, flag::ACK, 0),
            Reason::FRAME_SIZE_ERROR
        );
        assert_eq!(of(7, kind::PING, 0, 0), Reason::FRAME_SIZE_ERROR);
        assert_eq!(of(8, kind::PING, 0, 1), Reason::PROTOCOL_ERROR);
        assert_eq!(of(7, kind::GOAWAY, 0, 0), Reason::FRAME_SIZE_ERROR);
        assert_eq!(of(5, kind::RST_STREAM, 0, 1), Reason::FRAME_SIZE_ERROR);
        assert_eq!(of(4, kind::RST_STREAM, 0, 0), Reason::PROTOCOL_ERROR);
        assert_eq!(of(3, kind::WINDOW_UPDATE, 0, 0), Reason::FRAME_SIZE_ERROR);
        assert_eq!(of(4, kind::PRIORITY, 0, 1), Reason::FRAME_SIZE_ERROR);
        let interrupted = after(&|bytes| {
            frame::head(0, kind::HEADERS, 0, 1, bytes);
            frame::ping(b"12345678", 0, bytes);
        });
        assert_eq!(interrupted, Reason::PROTOCOL_ERROR);
        let endless = after(&|bytes| {
            frame::head(0, kind::HEADERS, 0, 1, bytes);
            (0..MOST_PIECES).for_each(|_| frame::head(0, kind::CONTINUATION, 0, 1, bytes));
        });
        assert_eq!(endless, Reason::ENHANCE_YOUR_CALM);
        let long = after(&|bytes| {
            frame::head(0, kind::HEADERS, 0, 1, bytes);
            frame::head(1_001, kind::CONTINUATION, 0, 1, bytes);
            bytes.resize(bytes.len() + 1_001, 0);
        });
        assert_eq!(long, Reason::ENHANCE_YOUR_CALM);
    }

    #[test]
    fn a_connection_begins_with_its_preface_and_settings() {
        let said = |bytes: &[u8]| read(&mut client(), bytes, bytes.len());
        assert_eq!(said(b"PRI * HTTP/1.1").unwrap_err(), Reason::PROTOCOL_ERROR);
        let mut bytes = PREFACE.to_vec();
        frame::ping(b"12345678", 0, &mut bytes);
        assert_eq!(said(&bytes).unwrap_err(), Reason::PROTOCOL_ERROR);
        assert_eq!(said(&settled()).unwrap().len(), 1);
    }
}
