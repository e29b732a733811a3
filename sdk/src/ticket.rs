//! Numbers that no other worker is given.

use crate::sys;

/// A process-wide series of numbers of this plugin: it goes on through swaps and reloads, and no number is given twice, on
/// whichever worker. Exact round robin stands on it. At most 100,000 series a plugin; beyond that they share one.
///
/// ```
/// use tidegate_sdk::Ticket;
/// let turn = Ticket::open("turn");
/// assert_eq!((turn.next(), turn.next()), (0, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

impl Ticket {
    /// The series of that name.
    pub fn open(name: &str) -> Ticket {
        Ticket(sys::open_ticket(name))
    }

    /// The next number, from 0.
    #[allow(clippy::should_implement_trait)] // It never ends, and needs no `mut`.
    #[inline]
    pub fn next(&self) -> u64 {
        sys::ticket(self.0)
    }
}
