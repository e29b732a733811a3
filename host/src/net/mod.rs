//! Sockets: listening ones (`listen`, `accept`), those to servers (`dial`), connected ones whatever they run over (`stream`), how
//! many of them there may be (`files`), what the peer has not taken yet (`unsent`), and the socket that systemd listens on (`systemd`). Knows nothing of HTTP.

pub mod accept;
pub mod address;
pub mod dial;
pub mod files;
pub mod listen;
pub mod stream;
pub mod systemd;
pub mod unsent;

pub use dial::dial;
pub use listen::listen;
pub use stream::Stream;
pub use unsent::unsent;
