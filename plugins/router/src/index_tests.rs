//! What the index finds, and at what cost.

use serde_json::{Value, json};

use super::*;
use crate::effort;

/// An index and what it asks for, so that a test can say requests in a line.
struct Routes {
    index: Index,
    inputs: Vec<Input>,
}

struct Request<'a>(&'a [Input], &'a [(Input, &'a str)]);

impl Values for Request<'_> {
    fn value(&self, input: usize) -> Option<&[u8]> {
        let asked = &self.0[input];
        self.1
            .iter()
            .find(|(given, _)| given == asked)
            .map(|(_, value)| value.as_bytes())
    }
}

impl Routes {
    fn new(routes: Value) -> Routes {
        let routes: Vec<Route> = serde_json::from_value(routes).unwrap();
        let mut inputs = Inputs::default();
        let index = Index::new(&routes, &mut inputs).unwrap();
        Routes {
            index,
            inputs: inputs.0,
        }
    }

    fn find(&self, host: &str, path: &str) -> Option<usize> {
        self.with(host, path, &[])
    }

    fn with(&self, host: &str, path: &str, given: &[(Input, &str)]) -> Option<usize> {
        self.ask(host, path, given).unwrap()
    }

    fn ask(
        &self,
        host: &str,
        path: &str,
        given: &[(Input, &str)],
    ) -> Result<Option<usize>, Ambiguous> {
        let host = (!host.is_empty()).then_some(host.as_bytes());
        self.index
            .find(host, path.as_bytes(), &Request(&self.inputs, given))
    }
}

fn refusal(route: Value) -> String {
    let route: Route = serde_json::from_value(route).unwrap();
    Index::new(&[route], &mut Inputs::default()).unwrap_err()
}

const METHODS: [&str; 2] = ["GET", "PUT"];

fn header(name: &str) -> Input {
    Input::Header(name.to_owned())
}

#[test]
fn a_prefix_ends_at_a_segment() {
    let routes =
        Routes::new(json!([{"name": "api", "path": "/api"}, {"name": "v1", "path": "/v1/"}]));
    for path in ["/api", "/api/", "/api/x/y"] {
        assert_eq!(routes.find("", path), Some(0), "{path}");
    }
    for path in ["/apix", "/ap", "/", "/x/api", "/API", "*"] {
        assert_eq!(routes.find("", path), None, "{path}");
    }
    assert_eq!(routes.find("", "/v1"), Some(1));
    assert_eq!(routes.find("", "/v1/x"), Some(1));
    assert_eq!(routes.find("", "/v1x"), None);
}

#[test]
fn an_exact_path_comes_before_the_longer_prefix_before_none() {
    let routes = Routes::new(json!([
        {"name": "none"},
        {"name": "root", "path": "/"},
        {"name": "a", "path": "/a"},
        {"name": "ab", "path": "/a/b"},
        {"name": "exact", "path-exact": "/a/b"},
        {"name": "slash", "path-exact": "/a/b/"},
    ]));
    let cases = [
        ("*", 0),
        ("/", 1),
        ("/x", 1),
        ("/a", 2),
        ("/a/bc", 2),
        ("/a/b", 4),
        ("/a/b/", 5),
        ("/a/b/c", 3),
    ];
    for (path, route) in cases {
        assert_eq!(routes.find("", path), Some(route), "{path}");
    }
}

#[test]
fn an_exact_host_comes_before_the_longer_wildcard_before_none() {
    let routes = Routes::new(json!([
        {"name": "none", "path": "/deep/down"},
        {"name": "wild", "host": "*.example.com"},
        {"name": "wilder", "host": "*.eu.example.com"},
        {"name": "exact", "host": "www.eu.Example.com", "path": "/"},
        {"name": "any"},
    ]));
    let cases = [
        ("www.eu.example.com", 3),
        ("www.eu.example.com.", 3),
        ("a.eu.example.com", 2),
        ("a.b.eu.example.com", 2),
        ("eu.example.com", 1),
        ("www.example.com", 1),
        ("example.com", 4),
        ("badexample.com", 4),
        (".com", 4),
        ("", 4),
    ];
    for (host, route) in cases {
        assert_eq!(routes.find(host, "/x"), Some(route), "{host}");
    }
    assert_eq!(routes.find("example.org", "/deep/down/x"), Some(0));
    assert_eq!(routes.find("www.example.com", "/deep/down/x"), Some(1));
}

