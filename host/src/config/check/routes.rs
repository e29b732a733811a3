//! `[[route]]` sections, and the settings that the shipped router gets of them.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::uses::Uses;
use super::{Check, refuse_twice};
use crate::base::ids::{ListenerIndex, PoolIndex};
use crate::config::checked::{Config, Mode, PathMatch, Route, ValueMatch};
use crate::config::problem::{Located, Problem};
use crate::config::read::Key;
use crate::config::text::Text;
use crate::config::unit::Number;
use crate::config::value::Map;
use crate::config::word::is_token;
use crate::config::written::{self, File};

/// The JSON that the shipped router is configured with; what a route hasn't is left out.
pub fn settings(config: &Config) -> Value {
    let routes = config.routes.iter();
    let routes: Vec<Value> = routes.map(|route| route_settings(config, route)).collect();
    json!({ "routes": routes })
}

fn route_settings(config: &Config, route: &Route) -> Value {
    let mut json = json!({ "name": route.name });
    let listeners = route.listeners.iter();
    let listeners: Vec<_> = listeners
        .map(|index| config.listeners[index.0 as usize].name.as_str())
        .collect();
    if !listeners.is_empty() {
        json["listeners"] = json!(listeners);
    }
    if let Some(host) = &route.host {
        json["host"] = json!(host);
    }
    match &route.path {
        Some(PathMatch::Prefix(path)) => json["path"] = json!(path),
        Some(PathMatch::Exact(path)) => json["path-exact"] = json!(path),
        None => {}
    }
    if !route.methods.is_empty() {
        json["methods"] = json!(route.methods);
    }
    for (key, matches) in [("headers", &route.headers), ("query", &route.query)] {
        if !matches.is_empty() {
            json[key] = value_matches(matches);
        }
    }
    if !route.pools.is_empty() {
        let pools = route.pools.iter();
        let name = |pool: &PoolIndex| config.pools[pool.0 as usize].name.as_str();
        json["pools"] = pools
            .map(|(pool, weight)| json!([name(pool), weight]))
            .collect();
    }
    json
}

fn value_matches(matches: &BTreeMap<String, ValueMatch>) -> Value {
    let entries = matches.iter().map(|(name, value)| {
        let value = match value {
            ValueMatch::Exact(text) => json!(text),
            ValueMatch::Present => json!(true),
            ValueMatch::Absent => json!(false),
        };
        (name.clone(), value)
    });
    Value::Object(entries.collect())
}

