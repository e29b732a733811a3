//! The answer: a server's, a plugin's, or a page of our own for a fault; through the response filters, in reverse of the
//! way in, and on its way.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, UPGRADE,
};
use http::{Method, StatusCode};

use super::compress::compress;
use super::exchange::{Answered, Exchange, apply};
use super::fault::Fault;
use super::forwarded::{REQUEST_ID, RequestId};
use super::grpc;
use super::log::Record;
use super::site::{Filter, ListenerSite, Site};
use crate::base::trail::Role;
use crate::config::checked::{ErrorPage, OnFailure};
use crate::hook::{Failure, Reply, ResponseOutcome};
use crate::http::fields::tokens;
use crate::http::server::{Response, Tunnel};
use crate::http::{Body, ResponseHead, hop};

pub struct Answer {
    pub head: ResponseHead,
    pub body: Body,
    /// None: our own.
    pub server: Option<Rc<str>>,
    /// How long its body may pause.
    pub between_bytes: Duration,
    /// With status 101.
    pub tunnel: Option<Tunnel>,
}

/// The last of a request's steps: the answer leaves, and the request lets go of its site.
pub fn respond(
    site: &Site,
    listener: Option<&ListenerSite>,
    mut exchange: Exchange,
    mut answer: Answer,
) -> Response {
    if let (Some(capture), Some(_)) = (&mut exchange.record.capture, &answer.server) {
        capture.answered(&answer.head.fields);
    }
    let said = hop::take(&mut answer.head.fields);
    let route = exchange.route.and_then(|route| site.route(route));
    let passed = exchange.passed;
    let of_route = route.map_or(&[][..], |route| &route.filters[..passed.1]);
    let of_listener = listener.map_or(&[][..], |listener| &listener.filters[..passed.0]);
    for filter in of_route.iter().rev().chain(of_listener.iter().rev()) {
        answer = filtered(filter, listener, &mut exchange, answer);
    }
    let fields = &mut answer.head.fields;
    fields.set(&REQUEST_ID, &exchange.record.request_id);
    if let (Some(protocol), Some(_)) = (said.upgrade, &answer.tunnel) {
        fields.set(&UPGRADE, protocol);
        fields.set(&CONNECTION, "upgrade");
    }
    if answer.head.status == StatusCode::NO_CONTENT {
        fields.remove(&CONTENT_LENGTH);
    }
    if answer.server.is_none() {
        bare_where_it_must_be(&exchange.record.head.method, &mut answer);
    }
    if let Some(settings) = listener.and_then(|listener| listener.compression.as_ref()) {
        answer = compress(settings, &exchange.record.head, answer);
    }
    send(exchange.record, answer)
}

/// The answer to what never became a request; no filter has seen it.
pub fn unreadable(
    listener: Option<&ListenerSite>,
    mut record: Box<Record>,
    fault: Fault,
) -> Response {
    record.fault = Some(fault);
    let mut answer = page_for(listener, fault, false, &record.request_id);
    answer.head.fields.set(&REQUEST_ID, &record.request_id);
    send(record, answer)
}

fn send(mut record: Box<Record>, answer: Answer) -> Response {
    let Answer {
        head,
        body,
        between_bytes,
        tunnel,
        ..
    } = answer;
    record.status = Some(head.status.as_u16());
    Response {
        head,
        body,
        between_bytes,
        ledger: record,
        tunnel,
    }
}

fn filtered(
    filter: &Filter,
    listener: Option<&ListenerSite>,
    exchange: &mut Exchange,
    mut answer: Answer,
) -> Answer {
    let Some(plugin) = &filter.response else {
        return answer;
    };
    let view = Answered {
        exchange,
        head: &answer.head,
        server: answer.server.as_deref(),
    };
    match plugin.response(&view) {
        Ok(outcome) => {
            exchange.responded(&filter.name, &outcome);
            let ResponseOutcome { edits, notes } = outcome;
            for edit in edits {
                apply(&mut answer.head.fields, edit);
            }
            exchange.note(notes);
            answer
        }
        Err(Failure::Failed | Failure::Unavailable) => {
            exchange.failed(Role::ResponseFilter, &filter.name);
            match filter.on_failure {
                OnFailure::Fallback => answer,
                OnFailure::Reject => page(listener, exchange, Fault::FilterFailed),
            }
        }
    }
}

/// A plugin's own answer. Framing is ours.
pub fn reply(exchange: &mut Exchange, reply: Reply) -> Answer {
    let Reply {
        status,
        headers,
        body,
    } = reply;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut head = ResponseHead::new(status);
    for (name, value) in headers {
        head.fields.append(&name, value);
    }
    head.fields.remove(&CONTENT_LENGTH);
    exchange.record.local = true;
    match grpc::asked(&exchange.record.head.fields) {
        Some(kind) if head.status.as_u16() >= 400 && !head.fields.contains(&grpc::STATUS) => {
            grpc::instead(kind, &mut head, &String::from_utf8_lossy(&body));
            own(head, Body::empty())
        }
        _ => own(head, Body::full(body)),
    }
}

