//! Which server: the pool's balancer says, and is held to what it may say.

use super::fault::Fault;
use super::site::{Member, PoolSite};
use super::trail::picked;
use crate::base::ids::{PoolIndex, Slot};
use crate::base::trail::{Trail, Verdict};
use crate::hook::RequestView;
use smallvec::SmallVec;

/// Slots that were tried; few requests need more than one.
pub type Tried = SmallVec<[Slot; 4]>;

/// A server that may be used and was not tried. What the balancer says must be one; else it is asked once more with that
/// slot among the tried, and then, as when it fails, the eligible servers are taken in turn. Its `none` stands.
pub fn pick<'a>(
    pool: &'a PoolSite,
    index: PoolIndex,
    view: &dyn RequestView,
    random: u64,
    tried: &[Slot],
    trail: Option<&Trail>,
) -> Result<&'a Member, Fault> {
    let chosen = match ask(pool, index, view, random, tried, trail) {
        Said::Usable(server) => Some(server),
        Said::Nobody => return Err(Fault::NoServer),
        Said::Nothing => pool.in_turn(tried),
        Said::Unusable(slot) => {
            let mut tried: Tried = tried.into();
            tried.push(slot);
            match ask(pool, index, view, random, &tried, trail) {
                Said::Usable(server) => Some(server),
                Said::Nobody => return Err(Fault::NoServer),
                Said::Nothing | Said::Unusable(_) => pool.in_turn(&tried),
            }
        }
    };
    chosen.ok_or(Fault::NoServer)
}

enum Said<'a> {
    Usable(&'a Member),
    Unusable(Slot),
    Nobody,
    /// It failed, or speaks of a server that the pool doesn't have.
    Nothing,
}

fn ask<'a>(
    pool: &'a PoolSite,
    index: PoolIndex,
    view: &dyn RequestView,
    random: u64,
    tried: &[Slot],
    trail: Option<&Trail>,
) -> Said<'a> {
    let balancer = &*pool.balancer.1;
    let said = match balancer.pick(index, view, random, tried) {
        Err(_) => Said::Nothing,
        Ok(None) => Said::Nobody,
        Ok(Some(slot)) => match pool.member(slot) {
            Some(server) if server.takes_users() && !tried.contains(&slot) => Said::Usable(server),
            Some(_) => Said::Unusable(slot),
            None => {
                // It may know servers already that came after this request's site.
                if !pool.retired.get() {
                    balancer.picked_stranger(index, slot);
                }
                Said::Nothing
            }
        },
    };
    if trail.is_some() {
        let (verdict, server) = match said {
            Said::Usable(server) => (Verdict::Server, Some(server)),
            Said::Unusable(slot) => (Verdict::Unusable, pool.member(slot)),
            Said::Nobody => (Verdict::Nobody, None),
            Said::Nothing => (Verdict::Failed, None),
        };
        picked(trail, pool, verdict, server);
    }
    said
}
