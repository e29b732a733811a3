//! The router that reads the file's `[[route]]`: by host, path, method, header and query parameter, with a weighted split over
//! pools. The most specific route wins, then the first in the file; README.md says what that means.
//!
//! `settings` is what the host hands over, `index` finds a request's route in it, `split` chooses among a route's pools.

mod choices;
mod condition;
mod effort;
mod hash;
mod hosts;
mod index;
mod paths;
mod settings;
mod split;

use tidegate_sdk::prelude::*;

use condition::Values;
use index::{Ambiguous, Index, Inputs};
use settings::Settings;
use split::Split;

pub struct ByRoute {
    index: Index,
    targets: Vec<Target>,
    inputs: Vec<Input>,
    /// Where the values stand that the index looks at itself; none when no route asks for them.
    host: Option<usize>,
    path: Option<usize>,
}

struct Target {
    route: RouteIndex,
    split: Split,
}

impl Plugin for ByRoute {
    type Settings = Settings;

    fn new(settings: Settings, context: &Context) -> Result<Self, String> {
        let routes = settings.routes;
        let mut inputs = Inputs::default();
        let asks_host = routes.iter().any(|route| route.host.is_some());
        let asks_path = routes
            .iter()
            .any(|r| r.path.is_some() || r.path_exact.is_some());
        let host = asks_host.then(|| inputs.number(Input::Host));
        let path = asks_path.then(|| inputs.number(Input::Path));
        let index = Index::new(&routes, &mut inputs)?;
        let targets = targets(&routes, context)?;
        let inputs = bounded(inputs.0)?;
        Ok(ByRoute {
            index,
            targets,
            inputs,
            host,
            path,
        })
    }

    fn interest(&self) -> Interest {
        let inputs = self.inputs.iter().cloned();
        let interest = inputs.fold(Interest::none(), Interest::request);
        match self.targets.iter().any(|target| target.split.draws()) {
            true => interest,
            false => interest.pure(),
        }
    }
}

impl Router for ByRoute {
    fn route(&self, r: &Request) -> Route {
        let host = self.host.and_then(|host| r.at(host));
        let path = self.path.and_then(|path| r.at(path)).unwrap_or_default();
        match self.index.find(host, path, &Sent(r)) {
            Ok(Some(number)) => self.targets[number].take(),
            Ok(None) => Route::next(),
            Err(Ambiguous) => refuse(),
        }
    }
}

export!(ByRoute: Router);

impl Target {
    fn take(&self) -> Route {
        match self.split.pool(tidegate_sdk::random) {
            Some(pool) => Route::pool(PoolIndex(pool)).by(self.route),
            None => Route::take(self.route),
        }
    }
}

struct Sent<'a, 'r>(&'a Request<'r>);

impl Values for Sent<'_, '_> {
    fn value(&self, input: usize) -> Option<&[u8]> {
        self.0.at(input)
    }
}

fn refuse() -> Route {
    let words = "The path can be read in more than one way. Send it without dot segments, empty segments and needless encoding.\n";
    tidegate_sdk::reply(400)
        .text(words)
        .why("ambiguous path")
        .into()
}

fn targets(routes: &[settings::Route], context: &Context) -> Result<Vec<Target>, String> {
    let known: hash::HashMap<&str, u32> =
        context.routes.iter().map(String::as_str).zip(0..).collect();
    let pools: hash::HashMap<&str, u32> =
        context.pools.iter().map(String::as_str).zip(0..).collect();
    let target = |route: &settings::Route| {
        let index = known.get(route.name.as_str());
        let index = index.ok_or_else(|| route.wrong("name: no such `[[route]]`"))?;
        let weigh = |(name, weight): &(String, u32)| match pools.get(name.as_str()) {
            Some(pool) => Ok((*pool, *weight)),
            None => Err(route.wrong(&context.pool(name).err().unwrap_or_default())),
        };
        let weighed: Vec<(u32, u32)> = route.pools.iter().map(weigh).collect::<Result<_, _>>()?;
        let split = Split::new(&weighed)
            .ok_or_else(|| route.wrong("split: every weight is 0; give one pool at least 1"))?;
        Ok(Target {
            route: RouteIndex(*index),
            split,
        })
    };
    routes.iter().map(target).collect()
}

/// The contract lets a plugin ask for no more than this of a request.
const MOST_INPUTS: usize = 64;

fn bounded(inputs: Vec<Input>) -> Result<Vec<Input>, String> {
    if inputs.len() <= MOST_INPUTS {
        return Ok(inputs);
    }
    Err(format!(
        "the routes look at {} different things of a request (headers, query parameters, …), of which the host tells at most {MOST_INPUTS}; \
         give some listeners a router of their own, or match on fewer names",
        inputs.len()
    ))
}

