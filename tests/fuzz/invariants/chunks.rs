//! Chunked bodies.

use super::plain::{field, lines};
use super::{Splits, many};
use crate::h1::chunk::{Decoder, Malformed};

/// What became of a body.
#[derive(Debug, PartialEq)]
struct Decoded {
    data: Vec<u8>,
    trailers: Vec<u8>,
    used: usize,
    end: Result<bool, Malformed>,
}

pub fn chunked_body(bytes: &[u8], splits: Splits) {
    let whole = decode(&[bytes]);
    for split in splits.of(bytes) {
        let (before, behind) = bytes.split_at(split);
        assert_eq!(decode(&[before, behind]), whole, "in two pieces at {split}");
    }
    assert_eq!(decode(&many(bytes)), whole, "in many pieces");
    assert!(whole.used <= bytes.len());
    if whole.end == Ok(true) {
        check_whole(&bytes[..whole.used], &whole);
        check_written_again(&whole);
    } else {
        assert!(
            whole.end == Err(Malformed) || whole.used == bytes.len(),
            "an unfinished body takes all there is"
        );
    }
}

fn decode(pieces: &[&[u8]]) -> Decoded {
    let mut decoder = Decoder::default();
    let mut decoded = Decoded {
        data: Vec::new(),
        trailers: Vec::new(),
        used: 0,
        end: Ok(false),
    };
    for piece in pieces {
        let mut last = 0;
        let read = decoder.read(piece, |at| {
            assert!(
                last <= at.start && at.start < at.end,
                "data in order, and never none"
            );
            last = at.end;
            decoded.data.extend_from_slice(&piece[at]);
        });
        match read {
            Ok(progress) => {
                decoded.used += progress.used;
                decoded.end = Ok(progress.done);
                assert!(progress.done || progress.used == piece.len());
            }
            Err(malformed) => {
                // How much was read of a piece that is refused is nobody's business.
                decoded.used = 0;
                decoded.end = Err(malformed);
            }
        }
        if decoded.end != Ok(false) {
            break;
        }
    }
    if decoded.end == Ok(true) {
        decoded.trailers = decoder.trailers().to_vec();
    }
    decoded
}

/// httparse's reader of chunk sizes agrees, and so does the plainest way to read trailers.
fn check_whole(bytes: &[u8], whole: &Decoded) {
    let mut rest = bytes;
    let mut data = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(rest) else {
            panic!("httparse refuses {:?}", rest.escape_ascii().to_string());
        };
        rest = &rest[line..];
        if size == 0 {
            break;
        }
        let (chunk, behind) =
            rest.split_at(usize::try_from(size).expect("it was read, so it fits"));
        data.extend_from_slice(chunk);
        rest = behind
            .strip_prefix(b"\r\n")
            .expect("a line end behind the data");
    }
    assert_eq!(data, whole.data);
    let trailers = rest
        .strip_suffix(b"\r\n")
        .expect("an empty line at the end");
    assert_eq!(trailers, whole.trailers);
    for line in lines(trailers.strip_suffix(b"\r\n").unwrap_or(trailers)) {
        if !line.is_empty() {
            let (name, _) = field(line);
            let frames = [&b"content-length"[..], b"transfer-encoding", b"host"];
            assert!(!frames.iter().any(|never| never.eq_ignore_ascii_case(name)));
        }
    }
}

/// In chunks of other sizes, as a sink would write it, the body reads the same.
fn check_written_again(whole: &Decoded) {
    let mut again = Vec::new();
    for chunk in whole.data.chunks(3) {
        again.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        again.extend_from_slice(chunk);
        again.extend_from_slice(b"\r\n");
    }
    again.extend_from_slice(b"0\r\n");
    again.extend_from_slice(&whole.trailers);
    again.extend_from_slice(b"\r\n");
    let read = decode(&[&again]);
    assert_eq!(
        (&read.data, &read.trailers, read.used, read.end),
        (&whole.data, &whole.trailers, again.len(), Ok(true))
    );
}
