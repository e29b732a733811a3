//! What the engine read becomes a request that is safe to decide about: one host, hop-by-hop fields gone, nobody's word
//! about the client believed who isn't trusted. Then it goes through the steps.

use std::rc::Rc;
use std::time::Instant;

use http::header::{HOST, REFERER, USER_AGENT};
use http::{HeaderValue, Method, Version};

use super::exchange::{Exchange, host_of};
use super::fault::{Fault, Stage};
use super::log::{Asked, Record};
use super::respond::{self, Answer};
use super::site::{ListenerSite, Site};
use super::worker::Worker;
use super::{filter, forward, forwarded, route};
use crate::hook::ConnectionFacts;
use crate::http::server::{Request, Response, Service, Unreadable};
use crate::http::{Fields, Link, hop};

/// A client's connection.
pub struct Connection {
    pub worker: Rc<Worker>,
    pub link: Rc<Link>,
    pub listener: Rc<str>,
    pub facts: Rc<ConnectionFacts>,
    /// The client's address, as it is forwarded.
    pub peer: HeaderValue,
}

impl Service for Connection {
    /// A request holds its site until its answer's head is ready.
    async fn call(&self, request: Request) -> Response {
        let site = self.worker.site();
        self.worker.observer.request_started(&self.listener);
        if self.worker.is_draining() {
            self.link.close(crate::http::link::Closing::WhenIdle);
        }
        let mut exchange = self.exchange(&site, request);
        let listener = site.listener(&self.listener);
        let answer = match self.take(&site, listener, &mut exchange).await {
            Ok(answer) => answer,
            Err(fault) => respond::page(&mut exchange, fault),
        };
        respond::respond(&site, listener, exchange, answer)
    }

    fn unreadable(&self, why: Unreadable, began: Instant) -> Response {
        let site = self.worker.site();
        respond::unreadable(self.record(&site, began, Instant::now()), why.into())
    }
}

impl Connection {
    async fn take(
        &self,
        site: &Site,
        listener: Option<&ListenerSite>,
        exchange: &mut Exchange,
    ) -> Result<Answer, Fault> {
        let listener = listener.ok_or(Fault::ListenerGone)?;
        self.receive(site, exchange)?;
        exchange.record.stage = Stage::Queue;
        if let Some(reply) = filter::of_listener(site, listener, exchange).await? {
            return Ok(reply);
        }
        let chosen = match route::choose(site, listener, exchange)? {
            route::To::Pool(pool) => pool,
            route::To::Reply(reply) => return Ok(*reply),
        };
        if let Some(reply) = filter::of_route(site, exchange).await? {
            return Ok(reply);
        }
        let pool = exchange.overruled.or(chosen).ok_or(Fault::NoPool)?;
        forward::forward(site, exchange, pool, &self.peer, listener.timeouts.tunnel).await
    }

    fn exchange(&self, site: &Site, request: Request) -> Exchange {
        let Request {
            head,
            body,
            began,
            read,
        } = request;
        let mut record = self.record(site, began, read);
        record.request = Some(Asked {
            method: head.method.clone(),
            target: head.target.clone(),
            version: head.version_text(),
            user_agent: head.fields.first(&USER_AGENT).cloned(),
            referer: head.fields.first(&REFERER).cloned(),
        });
        Exchange {
            head,
            body: Some(body),
            said: hop::Said::default(),
            host_sent: None,
            trusted: false,
            route: None,
            overruled: None,
            passed: (0, 0),
            record,
        }
    }

    fn record(&self, site: &Site, began: Instant, read: Instant) -> Box<Record> {
        Box::new(Record {
            worker: self.worker.clone(),
            link: self.link.clone(),
            facts: self.facts.clone(),
            generation: site.generation,
            listener: self.listener.clone(),
            route: None,
            pool: None,
            server: None,
            in_flight: None,
            request: None,
            host: None,
            request_id: forwarded::fresh_id([self.worker.random(), self.worker.random()]),
            began,
            read,
            queue: None,
            connect: None,
            first_byte: None,
            status: None,
            attempts: 0,
            reasons: Vec::new(),
            notes: Vec::new(),
            stage: Stage::Request,
            fault: None,
            local: false,
            logged: true,
            told: false,
        })
    }

