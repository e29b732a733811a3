//! The role `balancer`: which server of a pool, from numbers alone.

use crate::bindings::balancer::exports::tidegate::plugin::balancer as wit;
use crate::export::{Component, Exported, Instance};
use crate::pool::Members;
use crate::{Plugin, Pool, PoolIndex, Slot};

/// Picks the server of a pool from numbers alone. The fast way: prefer it to
/// [`RequestBalancer`](crate::RequestBalancer).
///
/// ```
/// use tidegate_sdk::prelude::*;
/// use tidegate_sdk::test::{Harness, json, server};
///
/// struct NearZone { zone: String }
/// # impl Plugin for NearZone {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings, _: &Context) -> Result<Self, String> { Ok(NearZone { zone: "a".into() }) }
/// # }
///
/// impl Balancer for NearZone {
///     fn pick(&self, pool: &Pool, _: &Pick) -> Option<Slot> {
///         let cost = |s: &&Server| u64::from(s.ewma_us()) * u64::from(s.inflight() + 1);
///         let near = pool.labelled("zone", &self.zone).min_by_key(cost);
///         near.or_else(|| pool.usable().min_by_key(cost)).map(|s| s.slot)
///     }
/// }
///
/// let plugin = Harness::<NearZone>::new(json!({})).unwrap();
/// plugin.set_pool("app", [server("far").label("zone", "b"), server("near").label("zone", "a")]);
/// assert_eq!(plugin.pick("app").as_deref(), Some("near"));
/// ```
pub trait Balancer: Plugin {
    /// Called before the first pick of a pool, and whenever a server of it comes, goes or changes its state or weight. What a
    /// pick can look up instead of reckoning is made here, and kept in a [`PerPool`](crate::PerPool). Limit: 1 s of CPU
    /// time.
    fn update(&self, pool: &Pool) {
        let _ = pool;
    }

    /// Called once an attempt. Answers the slot of a server that may be used, or none when there is none: the client gets
    /// 503. What was tried before ([`Pick::tried`]) must not be answered; [`Pool::usable`] leaves it out. When it
    /// fails, the host takes the eligible servers in turn.
    fn pick(&self, pool: &Pool, p: &Pick) -> Option<Slot>;
}

/// The numbers that a [`Balancer`] picks by.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    /// The hash of what [`Interest::key`](crate::Interest::key) declares, the same in every process; 0 when that is nothing.
    /// [`ABSENT_KEY`] when one thing is declared and the request doesn't have it.
    pub key: u64,
    /// 64 fresh random bits.
    pub random: u64,
    /// What must not be answered again: a connection to it failed, or it may not be used. Empty at a request's first pick.
    pub tried: &'a [Slot],
}

/// The `key` of a [`Pick`] when [`Interest::key`](crate::Interest::key) declares one thing and the request doesn't have it:
/// XXH3-64 of `ff ff ff ff`.
pub const ABSENT_KEY: u64 = 0xcd6b_1c92_0d3f_662c;

impl<P: Balancer> Instance<P> {
    pub(crate) fn update_balancer(&self, pool: PoolIndex, servers: Vec<wit::Server>) {
        self.keep(pool, servers, |plugin, pool| Balancer::update(plugin, pool));
    }

    #[inline]
    pub(crate) fn pick(&self, pool: PoolIndex, pick: Pick) -> Option<Slot> {
        let pools = self.pools.borrow();
        let members: &Members = pools.get(pool.0 as usize)?.as_ref()?;
        Balancer::pick(&self.plugin, &members.pool(pick.tried), &pick)
    }
}

impl<P: Exported + Balancer> wit::Guest for Component<P> {
    fn update(pool: u32, servers: Vec<wit::Server>) {
        P::instance(|instance| instance.update_balancer(PoolIndex(pool), servers));
    }

    #[inline]
    fn pick(pool: u32, key: u64, random: u64) -> Option<u32> {
        let pick = Pick {
            key,
            random,
            tried: &[],
        };
        P::instance(|instance| instance.pick(PoolIndex(pool), pick)).map(|slot| slot.0)
    }

    fn pick_again(pool: u32, key: u64, random: u64, tried: Vec<u32>) -> Option<u32> {
        let tried: Vec<Slot> = tried.into_iter().map(Slot).collect();
        let pick = Pick {
            key,
            random,
            tried: &tried,
        };
        P::instance(|instance| instance.pick(PoolIndex(pool), pick)).map(|slot| slot.0)
    }
}