impl Check<'_> {
    pub(super) fn written_routes(&mut self, file: &File, uses: &mut Uses) -> Vec<Route> {
        let sections = &file.route.value.0;
        let names = sections
            .iter()
            .filter_map(|route| route.value.name.given())
            .map(|name| {
                let message = format!("the route name {:?} is taken", name.value.0);
                (name.value.0.clone(), name.located(message))
            });
        refuse_twice(
            names.clone(),
            "give each route a name of its own",
            self.problems,
        );
        let mut taken: HashSet<String> = names.map(|(name, _)| name).collect();
        let mut routes = Vec::with_capacity(sections.len());
        for section in sections {
            let name = route_name(&section.value, &mut taken);
            routes.push(self.route(file, &section.value, name, uses));
        }
        self.same_twice(sections, &routes);
        routes
    }

    fn route(
        &mut self,
        file: &File,
        written: &written::Route,
        name: String,
        uses: &mut Uses,
    ) -> Route {
        let methods = written
            .method
            .given()
            .map_or(&[][..], |methods| &methods.value.0);
        let listeners = self.route_listeners(written);
        self.takes_requests(file, written, &listeners);
        let pools = self.route_pools(written);
        let filters = self.plugin_uses(&written.filters.value, &name, uses);
        self.has_pool(file, written, &listeners);
        Route {
            name,
            listeners,
            host: written.host.given().map(|host| host.value.0.clone()),
            path: self.path(written),
            methods: methods
                .iter()
                .map(|method| method.value.0.clone())
                .collect(),
            headers: self.headers(&written.headers),
            query: matches(entries(&written.query), str::to_owned),
            pools,
            filters,
            access_log: written.access_log.value,
            span: written.span.clone(),
        }
    }

    fn route_listeners(&mut self, written: &written::Route) -> Vec<ListenerIndex> {
        let Some(listeners) = written.listeners.given() else {
            return Vec::new();
        };
        if listeners.value.0.is_empty() {
            self.problem(Problem::at(
                listeners.span.clone(),
                "a route of no listener takes no request",
                "name its listeners, or leave `listeners` out for all of them",
            ));
        }
        let mut indices = Vec::new();
        for name in &listeners.value.0 {
            let index = self.listeners.find(name, self.problems);
            indices.extend(index.map(|index| ListenerIndex(index as u32)));
        }
        indices
    }

    /// In tcp mode there are no requests to be routed.
    fn takes_requests(&mut self, file: &File, written: &written::Route, of: &[ListenerIndex]) {
        let named = of
            .iter()
            .filter_map(|of| file.listeners().get(of.0 as usize));
        for listener in named.filter(|listener| listener.value.mode.value == Mode::Tcp) {
            let name = listener
                .value
                .name
                .as_ref()
                .map_or("", |name| &name.value.0);
            let problem = Problem::at(
                written.span.clone(),
                format!("the listener {name:?} is in tcp mode, which has no requests to route"),
                "name http listeners, or choose the pool by a plugin in `connect`",
            );
            self.problem(problem.related(listener.span.clone(), "the listener"));
        }
    }

    fn path(&mut self, written: &written::Route) -> Option<PathMatch> {
        let (prefix, exact) = (written.path.given(), written.path_exact.given());
        if let (Some(prefix), Some(exact)) = (prefix, exact) {
            let message = "a route has a `path` or a `path-exact`, not both";
            let problem = Problem::at(exact.span.clone(), message, "keep one of the two");
            self.problem(problem.related(prefix.span.clone(), "its path"));
        }
        let prefix = prefix.map(|path| {
            // A prefix ends at a segment boundary anyway.
            let path = path.value.0.trim_end_matches('/');
            PathMatch::Prefix(if path.is_empty() { "/" } else { path }.to_owned())
        });
        prefix.or_else(|| exact.map(|path| PathMatch::Exact(path.value.0.clone())))
    }

    fn headers(&mut self, written: &Key<Map<ValueMatch>>) -> BTreeMap<String, ValueMatch> {
        let written = entries(written);
        for (name, _) in written {
            if !is_token(&name.value) {
                self.problem(Problem::at(
                    name.span.clone(),
                    format!("{:?} is no header name", name.value),
                    "write a name such as \"x-beta\"",
                ));
            }
        }
        let names = written.iter().map(|(name, _)| {
            let message = format!("the header {:?} is matched already", name.value);
            (name.value.to_ascii_lowercase(), name.located(message))
        });
        let remedy = "header names have no letter case: match each once";
        refuse_twice(names, remedy, self.problems);
        matches(written, str::to_ascii_lowercase)
    }

    fn route_pools(&mut self, written: &written::Route) -> Vec<(PoolIndex, u32)> {
        let (pool, split) = (written.pool.given(), written.split.given());
        if let (Some(pool), Some(split)) = (pool, split) {
            let message = "a route has a `pool` or a `split`, not both";
            let problem = Problem::at(split.span.clone(), message, "keep one of the two");
            self.problem(problem.related(pool.span.clone(), "its pool"));
        }
        if let Some(pool) = pool {
            return self.pool(pool).map(|pool| (pool, 1)).into_iter().collect();
        }
        split.map_or_else(Vec::new, |split| self.split(split))
    }

    fn split(&mut self, split: &Located<Map<Number<0, 10000>>>) -> Vec<(PoolIndex, u32)> {
        if split.value.0.iter().all(|(_, weight)| weight.value.0 == 0) {
            self.problem(Problem::at(
                split.span.clone(),
                "a split whose weights are all 0 leads nowhere",
                "give a pool some weight: split = { api = 95, api-next = 5 }",
            ));
        }
        let mut pools = Vec::new();
        for (name, weight) in &split.value.0 {
            let name = name.located(Text {
                value: name.value.clone(),
                secret: false,
            });
            pools.extend(self.pool(&name).map(|pool| (pool, weight.value.0 as u32)));
        }
        pools
    }

    /// A route that names no pool takes the listener's; a filter may answer before that.
    fn has_pool(&mut self, file: &File, written: &written::Route, listeners: &[ListenerIndex]) {
        let all = written.listeners.is_absent();
        let sections = file.listeners().iter().enumerate();
        let mut concerned = sections
            .filter(|(index, _)| all || listeners.contains(&ListenerIndex(*index as u32)))
            .map(|(_, listener)| &listener.value)
            .filter(|listener| listener.mode.value == Mode::Http);
        let without = concerned.find(|listener| {
            let filtered = !listener.filters.value.is_empty();
            listener.pool.is_absent() && !filtered
        });
        let named = !written.pool.is_absent() || !written.split.is_absent();
        let filtered = !written.filters.value.is_empty();
        if let Some(listener) = without.filter(|_| !named && !filtered) {
            let name = listener.name.as_ref().map_or("", |name| &name.value.0);
            let message = format!(
                "this route leads nowhere: it has no pool, and neither has the listener {name:?}"
            );
            let problem = Problem::at(
                written.span.clone(),
                message,
                "add `pool` to the route or the listener",
            );
            self.problem(problem.related(listener.span.clone(), "the listener"));
        }
    }

    /// Of two routes with the same conditions the second would never be taken.
    fn same_twice(&mut self, sections: &[Located<written::Route>], routes: &[Route]) {
        let both = sections.iter().zip(routes);
        let sound = both.filter(|(section, _)| section.value.conditions_are_sound());
        let conditions = sound.map(|(section, route)| {
            let listeners: Vec<u32> = route.listeners.iter().map(|index| index.0).collect();
            let rest = (&route.path, &route.methods, &route.headers, &route.query);
            let key = format!("{listeners:?} {:?} {rest:?}", route.host);
            (
                key,
                section.located("this route asks for the same as one before".to_owned()),
            )
        });
        let remedy = "it would never be taken: change its conditions, or make one route of the two";
        refuse_twice(conditions, remedy, self.problems);
    }
}

type Entry = (Located<String>, Located<ValueMatch>);

fn entries(written: &Key<Map<ValueMatch>>) -> &[Entry] {
    written.given().map_or(&[], |map| &map.value.0)
}

fn matches(written: &[Entry], name_as: impl Fn(&str) -> String) -> BTreeMap<String, ValueMatch> {
    let entries = written.iter();
    entries
        .map(|(name, value)| (name_as(&name.value), value.value.clone()))
        .collect()
}

/// The name it has, else its host and path; a number makes it unique.
fn route_name(written: &written::Route, taken: &mut HashSet<String>) -> String {
    if let Some(name) = written.name.given() {
        return name.value.0.clone();
    }
    let host = written.host.given().map_or("", |host| &host.value.0);
    let path = written.path.given().or(written.path_exact.given());
    let path = path.map_or("", |path| &path.value.0);
    let name = match (host, path) {
        ("", "") => "/".to_owned(),
        (host, path) => format!("{host}{path}"),
    };
    let numbered = (2..).map(|number| format!("{name}#{number}"));
    let free = std::iter::once(name.clone())
        .chain(numbered)
        .find(|name| !taken.contains(name));
    let free = free.expect("numbers don't end");
    taken.insert(free.clone());
    free
}
