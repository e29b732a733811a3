//! Frames as they stand on the wire (RFC 9113, 4 and 6).

/// Bytes of a frame's head.
pub const HEAD: usize = 9;

/// Bytes of a frame's payload, at most: what each side begins with (SETTINGS_MAX_FRAME_SIZE). We ask for no more, and send no
/// more to those who would take it.
pub const LARGEST: usize = 16 << 10;

/// What a window begins with, and how large one may become.
pub const WINDOW: u32 = 65_535;
pub const LARGEST_WINDOW: i64 = (1 << 31) - 1;

/// Streams have 31 bits.
pub const LAST_STREAM: u32 = (1 << 31) - 1;

pub mod kind {
    pub const DATA: u8 = 0x0;
    pub const HEADERS: u8 = 0x1;
    pub const PRIORITY: u8 = 0x2;
    pub const RST_STREAM: u8 = 0x3;
    pub const SETTINGS: u8 = 0x4;
    pub const PUSH_PROMISE: u8 = 0x5;
    pub const PING: u8 = 0x6;
    pub const GOAWAY: u8 = 0x7;
    pub const WINDOW_UPDATE: u8 = 0x8;
    pub const CONTINUATION: u8 = 0x9;
}

pub mod flag {
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 0x1;
    pub const ENABLE_PUSH: u16 = 0x2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub const MAX_FRAME_SIZE: u16 = 0x5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    /// RFC 8441, 3.
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
}

/// Why a stream or a connection ends (RFC 9113, 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    pub const NO_ERROR: Reason = Reason(0x0);
    pub const PROTOCOL_ERROR: Reason = Reason(0x1);
    pub const INTERNAL_ERROR: Reason = Reason(0x2);
    pub const FLOW_CONTROL_ERROR: Reason = Reason(0x3);
    pub const STREAM_CLOSED: Reason = Reason(0x5);
    pub const FRAME_SIZE_ERROR: Reason = Reason(0x6);
    pub const REFUSED_STREAM: Reason = Reason(0x7);
    pub const CANCEL: Reason = Reason(0x8);
    pub const COMPRESSION_ERROR: Reason = Reason(0x9);
    pub const ENHANCE_YOUR_CALM: Reason = Reason(0xb);
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Head {
    pub fn read(bytes: &[u8; HEAD]) -> Head {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        Head {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            // The highest bit is nobody's.
            stream: u32::from_be_bytes(stream) & LAST_STREAM,
        }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

pub fn head(length: usize, kind: u8, flags: u8, stream: u32, out: &mut Vec<u8>) {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

/// Sets the length of the frame that begins there, and adds flags to it.
pub fn amend(frame: &mut [u8], length: usize, flags: u8) {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    frame[..3].copy_from_slice(&[a, b, c]);
    frame[4] |= flags;
}

/// A head and its block, which is what was written behind `begin`, the place where nothing stood before. What is too long for a
/// frame goes on in others.
pub fn end_head(begin: usize, stream: u32, flags: u8, out: &mut Vec<u8>) {
    let length = out.len() - begin - HEAD;
    if length <= LARGEST {
        return amend(&mut out[begin..], length, flags | flag::END_HEADERS);
    }
    amend(&mut out[begin..], LARGEST, flags);
    let rest = out.split_off(begin + HEAD + LARGEST);
    let mut pieces = rest.chunks(LARGEST).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() {
            flag::END_HEADERS
        } else {
            0
        };
        head(piece.len(), kind::CONTINUATION, flags, stream, out);
        out.extend_from_slice(piece);
    }
}

pub fn settings(list: &[(u16, u32)], out: &mut Vec<u8>) {
    head(list.len() * 6, kind::SETTINGS, 0, 0, out);
    for (name, value) in list {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub fn window_update(stream: u32, by: u32, out: &mut Vec<u8>) {
    head(4, kind::WINDOW_UPDATE, 0, stream, out);
    out.extend_from_slice(&by.to_be_bytes());
}

pub fn reset(stream: u32, reason: Reason, out: &mut Vec<u8>) {
    head(4, kind::RST_STREAM, 0, stream, out);
    out.extend_from_slice(&reason.0.to_be_bytes());
}

pub fn ping(payload: &[u8; 8], flags: u8, out: &mut Vec<u8>) {
    head(8, kind::PING, flags, 0, out);
    out.extend_from_slice(payload);
}

pub fn goaway(last: u32, reason: Reason, out: &mut Vec<u8>) {
    head(8, kind::GOAWAY, 0, 0, out);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&reason.0.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let mut out = Vec::new();
        head(LARGEST, kind::DATA, flag::END_STREAM, 0x1234_5678, &mut out);
        let read = Head::read(out[..].try_into().unwrap());
        assert_eq!((read.length, read.kind), (LARGEST, kind::DATA));
        assert_eq!((read.flags, read.stream), (1, 0x1234_5678));
        out[5] |= 0x80;
        let read = Head::read(out[..].try_into().unwrap());
        assert_eq!(read.stream, 0x1234_5678, "a bit is reserved");
    }

    #[test]
    fn a_long_block_takes_several_frames() {
        for length in [0, 1, LARGEST, LARGEST + 1, 2 * LARGEST, 2 * LARGEST + 1] {
            let mut out = b"before".to_vec();
            let begin = out.len();
            head(0, kind::HEADERS, 0, 7, &mut out);
            out.extend((0..length).map(|n| n as u8));
            end_head(begin, 7, flag::END_STREAM, &mut out);
            let (mut rest, mut block, mut ended) = (&out[begin..], Vec::new(), false);
            let mut first = true;
            while !rest.is_empty() {
                let head = Head::read(rest[..HEAD].try_into().unwrap());
                let expected = if first {
                    kind::HEADERS
                } else {
                    kind::CONTINUATION
                };
                assert_eq!((head.kind, head.stream), (expected, 7));
                assert!(!ended && head.length <= LARGEST);
                assert_eq!(head.has(flag::END_STREAM), first);
                ended = head.has(flag::END_HEADERS);
                block.extend_from_slice(&rest[HEAD..][..head.length]);
                rest = &rest[HEAD + head.length..];
                first = false;
            }
            assert!(ended && block.len() == length);
        }
    }
}
