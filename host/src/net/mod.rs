//! Sockets: listening ones (`listen`, `accept`) and those to servers (`dial`), and how many of them there may be (`files`).
//! Knows nothing of HTTP.

pub mod accept;
pub mod address;
pub mod dial;
pub mod files;
pub mod listen;

pub use dial::dial;
pub use listen::listen;
