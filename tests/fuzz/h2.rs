//! The reader of frames, and HPACK.

#[path = "../../host/src/http/h2/flood.rs"]
pub mod flood;
#[path = "../../host/src/http/h2/frame.rs"]
pub mod frame;
#[path = "../../host/src/http/h2/hpack/mod.rs"]
pub mod hpack;
#[path = "../../host/src/http/h2/reader.rs"]
pub mod reader;

pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
