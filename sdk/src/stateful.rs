//! State that outlives a swap.

use crate::Plugin;
use crate::bindings::stateful::exports::tidegate::plugin::stateful as wit;
use crate::export::{Component, Exported};

/// Hands state from the instances of one version to those of the next. What must be exact, or is shared by the workers,
/// is better kept in the host: [`Ticket`](crate::Ticket), [`store`](crate::store).
///
/// ```
/// use std::cell::Cell;
/// use tidegate_sdk::prelude::*;
/// use tidegate_sdk::test::{Harness, json};
///
/// struct Seen(Cell<u64>);
/// # impl Plugin for Seen {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings, _: &Context) -> Result<Self, String> { Ok(Seen(Cell::new(0))) }
/// # }
///
/// impl Stateful for Seen {
///     fn snapshot(&self) -> Vec<u8> {
///         self.0.get().to_le_bytes().to_vec()
///     }
///     fn restore(&self, snapshots: Vec<Vec<u8>>) -> Result<(), String> {
///         let number = |bytes: Vec<u8>| bytes.try_into().map(u64::from_le_bytes);
///         let numbers: Result<Vec<u64>, _> = snapshots.into_iter().map(number).collect();
///         self.0.set(numbers.map_err(|_| "a snapshot is no number")?.iter().sum());
///         Ok(())
///     }
/// }
///
/// let plugin = Harness::<Seen>::new(json!({})).unwrap();
/// plugin.restore(vec![3u64.to_le_bytes().to_vec(), 4u64.to_le_bytes().to_vec()]).unwrap();
/// assert_eq!(plugin.snapshot(), 7u64.to_le_bytes());
/// ```
pub trait Stateful: Plugin {
    /// Called on an old instance, once, while it still serves. At most 16 MiB. What it learns afterwards is lost.
    fn snapshot(&self) -> Vec<u8>;

    /// Called on a new instance after [`Plugin::new`], with the snapshots of all old instances, one a worker: each new one
    /// is given all of them. `Err` refuses the swap. Limit: 1 s of CPU time.
    fn restore(&self, snapshots: Vec<Vec<u8>>) -> Result<(), String>;
}

impl<P: Exported + Stateful> wit::Guest for Component<P> {
    fn snapshot() -> Vec<u8> {
        P::instance(|instance| instance.plugin.snapshot())
    }

    fn restore(snapshots: Vec<Vec<u8>>) -> Result<(), String> {
        P::instance(|instance| instance.plugin.restore(snapshots))
    }
}