#[cfg(test)]
mod tests {
    use tidegate_sdk::test::{FakeRequest, Harness, json};

    use super::*;

    fn start(routes: serde_json::Value) -> Result<Harness<ByRoute>, String> {
        let list = routes.clone();
        let names = list.as_array().unwrap().iter();
        let names: Vec<&str> = names.map(|r| r["name"].as_str().unwrap()).collect();
        Harness::<ByRoute>::setup()
            .pools(["app", "api", "api-next"])
            .routes(names)
            .settings(json!({ "routes": routes }))
            .start()
    }

    #[test]
    fn a_route_is_answered_by_index_with_its_pool() {
        let router = start(json!([
            {"name": "api", "host": "example.com", "path": "/api", "pools": [["api", 1]]},
            {"name": "filters-only", "path-exact": "/own"},
        ]))
        .unwrap();
        let get = |host: &str, path: &str| router.route(&FakeRequest::get(path).host(host));
        assert_eq!(
            get("example.com", "/api/x?y=1"),
            Route::pool(PoolIndex(1)).by(RouteIndex(0))
        );
        assert_eq!(get("example.com", "/own"), Route::take(RouteIndex(1)));
        assert_eq!(get("example.org", "/api/x"), Route::next());
    }

    #[test]
    fn only_what_the_routes_need_is_asked_for() {
        let asked = |routes| start(routes).unwrap().plugin().interest().request;
        assert_eq!(asked(json!([{"name": "all"}])), []);
        assert_eq!(asked(json!([{"name": "a", "path": "/a"}])), [Input::Path]);
        let all = json!([
            {"name": "a", "host": "a", "listeners": ["web"], "methods": ["GET"], "headers": {"X-A": true}, "query": {"q": "1"}},
            {"name": "b", "host": "b", "headers": {"x-a": "1"}},
        ]);
        let wanted = [
            Input::Host,
            Input::Method,
            Input::Header("x-a".into()),
            Input::QueryParameter("q".into()),
            Input::Listener,
        ];
        let asked = asked(all);
        assert!(
            wanted.iter().all(|input| asked.contains(input)),
            "{asked:?}"
        );
        assert_eq!(asked.len(), wanted.len());
    }

    #[test]
    fn conditions_are_compared_with_what_was_sent() {
        let router = start(json!([
            {"name": "beta", "headers": {"x-beta": "yes"}, "query": {"v": "2 3"}, "pools": [["api", 1]]},
        ]))
        .unwrap();
        let sent = FakeRequest::get("/?v=2+3").header("X-Beta", "yes");
        assert_eq!(router.route(&sent).route, Some(RouteIndex(0)));
        assert_eq!(
            router.route(&FakeRequest::get("/?v=2").header("x-beta", "yes")),
            Route::next()
        );
    }

    #[test]
    fn a_split_follows_the_weights() {
        let router =
            start(json!([{"name": "s", "pools": [["api", 95], ["api-next", 5]]}])).unwrap();
        let next = Route::pool(PoolIndex(2)).by(RouteIndex(0));
        let took = (0..10_000)
            .filter(|_| router.route(&FakeRequest::get("/")) == next)
            .count();
        assert!((300..700).contains(&took), "{took} of 10000, 500 expected");
    }

    #[test]
    fn an_ambiguous_path_is_answered_with_400() {
        let router = start(json!([{"name": "admin", "path": "/admin"}])).unwrap();
        let answer = router.route(&FakeRequest::get("/public/%2e%2e/admin"));
        assert_eq!(
            answer.outcome.replied().map(|reply| reply.status),
            Some(400)
        );
    }

    #[test]
    fn wrong_settings_are_refused_with_a_remedy() {
        let refusal = |route| start(json!([route])).unwrap_err();
        let cases = [
            (
                json!({"name": "r", "pools": [["nope", 1]]}),
                "no pool is named `nope`",
            ),
            (
                json!({"name": "r", "pools": [["api", 0]]}),
                "every weight is 0",
            ),
            (json!({"name": "r", "hosts": "a"}), "unknown field `hosts`"),
            (
                json!({"name": "r", "headers": {"x": 1}}),
                "`true` (present) or `false` (absent)",
            ),
        ];
        for (route, words) in cases {
            let said = refusal(route);
            assert!(said.contains(words), "{said}");
        }
        let headers: serde_json::Map<_, _> =
            (0..70).map(|n| (format!("x-{n}"), json!(true))).collect();
        let said = refusal(json!({"name": "r", "headers": headers}));
        assert!(said.contains("at most 64"), "{said}");
    }
}
