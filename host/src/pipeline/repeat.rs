//! What is safe to send again, and after what it is: the pool's `retry-on`, `retry-unsafe`, `retry-body` and `retry-budget`.

use std::pin::pin;

use super::exchange::Exchange;
use super::fault::Fault;
use super::site::PoolSite;
use crate::http::Body;
use crate::http::body::CollectError;
use crate::http::link::{Blame, Phase};

impl Exchange {
    /// Nothing is lost, and nothing done twice, when it is sent once more.
    pub(super) fn is_repeatable(&self, pool: &PoolSite) -> bool {
        self.has_whole_body() && self.has_safe_method(pool)
    }

    /// The next attempt has all that this one has.
    pub(super) fn has_whole_body(&self) -> bool {
        self.kept.is_some() || self.sends_no_body()
    }

    fn has_safe_method(&self, pool: &PoolSite) -> bool {
        self.record.head.is_idempotent() || pool.retry.any_method
    }

    /// What goes to a server.
    pub(super) fn take_body(&mut self) -> Body {
        match &self.kept {
            None => self.body.take().unwrap_or_default(),
            Some(kept) => Body::full((**kept).clone()),
        }
    }
}

/// Whether what an attempt met is one of the reasons for another. `safe`: it may be repeated.
pub fn after(pool: &PoolSite, fault: Fault, begun: bool, safe: bool) -> bool {
    let on = &pool.retry;
    match fault {
        Fault::ConnectFailed | Fault::NoSocket | Fault::ConnectTimeout | Fault::ServerTls => {
            on.connect
        }
        Fault::ServerClosed => on.reset && safe && !begun,
        Fault::FirstByteTimeout | Fault::SendTimeout => on.timeout && safe,
        Fault::BadResponse => on.junk && safe,
        _ => false,
    }
}

/// Reads a body in full that is short enough to be kept, where there is room for it beside all that are: `all` bytes.
pub async fn keep_body(pool: &PoolSite, exchange: &mut Exchange, all: usize) -> Result<(), Fault> {
    let most = pool.retry.body;
    let length = exchange.body.as_ref().and_then(Body::length);
    let fits = |length: &u64| *length > 0 && *length <= most as u64;
    let Some(length) = length.filter(fits) else {
        return Ok(());
    };
    if !exchange.has_safe_method(pool) {
        return Ok(());
    }
    let Some(room) = pool.room_for_body(length as usize, all) else {
        return Ok(());
    };
    let link = exchange.record.link.clone();
    let body = exchange.body.take().unwrap_or_default();
    let collecting = pin!(body.collect(most));
    let whole = link
        .wait(Phase::RequestBody, link.limits().body, collecting)
        .await;
    match whole {
        Ok(Ok(bytes)) => exchange.kept = Some(Box::new(room.hold(bytes))),
        Ok(Err(CollectError::TooLarge)) => return Err(Fault::BodyTooLarge),
        Ok(Err(CollectError::Broken)) if link.was_blamed(Blame::TooLarge) => {
            return Err(Fault::BodyTooLarge);
        }
        Ok(Err(CollectError::Broken)) => return Err(Fault::BodyBroken),
        Err(expired) => return Err(expired.0.into()),
    }
    Ok(())
}
