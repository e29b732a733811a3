//! The chunked coding (RFC 9112, 7.1), as it passes through: sizes are checked, extensions dropped, data found in place,
//! trailers kept apart. The writer makes chunks of its own, so nothing ambiguous is passed on.

use std::ops::Range;

/// Bytes of a chunk's size line, extensions included.
const MOST_LINE: u32 = 256;
/// Bytes of a trailer section.
const MOST_TRAILERS: usize = 8 * 1024;

/// Reads a chunked body, in whatever pieces it comes.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Of the size line so far.
    line: u32,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// So much of the size is read, from so many digits.
    Size {
        size: u64,
        digits: u8,
    },
    /// Blanks behind the size: an extension may follow, but no more digits.
    Blank {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// Not the chunked coding: the connection can't be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What a piece held.
#[derive(Debug, PartialEq)]
pub struct Progress {
    /// Bytes used, framing included; the rest belongs to the next message.
    pub used: usize,
    /// The body has ended.
    pub done: bool,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder {
            state: START,
            line: 0,
            trailers: Vec::new(),
        }
    }
}

const START: State = State::Size { size: 0, digits: 0 };

impl Decoder {
    /// Reads a piece. `data` is given the places of body bytes in it, in order, none of them empty.
    pub fn read(
        &mut self,
        piece: &[u8],
        mut data: impl FnMut(Range<usize>),
    ) -> Result<Progress, Malformed> {
        let mut at = 0;
        while at < piece.len() && self.state != State::Done {
            match self.state {
                State::Data { left } => {
                    let taken = left.min((piece.len() - at) as u64) as usize;
                    data(at..at + taken);
                    at += taken;
                    let left = left - taken as u64;
                    self.state = if left == 0 {
                        State::DataCr
                    } else {
                        State::Data { left }
                    };
                }
                State::Trailers => at += self.trailer_bytes(&piece[at..])?,
                _ => {
                    self.step(piece[at])?;
                    at += 1;
                }
            }
        }
        Ok(Progress {
            used: at,
            done: self.state == State::Done,
        })
    }

    /// The trailer section's lines, without the empty line that ends it. Whole once the body is done.
    pub fn trailers(&self) -> &[u8] {
        self.trailers.strip_suffix(b"\r\n").unwrap_or_default()
    }

    /// A byte of what stands between the data.
    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        self.line += 1;
        if self.line > MOST_LINE {
            return Err(Malformed);
        }
        self.state = match (self.state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                // Sixteen digits fill 64 bits; sizes beyond 2^63 are nobody's.
                if digits >= 16 || size >> 59 != 0 {
                    return Err(Malformed);
                }
                let digit = (byte as char).to_digit(16).ok_or(Malformed)?;
                State::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Malformed),
            (
                State::Size { size, .. } | State::Blank { size } | State::Extension { size },
                b'\r',
            ) => State::SizeLf { size },
            (State::Size { size, .. } | State::Blank { size }, b' ' | b'\t') => {
                State::Blank { size }
            }
            (State::Size { size, .. } | State::Blank { size }, b';') => State::Extension { size },
            (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => State::Extension { size },
            (State::SizeLf { size: 0 }, b'\n') => State::Trailers,
            (State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => START,
            _ => return Err(Malformed),
        };
        if matches!(self.state, State::Data { .. } | State::Trailers) || self.state == START {
            self.line = 0;
        }
        Ok(())
    }

    /// Takes bytes of the trailer section, up to the empty line that ends it.
    fn trailer_bytes(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        for (index, byte) in bytes.iter().enumerate() {
            let before = self.trailers.last().copied();
            if (*byte == b'\n') != (before == Some(b'\r')) || self.trailers.len() >= MOST_TRAILERS {
                return Err(Malformed);
            }
            self.trailers.push(*byte);
            if self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n") {
                self.check_trailers()?;
                self.state = State::Done;
                return Ok(index + 1);
            }
        }
        Ok(bytes.len())
    }

    /// Fields like those of a head, and none that a trailer may not hold (RFC 9110, 6.5.1): nothing that frames, routes or
    /// authenticates.
    fn check_trailers(&self) -> Result<(), Malformed> {
        let mut slots = [httparse::EMPTY_HEADER; super::head::MOST_FIELDS];
        match httparse::parse_headers(&self.trailers, &mut slots) {
            Ok(httparse::Status::Complete((_, fields))) => {
                if fields.iter().any(|field| !may_be_trailer(field.name)) {
                    Err(Malformed)
                } else {
                    Ok(())
                }
            }
            _ => Err(Malformed),
        }
    }
}

