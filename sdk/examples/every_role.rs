//! A plugin that plays every role and does nothing in any: what `tests/encodes.rs` makes a component of.

use tidegate_sdk::prelude::*;

struct EveryRole;

impl Plugin for EveryRole {
    type Settings = NoSettings;

    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(EveryRole)
    }
}

impl Router for EveryRole {
    fn route(&self, _: &Request) -> Route {
        Route::next()
    }
}

impl FetchFilter for EveryRole {
    fn request(&self, _: &Request) -> Step {
        next().into()
    }

    fn resume(&self, _: u64, answer: Answer) -> Step {
        answer.into_reply().into()
    }
}

impl ResponseFilter for EveryRole {
    fn response(&self, _: &Response) -> ResponseOutcome {
        ResponseOutcome::unchanged()
    }
}

impl Balancer for EveryRole {
    fn pick(&self, pool: &Pool, _: &Pick) -> Option<Slot> {
        pool.usable()
            .min_by_key(|server| server.inflight())
            .map(|server| server.slot)
    }
}

impl RequestBalancer for EveryRole {
    fn pick(&self, pool: &Pool, _: &RequestPick) -> Option<Slot> {
        pool.usable()
            .min_by_key(|server| server.ewma_us() / server.live_weight().max(1))
            .map(|server| server.slot)
    }
}

impl Sticky for EveryRole {
    fn find(&self, _: PoolIndex, _: &Request) -> Finding {
        Finding::none()
    }

    fn bind(&self, _: PoolIndex, _: &str, _: &Response) -> Binding {
        Binding::none()
    }
}

impl Health for EveryRole {
    fn judge(&self, _: &str, _: &str, _: &Probe) -> Verdict {
        Verdict::AsUsual
    }
}

impl Connect for EveryRole {
    fn connect(&self, _: &Request) -> Admission {
        Admission::Accept
    }
}

impl Stateful for EveryRole {
    fn snapshot(&self) -> Vec<u8> {
        store::get("state").unwrap_or_default()
    }

    fn restore(&self, snapshots: Vec<Vec<u8>>) -> Result<(), String> {
        log::info(format!("{} snapshots", snapshots.len()));
        Ok(())
    }
}

export!(
    EveryRole: Router,
    FetchFilter,
    ResponseFilter,
    Balancer,
    RequestBalancer,
    Sticky,
    Health,
    Connect,
    Stateful
);
