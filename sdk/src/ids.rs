//! Numbers with a meaning.

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