pub(in crate::http) fn may_be_trailer(name: &str) -> bool {
    const NEVER: [&str; 20] = [
        "transfer-encoding",
        "content-length",
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "trailer",
        "te",
        "upgrade",
        "expect",
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "content-encoding",
        "content-type",
        "content-range",
        // Who the client is: in a head we see to that ourselves.
        "forwarded",
        "x-real-ip",
        "x-request-id",
    ];
    const NEVER_LIKE: &str = "x-forwarded-";
    let like = name
        .get(..NEVER_LIKE.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(NEVER_LIKE));
    !like && !NEVER.iter().any(|never| never.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, the trailers and what is left, read in pieces of `size` bytes.
    fn decode(text: &[u8], size: usize) -> Result<(Vec<u8>, Vec<u8>, usize, bool), Malformed> {
        let (mut decoder, mut body, mut used, mut done) =
            (Decoder::default(), Vec::new(), 0, false);
        for piece in text.chunks(size) {
            let progress = decoder.read(piece, |at| body.extend_from_slice(&piece[at]))?;
            used += progress.used;
            done = progress.done;
            if done {
                break;
            }
        }
        Ok((body, decoder.trailers().to_vec(), used, done))
    }

    #[test]
    fn a_body_reads_the_same_in_whatever_pieces_it_comes() {
        let text = b"4\r\nWiki\r\n6;a=b;\"c\" \r\npedia \r\nE \r\nin \r\n\r\nchunks.\r\n000\r\nX-Sum: 1\r\nX-T: b\r\n\r\nGET /next";
        for size in 1..=text.len() {
            let (body, trailers, used, done) = decode(text, size).unwrap();
            assert_eq!(body, b"Wikipedia in \r\n\r\nchunks.");
            assert_eq!(trailers, b"X-Sum: 1\r\nX-T: b\r\n");
            assert_eq!(&text[used..], b"GET /next");
            assert!(done);
        }
    }

    #[test]
    fn an_unfinished_body_is_not_done() {
        for text in [
            "",
            "4",
            "4\r\n",
            "4\r\nWiki",
            "4\r\nWiki\r\n",
            "0\r\n",
            "0\r\nX: 1\r\n",
        ] {
            assert!(!decode(text.as_bytes(), 64).unwrap().3, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_the_coding_is_refused() {
        let long = format!("1;{}\r\n", "a".repeat(300));
        let cases = [
            "\r\n",
            "x\r\n",
            " 4\r\n",
            "0x4\r\n",
            "-1\r\n",
            "+1\r\n",
            "4\nWiki",
            "4\rWiki",
            "4\r\nWikix",
            "4\r\nWiki\n",
            "FFFFFFFFFFFFFFFF\r\n",
            "10000000000000000\r\n",
            "00000000000000004\r\n",
            "1;a\0\r\n",
            "1;a\nb\r\n",
            "1 1\r\n",
            "1 a\r\n",
            "1 \n",
            &long,
            "0\r\nX: 1\n\r\n",
            "0\r\n X: 1\r\n\r\n",
            "0\r\nX : 1\r\n\r\n",
            "0\r\nContent-Length: 1\r\n\r\n",
            "0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "0\r\nHost: x\r\n\r\n",
            "0\r\nX-Forwarded-For: x\r\n\r\n",
            "0\r\nX\r\n\r\n",
        ];
        for text in cases {
            assert_eq!(decode(text.as_bytes(), 64), Err(Malformed), "{text:?}");
        }
        let trailers = format!("0\r\n{}\r\n", "X: 1\r\n".repeat(2_000));
        assert_eq!(decode(trailers.as_bytes(), 4096), Err(Malformed));
    }
}
