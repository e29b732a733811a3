//! Which requests somebody wants to follow: terms as those of a `[[route]]` and words of the access log.
//!
//! A key that is given again is another value that it may have; each header must be there.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderName, Method};

use crate::base::event::RequestEnded;
use crate::base::trail::{Closely, Step, Verdict};
use crate::config::checked::Network;
use crate::config::said;
use crate::net::address::within;

/// Values of all keys together.
const MOST_VALUES: usize = 64;

const KNOWN: &str = "known are: listener, route, pool, server (NAME or POOL/NAME), method, host, path (a prefix), status (502, \
    5xx or none), client (an address or a network), min-duration, plugin, decision, fault (a word of the log, or any), header \
    (NAME or NAME: VALUE), each as often as needed; limit and for, once";

/// What somebody asks for.
#[derive(Debug, Default)]
pub struct Asked {
    pub terms: Terms,
    /// Requests after which it is enough.
    pub limit: Option<u64>,
    /// How long it is to go on.
    pub at_most: Option<Duration>,
}

/// Nothing asked for: all requests.
#[derive(Debug, Default)]
pub struct Terms {
    pub listeners: Vec<String>,
    pub routes: Vec<String>,
    pub pools: Vec<String>,
    pub servers: Vec<Server>,
    methods: Vec<Method>,
    hosts: Vec<String>,
    paths: Vec<String>,
    statuses: Vec<Status>,
    clients: Vec<Network>,
    at_least: Duration,
    pub plugins: Vec<String>,
    verdicts: Vec<Verdict>,
    faults: Vec<String>,
    headers: Vec<(HeaderName, Option<Vec<u8>>)>,
}

#[derive(Debug, PartialEq)]
pub struct Server {
    /// None: of any.
    pub pool: Option<String>,
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Status {
    Is(u16),
    /// Its first digit.
    Class(u16),
    /// There was no answer.
    None,
}

impl Asked {
    /// Err: what is wrong, and what there is.
    pub fn parse(pairs: &[(String, String)]) -> Result<Asked, String> {
        if pairs.len() > MOST_VALUES {
            return Err(format!("there may be {MOST_VALUES} terms at most"));
        }
        let mut asked = Asked::default();
        for (key, value) in pairs {
            asked
                .take(key, value)
                .map_err(|why| format!("{key}: {why}"))?;
        }
        Ok(asked)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Err(format!("it is empty; {KNOWN}"));
        }
        let terms = &mut self.terms;
        match key {
            "listener" => terms.listeners.push(value.to_owned()),
            "route" => terms.routes.push(value.to_owned()),
            "pool" => terms.pools.push(value.to_owned()),
            "server" => terms.servers.push(Server::of(value)),
            "method" => terms.methods.push(method(value)?),
            "host" => terms.hosts.push(said::host(value)?),
            "path" => terms.paths.push(path(value)?),
            "status" => terms.statuses.push(status(value)?),
            "client" => terms.clients.push(said::network(value)?),
            "min-duration" => terms.at_least = said::duration(value)?,
            "plugin" => terms.plugins.push(value.to_owned()),
            "decision" => terms.verdicts.push(verdict(value)?),
            "fault" => terms.faults.push(value.to_owned()),
            "header" => terms.headers.push(header(value)?),
            "limit" => self.limit = Some(limit(value)?),
            "for" => self.at_most = Some(said::duration(value)?),
            _ => return Err(format!("it is not known here; {KNOWN}")),
        }
        Ok(())
    }
}

impl Terms {
    /// Whether it is one of those.
    pub fn want(&self, request: &RequestEnded<'_>, closely: &Closely<'_>) -> bool {
        let one_of = |wanted: &[String], name: Option<&str>| {
            wanted.is_empty() || wanted.iter().any(|wanted| Some(wanted.as_str()) == name)
        };
        request.times.total >= self.at_least
            && one_of(&self.listeners, Some(request.listener))
            && one_of(&self.routes, request.route)
            && one_of(&self.pools, request.pool)
            && self.want_server(request)
            && self.want_status(request.status)
            && self.want_fault(request.fault)
            && self.want_head(request)
            && self.want_client(request.client_address)
            && self.want_sent(closely)
            && self.want_decision(closely)
    }

    fn want_server(&self, request: &RequestEnded<'_>) -> bool {
        let is = |wanted: &Server| {
            let pool = wanted.pool.as_deref();
            Some(wanted.name.as_str()) == request.server && (pool.is_none() || pool == request.pool)
        };
        self.servers.is_empty() || self.servers.iter().any(is)
    }

    fn want_status(&self, status: Option<u16>) -> bool {
        let is = |wanted: &Status| match *wanted {
            Status::Is(wanted) => status == Some(wanted),
            Status::Class(class) => status.is_some_and(|status| status / 100 == class),
            Status::None => status.is_none(),
        };
        self.statuses.is_empty() || self.statuses.iter().any(is)
    }

