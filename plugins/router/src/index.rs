//! All routes, by host, then path, then conditions, built once when the plugin is configured: a request costs a few look-ups,
//! however many routes there are.
//!
//! The most specific route wins: an exact host before the longer wildcard before none; then an exact path before the longer
//! prefix before none; then the more conditions (the method, each header, each query parameter); then the first in the file.
//! A route whose conditions don't hold isn't there: the next best is looked for, under a less specific host at last.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tidegate_sdk::{Input, path as spelling};

use crate::choices::Candidate;
use crate::condition::{Condition, Test, Values};
use crate::hash::HashMap;
use crate::hosts::Hosts;
use crate::paths::Paths;
use crate::settings::{Host, Path, Route, Wanted};

#[derive(Debug)]
pub struct Index {
    /// The best ranks first.
    candidates: Vec<Candidate>,
    hosts: Hosts,
}

/// The path belongs to one route as it was sent, and to another as an origin may read it.
#[derive(Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// The things to ask the host for, each once; conditions speak of them by their number.
#[derive(Debug, Default)]
pub struct Inputs(pub Vec<Input>);

impl Index {
    pub fn new(routes: &[Route], inputs: &mut Inputs) -> Result<Index, String> {
        let mut order = Vec::with_capacity(routes.len());
        for (number, route) in routes.iter().enumerate() {
            let own = specific(route, inputs)?;
            order.push((Reverse(own.len()), number, own));
        }
        order.sort_by_key(|(specific, number, _)| (*specific, *number));
        let mut placed: BTreeMap<Place, Placed> = BTreeMap::new();
        let mut candidates = Vec::with_capacity(routes.len());
        for (rank, (_, number, mut conditions)) in order.into_iter().enumerate() {
            let route = &routes[number];
            conditions.extend(listeners(route, inputs));
            let place = Place::of(route.host()?);
            placed.entry(place).or_default().push((rank, route.path()?));
            candidates.push(Candidate {
                route: number,
                conditions,
            });
        }
        let hosts = hosts(&candidates, placed);
        Ok(Index { candidates, hosts })
    }

    /// The number of the route that takes the request.
    pub fn find(
        &self,
        host: Option<&[u8]>,
        path: &[u8],
        values: &impl Values,
    ) -> Result<Option<usize>, Ambiguous> {
        let found = self.look_up(host, path, values);
        let elsewhere = |path: Vec<u8>| self.look_up(host, &path, values) != found;
        if !spelling::is_plain(path) && spelling::readings(path).any(elsewhere) {
            return Err(Ambiguous);
        }
        Ok(found)
    }

    fn look_up(&self, host: Option<&[u8]>, path: &[u8], values: &impl Values) -> Option<usize> {
        let mut trees = self.hosts.matching(host);
        let rank = trees.find_map(|paths| paths.find(&self.candidates, path, values))?;
        Some(self.candidates[rank].route)
    }
}

impl Inputs {
    pub fn number(&mut self, input: Input) -> usize {
        self.0
            .iter()
            .position(|known| *known == input)
            .unwrap_or_else(|| {
                self.0.push(input);
                self.0.len() - 1
            })
    }
}

type Placed = Vec<(usize, Option<Path>)>;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Exact(String),
    Wildcard(String),
    Any,
}

impl Place {
    fn of(host: Option<Host>) -> Place {
        match host {
            Some(Host::Exact(name)) => Place::Exact(name),
            Some(Host::Wildcard(name)) => Place::Wildcard(name),
            None => Place::Any,
        }
    }
}

fn hosts(candidates: &[Candidate], placed: BTreeMap<Place, Placed>) -> Hosts {
    let (mut exact, mut wildcard) = (HashMap::default(), HashMap::default());
    let mut any = Paths::new(candidates, &[]);
    let mut labels = 0;
    for (place, routes) in placed {
        let paths = Paths::new(candidates, &routes);
        match place {
            Place::Any => any = paths,
            Place::Exact(name) => drop(exact.insert(name.into_bytes(), paths)),
            Place::Wildcard(name) => {
                labels = labels.max(name.split('.').count());
                wildcard.insert(name.into_bytes(), paths);
            }
        }
    }
    Hosts {
        exact,
        wildcard,
        labels,
        any,
    }
}

/// The conditions that make a route more specific.
fn specific(route: &Route, inputs: &mut Inputs) -> Result<Vec<Condition>, String> {
    let mut conditions = Vec::new();
    if !route.methods.is_empty() {
        conditions.push(Condition {
            input: inputs.number(Input::Method),
            test: Test::OneOf(methods(route)?),
        });
    }
    let headers = route.headers.iter();
    let headers = headers.map(|(name, wanted)| (Input::Header(name.to_ascii_lowercase()), wanted));
    let query = route.query.iter();
    let query = query.map(|(name, wanted)| (Input::QueryParameter(name.clone()), wanted));
    conditions.extend(headers.chain(query).map(|(input, wanted)| Condition {
        input: inputs.number(input),
        test: match wanted {
            Wanted::Value(value) => Test::OneOf(vec![value.clone().into_bytes()]),
            Wanted::Present => Test::Present,
            Wanted::Absent => Test::Absent,
        },
    }));
    Ok(conditions)
}

/// GET takes HEAD too: it is the same request but for the answer's body (RFC 9110, 9.3.2).
fn methods(route: &Route) -> Result<Vec<Vec<u8>>, String> {
    let mut methods = Vec::new();
    for method in &route.methods {
        let fits = |b: u8| b.is_ascii_graphic() && !b.is_ascii_lowercase();
        if method.is_empty() || !method.bytes().all(fits) {
            return Err(route.wrong(&format!(
                "methods: `{method}` is no method; methods are case-sensitive, write `GET`"
            )));
        }
        methods.push(method.clone().into_bytes());
    }
    let has = |name: &[u8]| methods.iter().any(|method| method == name);
    if has(b"GET") && !has(b"HEAD") {
        methods.push(b"HEAD".to_vec());
    }
    Ok(methods)
}

/// A listener says where a route is in force, not how specific it is.
fn listeners(route: &Route, inputs: &mut Inputs) -> Option<Condition> {
    let names = route.listeners.iter().map(|name| name.clone().into_bytes());
    (!route.listeners.is_empty()).then(|| Condition {
        input: inputs.number(Input::Listener),
        test: Test::OneOf(names.collect()),
    })
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
