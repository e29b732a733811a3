//! The routes by host. `example.com` comes before `*.example.com`, the longer wildcard before the shorter, and a route without
//! a host last. A wildcard takes any number of labels, as nginx's and Envoy's do, and not the bare name.

use crate::effort;
use crate::hash::HashMap;
use crate::paths::Paths;

#[derive(Debug)]
pub struct Hosts {
    pub exact: HashMap<Vec<u8>, Paths>,
    /// By what follows `*.`.
    pub wildcard: HashMap<Vec<u8>, Paths>,
    /// The most labels that a wildcard has: a longer name is first cut to that, so that a name of a thousand labels costs
    /// no more than this many look-ups.
    pub labels: usize,
    pub any: Paths,
}

impl Hosts {
    /// The trees that may hold the request's route, the most specific first.
    pub fn matching(&self, host: Option<&[u8]>) -> impl Iterator<Item = &Paths> {
        let host = host.map(|host| host.strip_suffix(b".").unwrap_or(host));
        let exact = host.and_then(|host| look_up(&self.exact, host));
        let wildcard = host
            .into_iter()
            .flat_map(|host| endings(host, self.labels))
            .filter_map(|ending| look_up(&self.wildcard, ending));
        exact.into_iter().chain(wildcard).chain([&self.any])
    }
}

fn look_up<'a>(map: &'a HashMap<Vec<u8>, Paths>, host: &[u8]) -> Option<&'a Paths> {
    if map.is_empty() {
        return None;
    }
    effort::step();
    map.get(host)
}

/// What stands behind the dots of a name, the longest first, at most `labels` of them.
fn endings(host: &[u8], labels: usize) -> impl Iterator<Item = &[u8]> {
    let dots = host.iter().filter(|b| **b == b'.').count();
    let places = host.iter().enumerate().filter(|(_, b)| **b == b'.');
    places
        .skip(dots.saturating_sub(labels))
        .map(|(at, _)| &host[at + 1..])
}
