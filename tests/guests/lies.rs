//! Speaks of what does not exist: the path says which lie, a pick always answers a slot that no server has.

use tidegate_sdk::prelude::*;

struct Liar;

impl Plugin for Liar {
    type Settings = NoSettings;
    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(Liar)
    }
    fn interest(&self) -> Interest {
        Interest::none().path()
    }
}

impl Router for Liar {
    fn route(&self, r: &Request) -> Route {
        match r.path() {
            "/bad/pool" => Route::pool(PoolIndex(4_000_000)),
            "/bad/route" => Route::take(RouteIndex(4_000_000)),
            _ => Route::next(),
        }
    }
}

impl RequestFilter for Liar {
    fn request(&self, r: &Request) -> Outcome {
        match r.path() {
            "/bad/pool" => Outcome::pool(PoolIndex(4_000_000)),
            "/bad/status" => reply(799),
            "/bad/informational" => reply(101),
            "/bad/path" => next().path("no slash"),
            _ => next(),
        }
    }
}

impl Balancer for Liar {
    fn pick(&self, _: &Pool, _: &Pick) -> Option<Slot> {
        Some(Slot(4_000_000))
    }
}

export!(Liar: Router, RequestFilter, Balancer);
