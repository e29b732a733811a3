//! Where a request goes: the listener's router says, else the listener's pool. A pool that a filter named overrules the
//! router's; the route that it takes, and so the route's filters, stand.

use super::exchange::Exchange;
use super::fault::Fault;
use super::filter;
use super::respond::{self, Answer};
use super::site::{ListenerSite, RouteSite, Site};
use crate::base::ids::PoolIndex;
use crate::base::trail::Role;
use crate::hook::{Choice, Decision, Failure};

pub enum To {
    /// None: neither router nor listener names one; a filter of the route still may.
    Pool(Option<PoolIndex>),
    Reply(Box<Answer>),
}

pub fn choose(site: &Site, listener: &ListenerSite, exchange: &mut Exchange) -> Result<To, Fault> {
    let Some((name, router)) = &listener.router else {
        return Ok(To::Pool(named(site, exchange, listener.pool)));
    };
    let choice = router
        .route(exchange)
        .and_then(|choice| known(site, choice));
    let Ok(Choice { outcome, route }) = choice else {
        exchange.failed(Role::Router, name);
        return Ok(To::Pool(named(site, exchange, listener.pool)));
    };
    exchange.route = route;
    let route = route.and_then(|index| site.route(index));
    if let Some(route) = route {
        exchange.record.route = Some(route.name.clone());
        exchange.record.logged = route.access_log;
    }
    let mut step = exchange.decided(site, Role::Router, name, &outcome);
    if let Some(step) = &mut step {
        step.route = route.map(|route| route.name.clone());
    }
    let pool = match filter::apply(name, exchange, outcome) {
        Ok(Decision::Reply(reply)) if exchange.overruled.is_none() => {
            exchange.took(step);
            return Ok(To::Reply(Box::new(respond::reply(exchange, *reply))));
        }
        Ok(Decision::Pool(pool)) => Some(pool),
        Ok(Decision::Next | Decision::Reply(_)) => of_route(route, exchange).or(listener.pool),
        Err(_) => {
            step = None;
            exchange.failed(Role::Router, name);
            listener.pool
        }
    };
    let pool = named(site, exchange, pool);
    if let Some(step) = &mut step {
        step.pool = exchange.record.pool.clone();
    }
    exchange.took(step);
    Ok(To::Pool(pool))
}

/// A choice that names what there is not is none.
fn known(site: &Site, choice: Choice) -> Result<Choice, Failure> {
    let route = choice.route.is_none_or(|route| site.route(route).is_some());
    let pool = match choice.outcome.decision {
        Decision::Pool(pool) => site.pool(pool).is_some(),
        _ => true,
    };
    if route && pool {
        Ok(choice)
    } else {
        Err(Failure::Failed)
    }
}

/// The route's pool, or one of several by weight.
fn of_route(route: Option<&RouteSite>, exchange: &Exchange) -> Option<PoolIndex> {
    let pools = &route?.pools;
    if let [(pool, _)] = pools[..] {
        return Some(pool);
    }
    let total: u64 = pools.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut at = exchange.record.worker.random() % total.max(1);
    let chosen = pools.iter().find(|(_, weight)| {
        let here = at < u64::from(*weight);
        at = at.saturating_sub(u64::from(*weight));
        here
    });
    chosen.map(|(pool, _)| *pool)
}

/// Tells the pool's name to plugins and log.
fn named(site: &Site, exchange: &mut Exchange, pool: Option<PoolIndex>) -> Option<PoolIndex> {
    let going = exchange.overruled.or(pool);
    exchange.record.pool = going
        .and_then(|pool| site.pool(pool))
        .map(|pool| pool.name.clone());
    pool
}
