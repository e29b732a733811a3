//! Chooses the pool by a tenant header. Requests without it go to the listener's own pool.

use std::collections::HashMap;

use serde::Deserialize;
use tidegate_sdk::prelude::*;

struct ByTenant {
    header: String,
    tenants: HashMap<String, PoolIndex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The header that names the tenant.
    header: String,
    /// Tenant to pool.
    tenants: HashMap<String, String>,
}

impl Plugin for ByTenant {
    type Settings = Settings;

    fn new(settings: Settings, context: &Context) -> Result<Self, String> {
        let resolve = |(tenant, pool): (String, String)| Ok((tenant, context.pool(&pool)?));
        let tenants = settings
            .tenants
            .into_iter()
            .map(resolve)
            .collect::<Result<_, String>>()?;
        Ok(ByTenant {
            header: settings.header,
            tenants,
        })
    }

    fn interest(&self) -> Interest {
        Interest::none().header(&self.header).pure()
    }
}

impl Router for ByTenant {
    fn route(&self, request: &Request) -> Route {
        let Some(tenant) = request.header(&self.header) else {
            return Route::next();
        };
        match self.tenants.get(tenant) {
            Some(pool) => Route::pool(*pool).note("tenant", tenant),
            None => Route::reply(404).why("unknown tenant"),
        }
    }
}

export!(ByTenant: Router);

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{FakeRequest, Harness, json};

    use super::*;

    fn plugin() -> Harness<ByTenant> {
        Harness::setup()
            .pools(["big", "small"])
            .settings(json!({ "header": "x-tenant", "tenants": { "acme": "big" } }))
            .start()
            .expect("the settings are good")
    }

    #[test]
    fn a_known_tenant_has_its_pool() {
        let route = plugin().route(&FakeRequest::get("/").header("x-tenant", "acme"));
        assert_eq!(route, Route::pool(PoolIndex(0)).note("tenant", "acme"));
    }

    #[test]
    fn without_the_header_nothing_is_decided() {
        assert_eq!(plugin().route(&FakeRequest::get("/")), Route::next());
    }

    #[test]
    fn an_unknown_tenant_is_turned_away() {
        let route = plugin().route(&FakeRequest::get("/").header("x-tenant", "nobody"));
        assert!(route.outcome.replied().is_some());
    }
}
