//! Frames of HTTP/2, and the header blocks in them.

use super::{Splits, many};
use crate::h2::PREFACE;
use crate::h2::flood::Flood;
use crate::h2::frame::{self, Reason};
use crate::h2::hpack::{Decoder, Encoder};
use crate::h2::reader::{Frame, Reader};

/// Bytes of a header block, few enough for one to be too long now and then.
const MOST_BLOCK: usize = 4_000;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What was heard, in words in which it does not matter how many pieces it came in.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    frames: Vec<String>,
    /// Bytes of DATA and what they cost, by stream; and whether it ended.
    data: Vec<(u32, Vec<u8>, usize, bool)>,
    blocks: Vec<Option<Fields>>,
    end: Option<u32>,
}

/// Behind a client's preface and its SETTINGS.
pub fn h2_frames(bytes: &[u8], splits: Splits) {
    let whole = hear(&[bytes]);
    for split in splits.of(bytes) {
        let (before, behind) = bytes.split_at(split);
        assert_eq!(hear(&[before, behind]), whole, "in two pieces at {split}");
    }
    assert_eq!(hear(&many(bytes)), whole, "in many pieces");
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    for fields in whole.blocks.iter().flatten() {
        check_said_again(fields, &mut encoder, &mut decoder);
    }
}

fn hear(pieces: &[&[u8]]) -> Heard {
    let mut begin = PREFACE.to_vec();
    frame::settings(&[], &mut begin);
    let mut reader = Reader::of_client(MOST_BLOCK, Flood::new(7));
    let (mut heard, mut decoder) = (Heard::default(), Decoder::default());
    for piece in [&begin[..]].iter().chain(pieces) {
        let read = reader.read(piece, 7, &mut |frame| take(frame, &mut heard, &mut decoder));
        if let Err(Reason(reason)) = read {
            heard.end = Some(reason);
            break;
        }
    }
    heard
}

fn take(frame: Frame<'_>, heard: &mut Heard, decoder: &mut Decoder) -> Result<(), Reason> {
    match frame {
        Frame::Data {
            stream,
            bytes,
            cost,
            end,
        } => {
            assert!(cost >= bytes.len());
            match heard.data.last_mut() {
                Some((last, all, sum, ended)) if *last == stream && !*ended => {
                    all.extend_from_slice(bytes);
                    *sum += cost;
                    *ended = end;
                }
                _ => heard.data.push((stream, bytes.to_vec(), cost, end)),
            }
        }
        Frame::Head { block, .. } => {
            let (mut fields, mut size) = (Vec::new(), 0);
            // As the proxy does, no more is kept than a head may have; one byte may name four thousand.
            let read = decoder.decode(block, |name, value| {
                size += name.len() + value.len();
                if size < 1 << 20 {
                    fields.push((name.to_vec(), value.to_vec()));
                }
            });
            heard.blocks.push(read.is_ok().then_some(fields));
            if read.is_err() {
                return Err(Reason::COMPRESSION_ERROR);
            }
        }
        other => heard.frames.push(format!("{other:?}")),
    }
    Ok(())
}

/// Written by our own hand, a block reads the same.
fn check_said_again(fields: &Fields, encoder: &mut Encoder, decoder: &mut Decoder) {
    let mut block = Vec::new();
    encoder.trailers(&mut block);
    for (name, value) in fields {
        encoder.field(name, value, &mut block);
    }
    let mut read = Vec::new();
    let decoded = decoder.decode(&block, |name, value| {
        read.push((name.to_vec(), value.to_vec()))
    });
    assert!(decoded.is_ok() && read == *fields, "{fields:?}");
}
