//! What would become of a request now: the listener's router, the pool's stickiness and its balancer are asked as they are for a real
//! one. Filters are named, not run: they may count, or ask others.

use std::rc::Rc;
use std::time::Instant;

use http::header::HOST;
use http::{HeaderName, Method, Version};
use serde::Serialize;

use super::exchange::{Exchange, host_of};
use super::fault::Fault;
use super::log::Record;
use super::pick::{Tried, pick};
use super::route::{self, To};
use super::site::{Filter, ListenerSite, Site};
use super::stick;
use super::worker::Worker;
use crate::base::text::Text;
use crate::config::checked::Mode;
use crate::hook::ConnectionFacts;
use crate::http::hop::Said;
use crate::http::{Body, Fields, Link, RequestHead, Target};

/// A request that nobody sends.
#[derive(Clone, Debug)]
pub struct Question {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// None: the first one that takes requests.
    pub listener: Option<String>,
    pub method: Method,
    pub host: String,
    /// Path and query.
    pub target: String,
    pub fields: Vec<(HeaderName, Vec<u8>)>,
    /// As whose it is routed.
    pub client: std::net::IpAddr,
}

/// What would become of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Explained {
    pub listener: String,
    /// None: no route takes it.
    pub route: Option<String>,
    /// In order: the listener's, then the route's. Not run.
    pub filters: Vec<String>,
    pub pool: Option<String>,
    pub server: Option<String>,
    /// What would be answered without a server.
    pub status: Option<u16>,
    /// The log's word for why.
    pub fault: Option<&'static str>,
    /// Why plugins decided as they did.
    pub reasons: Vec<Reason>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Reason {
    pub plugin: String,
    pub reason: String,
}

/// Err: the question is none, and why.
pub(super) fn explain(worker: &Rc<Worker>, question: &Question) -> Result<Explained, String> {
    let site = worker.site();
    let known = |name: &String| site.listener(name);
    let listener = match &question.listener {
        Some(name) => known(name).ok_or_else(|| unknown_listener(&site, name))?,
        None => http_listeners(&site)
            .next()
            .ok_or("there is no listener that takes requests")?,
    };
    if listener.entrance.mode != Mode::Http {
        return Err(format!(
            "the listener \"{}\" takes connections, mode = \"tcp\", and no requests; name another",
            listener.name
        ));
    }
    let mut exchange = exchange(worker, &site, listener, question)?;
    let mut explained = Explained {
        listener: listener.name.to_string(),
        filters: names(&listener.filters).collect(),
        ..Explained::default()
    };
    let chosen = route::choose(&site, listener, &mut exchange);
    let route = exchange.route.and_then(|route| site.route(route));
    explained.route = route.map(|route| route.name.to_string());
    explained
        .filters
        .extend(route.into_iter().flat_map(|route| names(&route.filters)));
    let pool = match chosen {
        Ok(To::Pool(pool)) => pool.ok_or(Fault::NoPool),
        Ok(To::Reply(answer)) => {
            explained.status = Some(answer.head.status.as_u16());
            return Ok(explained.with_reasons(&exchange));
        }
        Err(fault) => Err(fault),
    };
    let picked = pool.and_then(|index| {
        let pool = site.pool(index).ok_or(Fault::NoPool)?;
        explained.pool = Some(pool.name.to_string());
        // As `forward` does it.
        exchange.record.pool = Some(pool.name.clone());
        match stick::find(pool, index, &mut exchange) {
            stick::Found::Now(Some(stuck)) => Ok(stuck),
            // What another proxy knows of a user is not asked here.
            stick::Found::Now(None) | stick::Found::Elsewhere(_) => {
                let random = worker.random();
                pick(pool, index, &exchange, random, &Tried::new(), None)
            }
        }
    });
    match picked {
        Ok(server) => explained.server = Some(server.name.to_string()),
        Err(fault) => {
            explained.fault = Some(fault.word());
            explained.status = fault.status().map(|status| status.as_u16());
        }
    }
    Ok(explained.with_reasons(&exchange))
}

impl Explained {
    fn with_reasons(mut self, exchange: &Exchange) -> Explained {
        let reasons = exchange.record.reasons.iter();
        self.reasons = reasons
            .map(|(plugin, reason)| Reason {
                plugin: plugin.to_string(),
                reason: reason.clone(),
            })
            .collect();
        self
    }
}

fn http_listeners(site: &Site) -> impl Iterator<Item = &ListenerSite> {
    let listeners = site.listeners.iter();
    listeners.filter(|listener| listener.entrance.mode == Mode::Http)
}

fn names(filters: &[Filter]) -> impl Iterator<Item = String> + '_ {
    filters.iter().map(|filter| filter.name.to_string())
}

fn unknown_listener(site: &Site, name: &str) -> String {
    let known: Vec<&str> = http_listeners(site).map(|known| &*known.name).collect();
    format!(
        "there is no listener \"{name}\"; there are: {}",
        known.join(", ")
    )
}

fn exchange(
    worker: &Rc<Worker>,
    site: &Site,
    listener: &ListenerSite,
    question: &Question,
) -> Result<Exchange, String> {
    let target = Target::parse(question.target.as_bytes())
        .ok_or_else(|| format!("{:?} is no path", question.target))?;
    let mut fields = Fields::new();
    fields.set(&HOST, &question.host);
    for (name, value) in &question.fields {
        fields.append(name, value);
    }
    let head = RequestHead {
        method: question.method.clone(),
        target,
        version: Version::HTTP_11,
        fields,
    };
    let client = std::net::SocketAddr::new(question.client, 0);
    let facts = ConnectionFacts {
        client,
        client_address: Text::of(client.ip()),
        client_port: Text::of(client.port()),
        local: client,
        listener: listener.name.clone(),
        tls: None,
        told: None,
    };
    let now = Instant::now();
    let link = Link::new(super::arrive::limits(Some(listener)));
    let mut record = Record::new(
        worker,
        link,
        &Rc::new(facts),
        site.generation,
        head,
        (now, now),
    );
    // Nobody is to be told of it.
    record.told = true;
    record.host = host_of(question.host.as_bytes());
    Ok(Exchange {
        body: Some(Body::empty()),
        kept: None,
        said: Said::default(),
        trusted: false,
        scheme: question.scheme,
        tells_certificate: false,
        route: None,
        overruled: None,
        passed: (0, 0),
        record: Box::new(record),
    })
}
