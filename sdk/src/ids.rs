//! Numbers with a meaning.

use crate::sys;

/// A pool of the config: an index into the pools that [`Context`](crate::Context) names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolIndex(pub u32);

/// A `[[route]]` of the config: an index into the routes that [`Context`](crate::Context) names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteIndex(pub u32);

/// A server: process-wide, stable, not used again while anything refers to it. For what is kept or shared between proxies
/// use the server's name instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

impl Slot {
    /// As [`Server::inflight`](crate::Server::inflight): for balancers that keep slots side by side, to run through many.
    #[inline]
    pub fn inflight(self) -> u32 {
        sys::inflight(self.0)
    }

    /// As [`Server::ewma_us`](crate::Server::ewma_us).
    #[inline]
    pub fn ewma_us(self) -> u32 {
        sys::ewma_us(self.0)
    }

    /// As [`Server::live_weight`](crate::Server::live_weight).
    #[inline]
    pub fn live_weight(self) -> u32 {
        sys::weight(self.0)
    }
}
