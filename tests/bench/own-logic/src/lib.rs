//! The same logic that the benchmark gives HAProxy in Lua and nginx in JavaScript: tenant `beta` has a pool of its own, and
//! the server is told which pool it is in.

use serde::Deserialize;
use tidegate_sdk::prelude::*;

struct OwnLogic {
    app: PoolIndex,
    beta: PoolIndex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {}

impl Plugin for OwnLogic {
    type Settings = Settings;

    fn new(_: Settings, context: &Context) -> Result<Self, String> {
        Ok(OwnLogic {
            app: context.pool("app")?,
            beta: context.pool("beta")?,
        })
    }

    fn interest(&self) -> Interest {
        Interest::none().header("x-tenant")
    }
}

impl Router for OwnLogic {
    fn route(&self, request: &Request) -> Route {
        match request.header("x-tenant") {
            Some("beta") => Route::pool(self.beta).set("x-pool", "beta"),
            _ => Route::pool(self.app).set("x-pool", "app"),
        }
    }
}

export!(OwnLogic: Router);