    fn want_fault(&self, fault: Option<&str>) -> bool {
        let is = |wanted: &String| fault.is_some_and(|fault| wanted == "any" || wanted == fault);
        self.faults.is_empty() || self.faults.iter().any(is)
    }

    fn want_head(&self, request: &RequestEnded<'_>) -> bool {
        let method = |wanted: &Method| wanted.as_str() == request.method;
        let host = |wanted: &String| request.host.is_some_and(|host| is_host(wanted, host));
        let path = |wanted: &String| is_below(wanted, request.target);
        (self.methods.is_empty() || self.methods.iter().any(method))
            && (self.hosts.is_empty() || self.hosts.iter().any(host))
            && (self.paths.is_empty() || self.paths.iter().any(path))
    }

    fn want_client(&self, address: &str) -> bool {
        if self.clients.is_empty() {
            return true;
        }
        let Ok(address) = address.parse::<IpAddr>() else {
            return false;
        };
        let mut networks = self.clients.iter();
        networks.any(|network| within(address, network.address, network.prefix))
    }

    fn want_sent(&self, closely: &Closely<'_>) -> bool {
        let mut headers = self.headers.iter();
        headers.all(|(name, value)| {
            let sent = closely.sent;
            sent.is_some_and(|sent| sent.has(name.as_str(), value.as_deref()))
        })
    }

    /// A step of one of the plugins, with one of the decisions.
    fn want_decision(&self, closely: &Closely<'_>) -> bool {
        if self.plugins.is_empty() && self.verdicts.is_empty() {
            return true;
        }
        let is = |step: &Step| {
            let by = |wanted: &String| {
                step.plugin
                    .as_deref()
                    .is_some_and(|plugin| is_plugin(wanted, plugin))
            };
            (self.plugins.is_empty() || self.plugins.iter().any(by))
                && (self.verdicts.is_empty() || self.verdicts.contains(&step.verdict))
        };
        closely.trail.with(|steps| steps.iter().any(is))
    }
}

impl Server {
    fn of(value: &str) -> Server {
        let (pool, name) = match value.split_once('/') {
            Some((pool, name)) => (Some(pool.to_owned()), name),
            None => (None, value),
        };
        Server {
            pool,
            name: name.to_owned(),
        }
    }
}

/// By its name; the name of a plugin whose settings stand where it is used, `admission@web`, alone too.
pub fn is_plugin(wanted: &str, name: &str) -> bool {
    name == wanted || name.split_once('@').is_some_and(|(of, _)| of == wanted)
}

/// As a route's `host`.
fn is_host(wanted: &str, host: &[u8]) -> bool {
    match wanted.strip_prefix('*') {
        Some(below) => host.len() > below.len() && host.ends_with(below.as_bytes()),
        None => host == wanted.as_bytes(),
    }
}

/// As a route's `path`: a prefix at a segment boundary.
fn is_below(wanted: &str, target: &[u8]) -> bool {
    let path = target.split(|byte| *byte == b'?').next().unwrap_or(target);
    let wanted = wanted.trim_end_matches('/').as_bytes();
    match path.strip_prefix(wanted) {
        Some(rest) => rest.is_empty() || rest[0] == b'/',
        None => false,
    }
}

fn method(value: &str) -> Result<Method, String> {
    Method::from_bytes(value.as_bytes()).map_err(|_| format!("{value:?} is no method"))
}

fn path(value: &str) -> Result<String, String> {
    match value.starts_with('/') && !value.contains('?') {
        true => Ok(value.to_owned()),
        false => Err(format!(
            "{value:?} is no prefix of a path; write it as a route's `path`, such as /api"
        )),
    }
}

fn status(value: &str) -> Result<Status, String> {
    let wrong = || format!("{value:?} is no status; write 502, 5xx or none");
    if value == "none" {
        return Ok(Status::None);
    }
    if let Some(class) = value.strip_suffix("xx") {
        let class = class.parse().ok().filter(|class| (1..=5).contains(class));
        return class.map(Status::Class).ok_or_else(wrong);
    }
    let status = value.parse().ok();
    let status = status.filter(|status| (100..=599).contains(status));
    status.map(Status::Is).ok_or_else(wrong)
}

fn verdict(value: &str) -> Result<Verdict, String> {
    Verdict::named(value).ok_or_else(|| {
        let words: Vec<_> = Verdict::ALL.iter().map(|verdict| verdict.word()).collect();
        format!("{value:?} is no decision; there are: {}", words.join(", "))
    })
}

fn header(value: &str) -> Result<(HeaderName, Option<Vec<u8>>), String> {
    let (name, wanted) = match value.split_once(':') {
        Some((name, wanted)) => (name, Some(wanted.trim().as_bytes().to_vec())),
        None => (value, None),
    };
    let wrong = |_| format!("{value:?} is no header; write NAME or NAME: VALUE");
    Ok((name.trim().parse().map_err(wrong)?, wanted))
}

fn limit(value: &str) -> Result<u64, String> {
    let limit = value.parse().ok().filter(|limit| *limit > 0);
    limit.ok_or_else(|| format!("{value:?} is no number of requests; write 1 or more"))
}
