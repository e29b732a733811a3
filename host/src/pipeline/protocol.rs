//! What the engine read becomes a request that is safe to decide about: one host, hop-by-hop fields gone, nobody's word
//! about the client believed who isn't trusted. Then it goes through the steps.

use std::rc::Rc;
use std::time::Instant;

use http::Version;

use super::capture::Capture;
use super::exchange::{Exchange, host_of};
use super::fault::{Fault, Stage};
use super::forwarded::RequestId;
use super::log::Record;
use super::respond::{self, Answer};
use super::site::{ListenerSite, Site};
use super::worker::{Place, Worker};
use super::{filter, forward, forwarded, route, trace};
use crate::base::event::Silence;
use crate::base::in_place;
use crate::hook::ConnectionFacts;
use crate::http::h2 as http2;
use crate::http::known::Known;
use crate::http::server::{Request, Response, Service, Unreadable};
use crate::http::{Link, RequestHead, hop};

/// A client's connection.
pub struct Connection {
    pub worker: Rc<Worker>,
    /// Given up as the connection ends.
    pub _place: Place,
    pub link: Rc<Link>,
    pub listener: Rc<str>,
    pub facts: Rc<ConnectionFacts>,
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
            Err(fault) => respond::page(listener, &mut exchange, fault),
        };
        respond::respond(&site, listener, exchange, answer)
    }

    fn unreadable(&self, why: Unreadable, began: Instant, link: &Rc<Link>) -> Response {
        let site = self.worker.site();
        let head = RequestHead::none();
        respond::unreadable(
            site.listener(&self.listener),
            self.record(&site, head, began, Instant::now(), link.clone()),
            why.into(),
        )
    }

    fn http2(&self) -> Option<http2::Settings> {
        let site = self.worker.site();
        site.listener(&self.listener)?.http2
    }

    fn was_flooding(&self, link: &Rc<Link>) {
        let (site, now) = (self.worker.site(), Instant::now());
        // Nobody answers it: as it goes, it tells of itself whom the link blames.
        drop(self.record(&site, RequestHead::none(), now, now, link.clone()));
    }

    fn was_silent(&self, silence: Silence) {
        let observer = &self.worker.observer;
        observer.connection_was_silent(&self.listener, silence);
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
        let tls = listener.tls.as_ref();
        exchange.tells_certificate = tls.is_some_and(|tls| tls.tells_servers());
        self.receive(site, exchange)?;
        if let Some(sampling) = site.sampling {
            trace::begin(sampling, exchange);
        }
        bound(listener, exchange)?;
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
        let (peer, tunnel) = (&self.facts.client_address, listener.timeouts.tunnel);
        forward::forward(site, exchange, pool, peer, tunnel).await
    }

    fn exchange(&self, site: &Site, request: Request) -> Exchange {
        let Request {
            head,
            body,
            began,
            read,
            link,
        } = request;
        let mut record = self.record(site, head, began, read, link);
        record.started = true;
        Exchange {
            body: Some(body),
            kept: None,
            said: hop::Said::default(),
            trusted: false,
            scheme: if self.facts.tls.is_some() {
                "https"
            } else {
                "http"
            },
            tells_certificate: false,
            route: None,
            overruled: None,
            passed: (0, 0),
            record,
        }
    }

    fn record(
        &self,
        site: &Site,
        head: RequestHead,
        began: Instant,
        read: Instant,
        link: Rc<Link>,
    ) -> Box<Record> {
        let times = (began, read);
        let mut record = in_place(|| {
            Record::new(
                &self.worker,
                link,
                &self.facts,
                site.generation,
                head,
                times,
            )
        });
        if let Some(rules) = &site.captures {
            record.capture = Some(Box::new(Capture::new(rules)));
        }
        record
    }

    /// Makes the head safe. Everything that a request for the next hop alone, or an untrusted one, could say is gone after it.
    fn receive(&self, site: &Site, exchange: &mut Exchange) -> Result<(), Fault> {
        let head = &mut exchange.record.head;
        exchange.said = hop::take(&mut head.fields);
        if head.version == Version::HTTP_10 {
            // RFC 9110, 7.8: HTTP/1.0 knows no Upgrade.
            exchange.said.upgrade = None;
        }
        // The engine has seen to it that there is one, and that it is a host.
        exchange.record.host = head.fields.first_of(Known::Host).and_then(host_of);
        exchange.trusted = forwarded::is_trusted(self.facts.client.ip(), &site.trusted_proxies);
        if !exchange.trusted {
            forwarded::distrust(&mut head.fields);
            return Ok(());
        }
        if let Some(id) = RequestId::given(&head.fields) {
            exchange.record.request_id = id;
        }
        if let Some(scheme) = forwarded::scheme(&head.fields) {
            exchange.scheme = scheme;
        }
        if let Some(client) = forwarded::client(&head.fields, &site.trusted_proxies) {
            exchange.record.facts = forwarded::facts(client, &self.facts);
        }
        Ok(())
    }
}

/// Holds the body to what the listener takes of one.
fn bound(listener: &ListenerSite, exchange: &mut Exchange) -> Result<(), Fault> {
    let (most, Some(body)) = (listener.max_body, &mut exchange.body) else {
        return Ok(());
    };
    if most == 0 {
        return Ok(());
    }
    if body.length().is_some_and(|length| length > most) {
        return Err(Fault::BodyTooLarge);
    }
    body.bound(most);
    Ok(())
}
