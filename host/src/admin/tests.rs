//! The surface over a real socket, before a proxy that remembers what it was asked.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::base::ids::Generation;
use crate::control::Cause;

#[derive(Default)]
struct Fake {
    changes: Mutex<Vec<Change>>,
}

impl Proxy for Fake {
    fn status(&self) -> Arc<Status> {
        Arc::new(Status {
            version: "0.1.0",
            generation: 7,
            started: "2026-01-01T00:00:00Z".into(),
            uptime_seconds: 1,
            workers: 2,
            draining: false,
            connections: 0,
            config: "<tidegate.toml>".into(),
            last_change: None,
            listeners: Vec::new(),
            routes: Vec::new(),
            pools: Vec::new(),
            plugins: Vec::new(),
            shared_state: None,
            process: Default::default(),
        })
    }

    fn metrics_text(&self) -> String {
        "# EOF\n".into()
    }

    fn health(&self, pool: Option<&str>) -> Result<(), String> {
        match pool {
            Some("empty") => Err("pool \"empty\" has no usable server".into()),
            _ => Ok(()),
        }
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!({ "listener": [] })
    }

    fn history(&self) -> Arc<Vec<HistoryEntry>> {
        Arc::default()
    }

    fn explain(&self, question: Question) -> ExplainFuture<'_> {
        Box::pin(async move {
            Ok(Explained {
                listener: format!("{} {} {}", question.method, question.host, question.target),
                ..Explained::default()
            })
        })
    }

    fn tap(&self, terms: Terms) -> Option<Reader> {
        Arc::<crate::observe::tap::Taps>::default().open(terms)
    }

    fn change(&self, change: Change, _: String) -> ChangeFuture<'_> {
        Box::pin(async move {
            if let Change::Plugin { name, .. } = &change
                && name == "refused"
            {
                return Err(Rejected::new(
                    Cause::Invalid,
                    "tidegate.toml:3:1: it says no",
                ));
            }
            self.changes.lock().unwrap().push(change);
            Ok(Applied {
                generation: Generation(8),
                took: Duration::from_millis(2),
                plugins: vec!["p".into()],
            })
        })
    }
}

fn surface(token: Option<&str>) -> (Server, Arc<Fake>) {
    let proxy = Arc::new(Fake::default());
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = start(listener, token.map(str::to_owned), proxy.clone()).unwrap();
    (server, proxy)
}

/// Sends a request and answers status and whole response.
fn ask(server: &Server, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let mut request = format!(
        "{head} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer secret\r\ncontent-length: {}\r\n\r\n",
        server.address(),
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    stream.write_all(&request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

#[test]
fn what_may_be_read() {
    let (server, _) = surface(None);
    let (code, status) = ask(&server, "GET /api/v1/status", b"");
    assert_eq!(code, 200);
    assert!(status.contains("\"generation\":7"), "{status}");
    assert_eq!(ask(&server, "GET /api/v1/pools", b"").0, 200);
    assert_eq!(ask(&server, "GET /api/v1/plugins", b"").0, 200);
    let (_, metrics) = ask(&server, "GET /metrics", b"");
    assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    let (_, page) = ask(&server, "GET /", b"");
    assert!(page.contains("dashboard.js"), "{page}");
    assert!(page.contains("content-security-policy: default-src 'none'"));
}

#[test]
fn health_says_why_not() {
    let (server, _) = surface(None);
    assert_eq!(ask(&server, "GET /healthz", b"").0, 200);
    assert_eq!(ask(&server, "HEAD /healthz?pool=app", b"").0, 200);
    let (code, answer) = ask(&server, "GET /healthz?pool=empty", b"");
    assert_eq!(code, 503);
    assert!(
        answer.ends_with("pool \"empty\" has no usable server\n"),
        "{answer}"
    );
}

#[test]
fn a_change_reaches_the_proxy() {
    let (server, proxy) = surface(Some("secret"));
    let (code, answer) = ask(&server, "PUT /api/v1/plugins/by-tenant", b"\0asm");
    assert_eq!(code, 200, "{answer}");
    assert!(
        answer.contains("\"generation\":8") && answer.contains("\"took_ms\":2.0"),
        "{answer}"
    );
    assert_eq!(ask(&server, "POST /api/v1/reload", b"").0, 200);
    let changes = proxy.changes.lock().unwrap();
    assert!(
        matches!(&changes[..], [Change::Plugin { name, wasm }, Change::Reload] if name == "by-tenant" && wasm == b"\0asm"),
        "{changes:?}"
    );
}

#[test]
fn a_refusal_says_why_in_json() {
    let (server, proxy) = surface(Some("secret"));
    let (code, answer) = ask(&server, "PUT /api/v1/plugins/refused", b"\0asm");
    assert_eq!(code, 422);
    assert!(
        answer.ends_with(r#"{"error":"refused, and nothing has changed","problems":["tidegate.toml:3:1: it says no"]}"#),
        "{answer}"
    );
    assert_eq!(ask(&server, "PUT /api/v1/plugins/empty", b"").0, 400);
    assert_eq!(ask(&server, "DELETE /api/v1/plugins/x", b"").0, 405);
    assert_eq!(ask(&server, "GET /nowhere", b"").0, 404);
    assert!(proxy.changes.lock().unwrap().is_empty());
}

#[test]
fn without_a_configured_token_the_port_is_read_only() {
    let (server, proxy) = surface(None);
    let (code, answer) = ask(&server, "POST /api/v1/reload", b"");
    assert_eq!(code, 403);
    assert!(answer.contains("set `token` in [admin]"), "{answer}");
    server.set_token(Some("secret".into()));
    assert_eq!(ask(&server, "POST /api/v1/reload", b"").0, 200);
    assert_eq!(proxy.changes.lock().unwrap().len(), 1);
}

#[test]
fn too_large_a_body_is_refused() {
    let (server, proxy) = surface(Some("secret"));
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "PUT /api/v1/plugins/x HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer secret\r\n\
         content-length: {}\r\n\r\n",
        server.address(),
        65 << 20
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start[9..], b"413");
    assert!(proxy.changes.lock().unwrap().is_empty());
}

#[test]
fn others_reach_no_port_without_a_token() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let error = start(listener, None, Arc::new(Fake::default()))
        .err()
        .unwrap();
    assert!(error.to_string().contains("needs a token"), "{error}");
}

#[test]
fn a_port_in_use_is_named() {
    let (server, _) = surface(None);
    let error = bind(server.address()).unwrap_err();
    assert!(
        error.contains(&server.address().to_string()) && error.contains("--admin"),
        "{error}"
    );
}
