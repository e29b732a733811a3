//! HTTP/2 on the wire (RFC 9113). `conn` keeps a connection, whichever end of it we are: `reader` takes apart what comes into frames
//! (`frame`), `hpack` reads and writes header blocks, `flood` counts what costs only us, `outbox` gathers what is
//! to be written, `stream` is what there is to a stream.
//! Above it, `server` runs a client's connection and `exchange` one of its streams; `client` sends requests, and `mux` keeps the
//! connections that they share. `incoming` and `out` are bodies on their way in and out, on either side.
//!
//! ```text
//!            server ──── a task a connection: reads, and writes what was held up; drain, floods
//!               │ a stream
//!            exchange ── a task a stream: `request` makes a head of it, `Service::call`, `out` sends the answer
//! ```
//!
//! What a head may say is decided by HTTP/1.1's reader alone (`h1::head`): a head that came in HTTP/2 is written down as
//! HTTP/1.1 and read by it, so that there are no two sets of rules, and what is passed on to a server of HTTP/1.1 is what was
//! read. Nothing here crosses threads.

pub mod client;
mod conn;
mod exchange;
mod fields;
pub mod flood;
pub mod frame;
pub mod hpack;
pub(super) mod incoming;
pub mod mux;
mod out;
mod outbox;
pub mod reader;
pub(super) mod remote;
mod request;
pub mod server;
mod stream;
mod tunnel;
mod websocket;

/// What a client of HTTP/2 is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Streams at a time on one connection.
    pub max_streams: u32,
    /// Bytes that a stream may send before we ask for more.
    pub window: u32,
}

/// What a connection begins with in clear text (RFC 9113, 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of it that no other protocol begins with: the request line up to its version.
const TELLING: usize = b"PRI * HTTP/2".len();

/// Whether a connection that begins like this speaks HTTP/2.
pub(super) fn is_preface(bytes: &[u8]) -> bool {
    let common = bytes.len().min(PREFACE.len());
    common >= TELLING && bytes[..common] == PREFACE[..common]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preface_is_told_from_a_request() {
        assert!(is_preface(PREFACE));
        assert!(is_preface(&PREFACE[..TELLING]));
        assert!(is_preface(&[&PREFACE[..], b"\0\0\0"].concat()));
        assert!(!is_preface(&PREFACE[..TELLING - 1]));
        assert!(!is_preface(b"PRI * HTTP/2.0\r\nHost: h\r\n\r\n"));
        assert!(!is_preface(b"GET / HTTP/1.1\r\n"));
    }
}
