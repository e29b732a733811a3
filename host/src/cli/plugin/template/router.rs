//! Chooses the pool of a request by tenant: the value of a header names the tenant, the settings say which pool is whose.
//!
//! Settings (`config = { … }` of the `[[plugin]]`):
//!
//! | key | what it is | default |
//! |---|---|---|
//! | `header` | the header that names the tenant | `x-tenant` |
//! | `tenants` | tenant = pool | none |
//! | `strict` | answer 404 to an unknown tenant, instead of leaving it to the listener's pool | `false` |

use std::collections::HashMap;

use serde::Deserialize;
use tidegate_sdk::prelude::*;

pub struct PluginName {
    header: String,
    tenants: HashMap<String, PoolIndex>,
    strict: bool,
}

// An unknown key is refused, with the known ones named: a typing error doesn't go unnoticed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    header: String,
    tenants: HashMap<String, String>,
    strict: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            header: "x-tenant".into(),
            tenants: HashMap::new(),
            strict: false,
        }
    }
}

impl Plugin for PluginName {
    type Settings = Settings;

    /// What can be looked up once is looked up here, off the request path: pools by name. `?` on an unknown one refuses the
    /// settings, and the running config stays.
    fn new(settings: Settings, context: &Context) -> Result<Self, String> {
        let mut tenants = HashMap::new();
        for (tenant, pool) in settings.tenants {
            tenants.insert(tenant, context.pool(&pool)?);
        }
        Ok(PluginName {
            header: settings.header,
            tenants,
            strict: settings.strict,
        })
    }

    /// Just this is passed to `route`, and nothing else.
    /// While answers follow from this alone (no counting, no clock, no log), `.pure()` may be added: the proxy then asks the same once.
    fn interest(&self) -> Interest {
        Interest::none().header(&self.header)
    }
}

impl Router for PluginName {
    fn route(&self, r: &Request) -> Route {
        let Some(tenant) = r.header(&self.header) else {
            return Route::next().why("no tenant named");
        };
        match self.tenants.get(tenant) {
            Some(pool) => Route::pool(*pool).note("tenant", tenant).why("by tenant"),
            None if self.strict => Route::reply(404).body("unknown tenant\n").why("unknown tenant"),
            None => Route::next().why("unknown tenant"),
        }
    }
}

export!(PluginName: Router);

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_sdk::test::{FakeRequest, Harness, Setup, json};

    fn setup() -> Setup<PluginName> {
        Harness::setup().pools(["app", "acme-pool"])
    }

    #[test]
    fn a_tenant_goes_to_its_own_pool() {
        let plugin = setup().settings(json!({ "tenants": { "acme": "acme-pool" } })).start().unwrap();
        let route = plugin.route(&FakeRequest::get("/").header("x-tenant", "acme"));
        assert_eq!(route, Route::pool(PoolIndex(1)).note("tenant", "acme").why("by tenant"));
    }

    #[test]
    fn an_unknown_tenant_is_turned_away_when_strict() {
        let request = FakeRequest::get("/").header("x-tenant", "nobody");
        let strict = setup().settings(json!({ "strict": true })).start().unwrap().route(&request);
        assert_eq!(strict.outcome.replied().map(|reply| reply.status), Some(404));
        let lenient = setup().start().unwrap().route(&request);
        assert!(lenient.outcome.replied().is_none());
    }

    #[test]
    fn an_unknown_pool_is_refused() {
        let refusal = setup().settings(json!({ "tenants": { "acme": "nowhere" } })).start().err().unwrap();
        assert!(refusal.contains("nowhere"), "{refusal}");
    }
}
