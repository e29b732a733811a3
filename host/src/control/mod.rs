//! One mechanism for every change: a `Change` comes in, a complete candidate is built off the request path, and either every
//! worker runs it or nothing has changed.

pub mod change;
pub mod status;

pub use change::{Applied, Cause, Change, Rejected};
pub use status::Status;