/// The page for a fault.
pub fn page(listener: Option<&ListenerSite>, exchange: &mut Exchange, fault: Fault) -> Answer {
    exchange.record.fault = Some(fault);
    if let (Some(kind), Some(status)) = (grpc::asked(&exchange.record.head.fields), fault.status())
    {
        return own(grpc::head(kind, status, fault.sentence()), Body::empty());
    }
    let accepts = exchange.record.head.fields.all(&ACCEPT).flat_map(tokens);
    let html = accepts
        .into_iter()
        .any(|range| range.to_ascii_lowercase().starts_with(b"text/html"));
    page_for(listener, fault, html, &exchange.record.request_id)
}

fn page_for(listener: Option<&ListenerSite>, fault: Fault, html: bool, id: &RequestId) -> Answer {
    let status = fault.status().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (kind, text) = match listener.and_then(|listener| own_page(listener, status)) {
        Some(page) => (page.content_type, page.text.clone()),
        None => {
            let (kind, text) = built_in(fault, status, html, id);
            (kind, Bytes::from(text))
        }
    };
    let mut head = ResponseHead::new(status);
    head.fields.set(&CONTENT_TYPE, kind);
    head.fields.set(&CACHE_CONTROL, "no-store");
    if fault == Fault::ConnectMethod {
        head.fields
            .set(&ALLOW, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    }
    if let Some(seconds) = fault.retry_after() {
        head.fields.set(&RETRY_AFTER, seconds.to_string());
    }
    own(head, Body::full(text))
}

/// The page that the operator has for this status, or for its class.
fn own_page(listener: &ListenerSite, status: StatusCode) -> Option<&ErrorPage> {
    let of = |wanted: u16| {
        let mut pages = listener.error_pages.iter();
        pages.find(|page| page.status == wanted)
    };
    of(status.as_u16()).or_else(|| of(status.as_u16() / 100))
}

fn built_in(
    fault: Fault,
    status: StatusCode,
    html: bool,
    id: &RequestId,
) -> (&'static str, String) {
    let (title, sentence) = (status.to_string(), fault.sentence());
    // An id is hex, or graphic characters from a trusted proxy.
    let id = escaped(id.as_str());
    if html {
        let text = format!(
            "<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n<p>{sentence}</p>\n<p>Request id: {id}</p>\n"
        );
        ("text/html; charset=utf-8", text)
    } else {
        (
            "text/plain; charset=utf-8",
            format!("{title}\n{sentence}\nRequest id: {id}\n"),
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn own(head: ResponseHead, body: Body) -> Answer {
    Answer {
        head,
        body,
        server: None,
        between_bytes: Duration::ZERO,
        tunnel: None,
    }
}

/// No body where HTTP has none: the answer to HEAD says how long it would be, 204 and 304 say nothing (RFC 9110, 8.6).
fn bare_where_it_must_be(method: &Method, answer: &mut Answer) {
    if answer.head.is_bodiless() {
        answer.body = Body::empty();
    } else if *method == Method::HEAD {
        if let Some(length) = answer.body.length() {
            answer.head.fields.set(&CONTENT_LENGTH, length.to_string());
        }
        answer.body = Body::empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_names_status_and_id_in_the_clients_language() {
        let mut head = ResponseHead::new(StatusCode::OK);
        head.fields.set(&REQUEST_ID, "<7>");
        let id = RequestId::given(&head.fields).unwrap();
        let plain = page_for(None, Fault::NoServer, false, &id);
        assert_eq!(plain.head.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            plain.head.fields.first(&CACHE_CONTROL).unwrap(),
            b"no-store"
        );
        let text = plain.body.collect(1 << 10).await.unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.starts_with("503 Service Unavailable\n"), "{text}");
        let html = page_for(None, Fault::NoServer, true, &id)
            .body
            .collect(1 << 10)
            .await
            .unwrap();
        let html = String::from_utf8(html.to_vec()).unwrap();
        assert!(
            html.contains("<h1>503 Service Unavailable</h1>") && html.contains("&lt;7&gt;"),
            "{html}"
        );
    }

    #[test]
    fn an_answer_without_a_body_has_none() {
        let answer = |status, method: Method| {
            let mut answer = own(ResponseHead::new(status), Body::full("12345"));
            bare_where_it_must_be(&method, &mut answer);
            let length = answer
                .head
                .fields
                .first(&CONTENT_LENGTH)
                .map(|v| String::from_utf8(v.to_vec()).unwrap());
            (answer.body.length(), length)
        };
        assert_eq!(answer(StatusCode::OK, Method::GET), (Some(5), None));
        assert_eq!(
            answer(StatusCode::OK, Method::HEAD),
            (Some(0), Some("5".into()))
        );
        assert_eq!(answer(StatusCode::NO_CONTENT, Method::GET), (Some(0), None));
        assert_eq!(
            answer(StatusCode::NOT_MODIFIED, Method::HEAD),
            (Some(0), None)
        );
    }
}
