//! Values that come another way than by the config file, read and refused in its words.

use std::time::Duration;

use super::address::Host;
use super::checked::Network;
use super::read::{Fault, FromText};
use super::unit::{DAY, MICROSECOND, Span};

/// From 1 us to a day: `250ms`. Err: what is wrong with it, and what to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    read::<Span<MICROSECOND, DAY>>(text).map(|span| span.0)
}

/// In CIDR form, or an address alone.
pub fn network(text: &str) -> Result<Network, String> {
    read(text)
}

/// As `host` of a route: in lower case, `*.example.com` for all names below it.
pub fn host(text: &str) -> Result<String, String> {
    read::<Host>(text).map(|host| host.0)
}

fn read<T: FromText>(text: &str) -> Result<T, String> {
    T::from_text(text).map_err(|Fault { says, remedy }| format!("{text:?} {says}; {remedy}"))
}
