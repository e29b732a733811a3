//! A body that is compressed as it streams: a source that wraps another. What the client may be sent, and whether it should
//! be, is decided elsewhere.
//!
//! Whenever the source pauses, what the encoder holds back is flushed, so that an event stream arrives as it is sent. A
//! response holds one encoder, whose window is bounded here rather than by the level: levels that want megabytes of
//! window gain little on what the web sends.

use std::io::{self, Write};
use std::task::{Context, Poll};

use flate2::write::GzEncoder;

use super::body::Body;
use super::h1::incoming::{Broken, Piece, Step};
use crate::config::checked::Coding;

/// Binary logarithm of the bytes that brotli and zstd look back at.
const WINDOW: u32 = 18;

/// Bytes that brotli's writer gathers before it compresses.
const GATHERED: usize = 4 << 10;

pub(super) struct Compressed {
    inner: Body,
    encoder: Encoder,
    /// Taken in since the last flush.
    held: bool,
    ended: bool,
    trailers: Vec<u8>,
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Compressed {
    /// Err: there is no memory for the encoder.
    pub fn new(inner: Body, coding: Coding, level: u32) -> io::Result<Compressed> {
        Ok(Compressed {
            inner,
            encoder: Encoder::new(coding, level)?,
            held: false,
            ended: false,
            trailers: Vec::new(),
        })
    }

    pub fn into_inner(self) -> Body {
        self.inner
    }

    /// One step of the source, and what the encoder makes of it, which may be nothing yet.
    pub fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(Piece<'_>),
    ) -> Poll<Result<Step, Broken>> {
        if self.ended {
            return Poll::Ready(Ok(Step::Ended));
        }
        let Compressed {
            inner,
            encoder,
            held,
            trailers,
            ..
        } = self;
        let mut written = Ok(());
        let step = inner.poll_step(cx, &mut |piece| match piece {
            Piece::Data(bytes) if written.is_ok() => {
                *held |= !bytes.is_empty();
                written = encoder.writer().write_all(bytes);
            }
            Piece::Data(_) => {}
            Piece::Trailers(lines) => trailers.extend_from_slice(lines),
        });
        let encoded = written.and_then(|()| match step {
            Poll::Pending if self.held => {
                self.held = false;
                self.encoder.writer().flush()
            }
            Poll::Ready(Ok(Step::Ended)) => self.encoder.finish(),
            _ => Ok(()),
        });
        if encoded.is_err() {
            return Poll::Ready(Err(Broken));
        }
        self.give(step, take)
    }

    fn give(
        &mut self,
        step: Poll<Result<Step, Broken>>,
        take: &mut dyn FnMut(Piece<'_>),
    ) -> Poll<Result<Step, Broken>> {
        let out = self.encoder.out();
        let gives = !out.is_empty();
        if gives {
            take(Piece::Data(out));
            out.clear();
        }
        match step {
            // Asked again, the source says once more that it waits.
            Poll::Pending if gives => Poll::Ready(Ok(Step::More)),
            Poll::Ready(Ok(Step::Ended)) => {
                self.ended = true;
                if !self.trailers.is_empty() {
                    take(Piece::Trailers(&self.trailers));
                }
                step
            }
            step => step,
        }
    }

    pub fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.inner.poll_settle(cx)
    }
}

impl Encoder {
    fn new(coding: Coding, level: u32) -> io::Result<Encoder> {
        Ok(match coding {
            Coding::Gzip => {
                Encoder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(level)))
            }
            Coding::Brotli => Encoder::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                GATHERED,
                level,
                WINDOW,
            ))),
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level as i32)?;
                encoder.window_log(WINDOW)?;
                Encoder::Zstd(encoder)
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Encoder::Gzip(encoder) => encoder,
            Encoder::Brotli(encoder) => encoder,
            Encoder::Zstd(encoder) => encoder,
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Encoder::Gzip(encoder) => encoder.try_finish(),
            Encoder::Brotli(encoder) => {
                // It has no other way to end than being taken apart.
                let spent = brotli::CompressorWriter::new(Vec::new(), 1, 0, 10);
                let out = std::mem::replace(&mut **encoder, spent).into_inner();
                *encoder.get_mut() = out;
                Ok(())
            }
            Encoder::Zstd(encoder) => encoder.do_finish(),
        }
    }

    /// What it has made.
    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Brotli(encoder) => encoder.get_mut(),
            Encoder::Zstd(encoder) => encoder.get_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn text() -> String {
        (0..5000).map(|n| format!("line {n}\n")).collect()
    }

    fn decoded(coding: Coding, bytes: &[u8]) -> String {
        let mut text = String::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_string(&mut text),
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes)
                .unwrap()
                .read_to_string(&mut text),
        }
        .unwrap();
        text
    }

    #[tokio::test]
    async fn what_is_compressed_is_the_same_again() {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let body = Body::full(text()).compressed(coding, 3);
            assert_eq!(body.length(), None);
            let bytes = body.collect(1 << 20).await.unwrap();
            assert!(bytes.len() < text().len() / 3, "{coding:?} {}", bytes.len());
            assert_eq!(decoded(coding, &bytes), text(), "{coding:?}");
        }
    }

    #[tokio::test]
    async fn nothing_compressed_is_still_a_whole_stream() {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let bytes = Body::empty().compressed(coding, 1).collect(100).await;
            assert_eq!(decoded(coding, &bytes.unwrap()), "", "{coding:?}");
        }
    }
}