#[test]
fn a_host_whose_paths_do_not_match_leaves_the_request_to_the_next() {
    let routes = Routes::new(json!([
        {"name": "exact", "host": "a.example.com", "path": "/only"},
        {"name": "wild", "host": "*.example.com", "path": "/wild"},
        {"name": "any"},
    ]));
    assert_eq!(routes.find("a.example.com", "/only"), Some(0));
    assert_eq!(routes.find("a.example.com", "/wild"), Some(1));
    assert_eq!(routes.find("a.example.com", "/x"), Some(2));
}

#[test]
fn more_conditions_come_first_then_the_files_order() {
    let routes = Routes::new(json!([
        {"name": "first"},
        {"name": "second"},
        {"name": "beta", "headers": {"X-Beta": "yes"}},
        {"name": "beta-get", "methods": ["GET"], "headers": {"x-beta": true}},
        {"name": "v2", "query": {"v": "2"}},
        {"name": "bare", "headers": {"x-beta": false}, "methods": ["PUT"], "query": {"v": true}},
    ]));
    let with = |given: &[(Input, &str)]| routes.with("", "/", given).unwrap();
    let (beta, v) = (header("x-beta"), Input::QueryParameter("v".into()));
    assert_eq!(with(&[]), 0);
    assert_eq!(with(&[(beta.clone(), "yes")]), 2);
    assert_eq!(with(&[(beta.clone(), "no")]), 0);
    assert_eq!(with(&[(beta.clone(), "no"), (Input::Method, "GET")]), 3);
    assert_eq!(with(&[(beta.clone(), "yes"), (Input::Method, "HEAD")]), 3);
    assert_eq!(with(&[(v.clone(), "2")]), 4);
    assert_eq!(with(&[(v.clone(), ""), (Input::Method, "PUT")]), 5);
    assert_eq!(with(&[(v, "2"), (beta, "yes"), (Input::Method, "PUT")]), 2);
}

#[test]
fn a_route_is_in_force_on_its_listeners() {
    let routes = Routes::new(json!([
        {"name": "inner", "listeners": ["inner", "test"], "path": "/"},
        {"name": "get", "path": "/", "methods": ["GET"]},
        {"name": "all", "path": "/"},
    ]));
    let on = |name| routes.with("", "/", &[(Input::Listener, name), (Input::Method, "POST")]);
    assert_eq!(on("inner"), Some(0));
    assert_eq!(on("test"), Some(0));
    assert_eq!(on("web"), Some(2));
    let get = routes.with(
        "",
        "/",
        &[(Input::Listener, "inner"), (Input::Method, "GET")],
    );
    assert_eq!(get, Some(1), "a listener makes no route more specific");
}

#[test]
fn a_path_that_reads_as_another_routes_is_refused() {
    let routes = Routes::new(json!([
        {"name": "public", "path": "/public"},
        {"name": "admin", "path": "/admin"},
        {"name": "rest", "path": "/"},
    ]));
    let refused = [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public%2f..%2fadmin",
        "/public/..\\admin",
        "/%61dmin",
        "//admin",
        "/admin/../x",
        "/public/..;/admin",
        "/x/%2e%2e%2fadmin",
        "/admin%2fx",
    ];
    for path in refused {
        assert_eq!(routes.ask("", path, &[]), Err(Ambiguous), "{path}");
    }
    let taken = [
        ("/public/a/../b", 0),
        ("/public/a%2fb", 0),
        ("/admin/%61", 1),
        ("/@scope%2fname", 2),
        ("/a//b/", 2),
        ("/caf\u{e9}", 2),
    ];
    for (path, route) in taken {
        assert_eq!(routes.ask("", path, &[]), Ok(Some(route)), "{path}");
    }
}

