//! Sockets: listening ones (`listen`, `accept`) and those to servers (`dial`). Knows nothing of HTTP.

pub mod accept;
pub mod address;
pub mod dial;
pub mod listen;

pub use dial::dial;
pub use listen::listen;