    /// Makes the head safe. Everything that a request for the next hop alone, or an untrusted one, could say is gone after it.
    fn receive(&self, site: &Site, exchange: &mut Exchange) -> Result<(), Fault> {
        let head = &mut exchange.head;
        exchange.said = hop::take(&mut head.fields);
        if head.version == Version::HTTP_10 {
            // RFC 9110, 7.8: HTTP/1.0 knows no Upgrade.
            exchange.said.upgrade = None;
        }
        if head.method == Method::CONNECT {
            return Err(Fault::ConnectMethod);
        }
        // RFC 9112, 3.2.4.
        if head.target.as_str() == "*" && head.method != Method::OPTIONS {
            return Err(Fault::BadRequest);
        }
        exchange.host_sent = only_host(&head.fields, head.version)?;
        exchange.record.host = exchange
            .host_sent
            .as_ref()
            .and_then(|host| host_of(host.as_bytes()));
        exchange.trusted = forwarded::is_trusted(self.facts.client.ip(), &site.trusted_proxies);
        if !exchange.trusted {
            forwarded::distrust(&mut head.fields);
            return Ok(());
        }
        if let Some(id) = forwarded::given_id(&head.fields) {
            exchange.record.request_id = id;
        }
        if let Some(client) = forwarded::client(&head.fields, &site.trusted_proxies) {
            exchange.record.facts = forwarded::facts(client, &self.facts);
        }
        Ok(())
    }
}

/// Host as HTTP/1.1 wants it: once, and a host (RFC 9112, 3.2). What two parties could read differently is refused.
fn only_host(fields: &Fields, version: Version) -> Result<Option<HeaderValue>, Fault> {
    let mut hosts = fields.all(&HOST);
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host,
        (None, _) if version == Version::HTTP_10 => return Ok(None),
        _ => return Err(Fault::BadRequest),
    };
    is_host(host.as_bytes())
        .then(|| Some(host.clone()))
        .ok_or(Fault::BadRequest)
}

/// `uri-host [ ":" port ]` (RFC 3986, 3.2.2), as far as its characters tell.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value.iter().rposition(|b| matches!(b, b':' | b']')) {
        Some(at) if value[at] == b':' => (&value[..at], &value[at + 1..]),
        _ => (value, &[][..]),
    };
    let literal = host
        .strip_prefix(b"[")
        .and_then(|host| host.strip_suffix(b"]"));
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(b);
    port.iter().all(u8::is_ascii_digit)
        && match literal {
            Some(address) => address.iter().all(|b| allowed(b) || *b == b':'),
            None => host.iter().all(allowed),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_host() {
        for good in [
            "example.com",
            "a:80",
            "10.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "",
            "xn--bcher-kva.example",
            "a:",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b", "user@a", "a/b", "a:80:90", "a:b", "[::1", "::1", "a?b", "a#b", "a,\tb",
            "\u{e9}",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn one_host_and_no_more() {
        let fields = |hosts: &[&'static str]| -> Fields {
            hosts
                .iter()
                .map(|host| (HOST, HeaderValue::from_static(host)))
                .collect()
        };
        assert_eq!(
            only_host(&fields(&["a"]), Version::HTTP_11)
                .unwrap()
                .unwrap(),
            "a"
        );
        assert_eq!(
            only_host(&fields(&[]), Version::HTTP_11),
            Err(Fault::BadRequest)
        );
        assert_eq!(only_host(&fields(&[]), Version::HTTP_10), Ok(None));
        assert_eq!(
            only_host(&fields(&["a", "a"]), Version::HTTP_11),
            Err(Fault::BadRequest)
        );
    }
}