#[test]
fn a_thousand_routes_cost_no_more_than_ten() {
    let by_host = |n: usize| json!({"name": n.to_string(), "host": format!("h{n}.example.com"), "path": "/a/b"});
    let by_path = |n: usize| json!({"name": n.to_string(), "path": format!("/p{n}/x")});
    let by_header = |n: usize| json!({"name": n.to_string(), "path": "/a/b", "headers": {"x-tenant": n.to_string()}});
    let by_both = |n: usize| json!({"name": n.to_string(), "path": "/a/b", "methods": [METHODS[n % 2]], "headers": {"x-tenant": (n / 2).to_string()}});
    let kinds: [(&str, &dyn Fn(usize) -> Value); 4] = [
        ("host", &by_host),
        ("path", &by_path),
        ("header", &by_header),
        ("header and method", &by_both),
    ];
    for (kind, route) in kinds {
        let worst = |count: usize| {
            let routes = Routes::new((0..count).map(route).collect());
            let cost = |n: usize| {
                let (host, path) = (format!("h{n}.example.com"), format!("/p{n}/x"));
                let path = if kind == "path" {
                    path
                } else {
                    "/a/b".to_owned()
                };
                let (tenant, method) = match kind {
                    "header and method" => ((n / 2).to_string(), METHODS[n % 2]),
                    _ => (n.to_string(), "GET"),
                };
                let given = [
                    (header("x-tenant"), tenant.as_str()),
                    (Input::Method, method),
                ];
                let (found, steps) = effort::of(|| routes.with(&host, &path, &given));
                assert_eq!(found, Some(n), "{kind}");
                steps
            };
            (0..count).map(cost).max().unwrap()
        };
        let (ten, thousand) = (worst(10), worst(1000));
        assert!(
            thousand <= ten + 2 && thousand <= 10,
            "{kind}: {ten} steps for 10, {thousand} for 1000"
        );
    }
}

#[test]
fn a_long_host_or_path_costs_no_more_than_the_routes_are_deep() {
    let routes = Routes::new(
        json!([{"name": "a", "host": "*.example.com", "path": "/a/b"}, {"name": "b", "path": "/a"}]),
    );
    let (host, path) = ("a.".repeat(5_000), "/a".repeat(5_000));
    let (found, steps) = effort::of(|| routes.find(&host, &path));
    assert_eq!(found, Some(1));
    assert!(steps < 10, "{steps}");
}

#[test]
fn a_refusal_names_the_route_and_the_remedy() {
    let cases = [
        (
            json!({"name": "r", "host": "a.*.com"}),
            "route `r`: host: `a.*.com` is neither",
        ),
        (json!({"name": "r", "host": "*"}), "leave `host` out"),
        (
            json!({"name": "r", "path": "api"}),
            "path: `api` does not begin with `/`",
        ),
        (
            json!({"name": "r", "path": "/a", "path-exact": "/b"}),
            "give one of the two",
        ),
        (
            json!({"name": "r", "path-exact": "/a?x=1"}),
            "match parameters with `query`",
        ),
        (
            json!({"name": "r", "path": "/a/../b"}),
            "write `/b` instead",
        ),
        (
            json!({"name": "r", "path": "/caf\u{e9}"}),
            "write `/caf%C3%A9` instead",
        ),
        (
            json!({"name": "r", "methods": ["get"]}),
            "methods are case-sensitive",
        ),
    ];
    for (route, words) in cases {
        let said = refusal(route);
        assert!(said.contains(words), "{said}");
    }
}
