//! The role `request-balancer`: which server of a pool, from the request.

use crate::bindings::request_balancer::exports::tidegate::plugin::request_balancer as wit;
use crate::export::{Component, Exported, Instance, Values};
use crate::{Plugin, Pool, PoolIndex, Request, Slot};

/// A balancer that must see the request (zones, tenants) and pays for it: two to four times a [`Balancer`](crate::Balancer)'s
/// price.
///
/// ```
/// use tidegate_sdk::prelude::*;
/// use tidegate_sdk::test::{FakeRequest, Harness, json, server};
///
/// struct BySize;
/// # impl Plugin for BySize {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings, _: &Context) -> Result<Self, String> { Ok(BySize) }
/// #     fn interest(&self) -> Interest { Interest::none().header("x-size") }
/// # }
///
/// impl RequestBalancer for BySize {
///     fn pick(&self, pool: &Pool, p: &RequestPick) -> Option<Slot> {
///         let size = p.request.header("x-size").unwrap_or("small");
///         let fit = pool.labelled("size", size).next();
///         fit.or_else(|| pool.usable().next()).map(|server| server.slot)
///     }
/// }
///
/// let plugin = Harness::<BySize>::new(json!({})).unwrap();
/// plugin.set_pool("app", [server("s").label("size", "small"), server("l").label("size", "large")]);
/// let request = FakeRequest::get("/").header("x-size", "large");
/// assert_eq!(plugin.pick_for("app", &request).as_deref(), Some("l"));
/// ```
pub trait RequestBalancer: Plugin {
    /// As [`Balancer::update`](crate::Balancer::update).
    fn update(&self, pool: &Pool) {
        let _ = pool;
    }

    /// As [`Balancer::pick`](crate::Balancer::pick), with the parts of the request that
    /// [`Interest::request`](crate::Interest::request) declares.
    fn pick(&self, pool: &Pool, p: &RequestPick) -> Option<Slot>;
}

/// What a [`RequestBalancer`] picks by.
pub struct RequestPick<'a> {
    /// The request.
    pub request: Request<'a>,
    /// 64 fresh random bits.
    pub random: u64,
    /// What must not be answered again. Empty at a request's first pick.
    pub tried: &'a [Slot],
}

impl<P: RequestBalancer> Instance<P> {
    pub(crate) fn update_request_balancer(&self, pool: PoolIndex, servers: Vec<wit::Server>) {
        self.keep(pool, servers, |plugin, pool| {
            RequestBalancer::update(plugin, pool)
        });
    }

    pub(crate) fn pick_for(
        &self,
        pool: PoolIndex,
        values: &Values,
        random: u64,
        tried: &[Slot],
    ) -> Option<Slot> {
        let pools = self.pools.borrow();
        let members = pools.get(pool.0 as usize)?.as_ref()?;
        let pick = RequestPick {
            request: self.request(values),
            random,
            tried,
        };
        RequestBalancer::pick(&self.plugin, &members.pool(tried), &pick)
    }
}

impl<P: Exported + RequestBalancer> wit::Guest for Component<P> {
    fn update(pool: u32, servers: Vec<wit::Server>) {
        P::instance(|instance| instance.update_request_balancer(PoolIndex(pool), servers));
    }

    fn pick(pool: u32, inputs: Values, random: u64, tried: Vec<u32>) -> Option<u32> {
        let tried: Vec<Slot> = tried.into_iter().map(Slot).collect();
        P::instance(|instance| instance.pick_for(PoolIndex(pool), &inputs, random, &tried))
            .map(|slot| slot.0)
    }
}
