//! Sockets: listening ones (`listen`, `accept`), those to servers (`dial`), connected ones whatever they run over (`stream`), how
//! many of them there may be (`files`), what it is when there is none left (`shortage`), what the peer has not taken yet (`unsent`), and the socket that systemd listens on (`systemd`);
//! bytes passed from one to another (`relay`), by the kernel itself where that pays (`pipe`), and what may stand before them: a PROXY line (`proxy`), a TLS hello that is only looked
//! at (`hello`). Knows nothing of HTTP.

pub mod accept;
pub mod address;
pub mod dial;
pub mod files;
pub mod hello;
pub mod listen;
pub mod pipe;
pub mod proxy;
pub mod relay;
pub mod shortage;
pub mod stream;
pub mod systemd;
pub mod unsent;

pub use dial::dial;
pub use listen::{Accepted, Listening, listen};
pub use stream::Stream;
pub use unsent::unsent;
