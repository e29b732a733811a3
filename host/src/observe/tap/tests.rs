//! Terms read and held against requests, lines, and what becomes of a reader that doesn't read.

use std::rc::Rc;
use std::time::Instant;

use serde_json::{Value, json};

use super::*;
use crate::base::trail::{Closely, Role, Sent, Step, Trail, Verdict};
use crate::observe::tests::request;

struct Fields(Vec<(&'static str, &'static [u8])>);

impl Sent for Fields {
    fn has(&self, name: &str, value: Option<&[u8]>) -> bool {
        let mut fields = self.0.iter();
        fields.any(|(known, said)| *known == name && value.is_none_or(|value| value == *said))
    }
}

fn asked(query: &[(&str, &str)]) -> Result<Asked, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Asked::parse(&query.iter().map(owned).collect::<Vec<_>>())
}

fn terms(query: &[(&str, &str)]) -> Terms {
    asked(query).unwrap().terms
}

fn trail() -> Trail {
    let trail = Trail::new(Instant::now());
    let plugin = |name: &str| Rc::<str>::from(name);
    trail.add(Step {
        pool: Some("app".into()),
        route: Some("api".into()),
        reason: Some("path /api \"first\"".to_owned()),
        edits: vec!["set x-user".to_owned()],
        notes: vec![
            ("tenant".to_owned(), "old".to_owned()),
            ("tenant".to_owned(), "acme".to_owned()),
        ],
        ..Step::new(Role::Router, &plugin("router"), Verdict::Pool)
    });
    trail.add(Step {
        server: Some("web1".into()),
        ..Step::new(Role::Balancer, &plugin("first"), Verdict::Server)
    });
    trail.tried(Some("web1".into()), Ok(Some(200)));
    trail
}

/// Whether these terms are those of a usual request: GET example.com/api/users?page=2 from 192.0.2.7, 200 from app/web1 in 35.1 ms.
fn wanted(query: &[(&str, &str)]) -> bool {
    let (trail, sent) = (trail(), Fields(vec![("x-tenant", b"blue")]));
    let closely = Closely {
        trail: &trail,
        sent: Some(&sent),
    };
    terms(query).want(&request(), &closely)
}

#[test]
fn a_request_is_held_against_every_term() {
    for query in [
        &[][..],
        &[("listener", "web"), ("route", "api"), ("pool", "app")],
        &[("listener", "raw"), ("listener", "web")],
        &[("server", "web1")],
        &[("server", "app/web1")],
        &[("method", "GET"), ("host", "Example.com")],
        &[("path", "/api")],
        &[("path", "/api/")],
        &[("path", "/")],
        &[("path", "/api/users")],
        &[("status", "200"), ("status", "5xx")],
        &[("status", "2xx")],
        &[("client", "192.0.2.0/24")],
        &[("client", "192.0.2.7")],
        &[("min-duration", "35ms")],
        &[("plugin", "router")],
        &[("decision", "pool")],
        &[("plugin", "first"), ("decision", "server")],
        &[("header", "x-tenant")],
        &[("header", "X-Tenant: blue")],
    ] {
        assert!(wanted(query), "{query:?}");
    }
    for query in [
        &[("listener", "raw")][..],
        &[("route", "other")],
        &[("pool", "web1")],
        &[("server", "web2")],
        &[("server", "other/web1")],
        &[("method", "POST")],
        &[("host", "*.example.com")],
        &[("path", "/ap")],
        &[("path", "/api/users/7")],
        &[("status", "404")],
        &[("status", "5xx")],
        &[("status", "none")],
        &[("client", "192.0.3.0/24")],
        &[("client", "2001:db8::/32")],
        &[("min-duration", "36ms")],
        &[("plugin", "random")],
        &[("decision", "respond")],
        &[("plugin", "router"), ("decision", "server")],
        &[("fault", "any")],
        &[("header", "x-tenant: red")],
        &[("header", "x-tenant"), ("header", "x-user")],
        // All keys must hold.
        &[("listener", "web"), ("status", "404")],
    ] {
        assert!(!wanted(query), "{query:?}");
    }
}

#[test]
fn names_below_a_host_and_faults_are_found() {
    let trail = trail();
    let closely = Closely {
        trail: &trail,
        sent: None,
    };
    let failed = RequestEnded {
        host: Some(b"shop.example.com"),
        status: None,
        fault: Some("client-closed"),
        ..request()
    };
    let wanted = |query: &[(&str, &str)]| terms(query).want(&failed, &closely);
    assert!(wanted(&[("host", "*.example.com")]));
    assert!(!wanted(&[("host", "example.com")]));
    assert!(wanted(&[("status", "none"), ("fault", "any")]));
    assert!(wanted(&[
        ("fault", "no-server"),
        ("fault", "client-closed")
    ]));
    assert!(!wanted(&[("fault", "no-server")]));
    assert!(!wanted(&[("header", "x-tenant")]), "there is no head");
}

#[test]
fn what_is_no_term_is_refused_with_words() {
    for (key, value, says) in [
        (
            "colour",
            "red",
            "colour: it is not known here; known are: listener",
        ),
        ("listener", "", "listener: it is empty"),
        (
            "status",
            "6xx",
            "status: \"6xx\" is no status; write 502, 5xx or none",
        ),
        ("status", "99", "status: \"99\" is no status"),
        ("status", "éxx", "is no status"),
        ("method", "A B", "method: \"A B\" is no method"),
        ("host", "a:80", "host: \"a:80\" has a port"),
        ("path", "api", "path: \"api\" is no prefix of a path"),
        (
            "client",
            "10.0.0.0/33",
            "client: \"10.0.0.0/33\" has too long a prefix",
        ),
        ("min-duration", "5", "min-duration: \"5\" has no unit"),
        ("for", "2d", "for: \"2d\" is out of range"),
        ("limit", "0", "limit: \"0\" is no number of requests"),
        (
            "decision",
            "maybe",
            "\"maybe\" is no decision; there are: accept, refuse",
        ),
        ("header", "a b", "header: \"a b\" is no header"),
    ] {
        let why = asked(&[(key, value)]).unwrap_err();
        assert!(why.contains(says), "{key}={value}: {why}");
        assert!(!why.contains('\n'), "{why}");
    }
    let many = vec![("path", "/x"); 65];
    assert!(asked(&many).unwrap_err().contains("64 terms at most"));
    let bounds = asked(&[("limit", "5"), ("for", "30s")]).unwrap();
    assert_eq!(
        (bounds.limit, bounds.at_most.map(|time| time.as_secs())),
        (Some(5), Some(30))
    );
}

#[tokio::test]
async fn a_line_is_that_of_the_log_with_steps() {
    let taps = Arc::<Taps>::default();
    let worker = taps.worker();
    let mut reader = taps.open(terms(&[("status", "200")])).unwrap();
    let trail = trail();
    let closely = Some(Closely {
        trail: &trail,
        sent: None,
    });
    worker.write(&RequestEnded {
        closely,
        status: Some(404),
        ..request()
    });
    worker.write(&RequestEnded {
        closely,
        ..request()
    });
    let line = reader.next().await.unwrap();
    assert!(reader.more().is_none(), "the other is not asked for");
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    let mut told: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(told["target"], "/api/users?page=2");
    assert_eq!(told["referer"], Value::Null);
    for step in told["steps"].as_array_mut().unwrap() {
        assert!(step["at_us"].is_u64(), "{step}");
        step.as_object_mut().unwrap().remove("at_us");
    }
    assert_eq!(
        told["steps"],
        json!([
            {"role": "router", "plugin": "router", "decision": "pool", "route": "api", "pool": "app",
                "edits": ["set x-user"], "notes": {"tenant": "acme"}, "reason": "path /api \"first\""},
            {"role": "balancer", "plugin": "first", "decision": "server", "server": "web1"},
            {"role": "attempt", "decision": "answered", "server": "web1", "status": 200},
        ])
    );
}

#[tokio::test]
async fn a_reader_that_does_not_read_loses_lines_and_is_told() {
    let taps = Arc::<Taps>::default();
    let worker = taps.worker();
    let (mut slow, mut quick) = (
        taps.open(terms(&[])).unwrap(),
        taps.open(terms(&[])).unwrap(),
    );
    let trail = trail();
    let told = RequestEnded {
        closely: Some(Closely {
            trail: &trail,
            sent: None,
        }),
        ..request()
    };
    let sent = (MOST_LINES * 2) as u64;
    for _ in 0..sent {
        worker.write(&told);
        assert!(quick.more().is_some());
    }
    let mut kept = 0;
    while slow.more().is_some() {
        kept += 1;
    }
    assert!(kept > 0 && kept <= MOST_LINES as u64, "{kept}");
    assert_eq!(slow.dropped(), sent - kept);
    assert_eq!(slow.dropped(), 0, "it is told once");
    assert_eq!(quick.dropped(), 0);
    worker.write(&told);
    assert!(slow.next().await.is_some(), "there is room again");
    assert_eq!(taps.dropped.load(Relaxed), sent - kept);
}

#[tokio::test]
async fn taps_are_few_and_end_with_their_reader_or_the_process() {
    let taps = Arc::<Taps>::default();
    let followed = taps.followed();
    assert!(!followed.now());
    let mut readers: Vec<_> = (0..MOST_TAPS)
        .map(|_| taps.open(Terms::default()).unwrap())
        .collect();
    assert!(followed.now());
    assert!(taps.open(Terms::default()).is_none());
    readers.pop();
    readers.push(taps.open(Terms::default()).expect("there is room again"));
    taps.close();
    assert!(!followed.now());
    for reader in &mut readers {
        assert!(reader.next().await.is_none());
    }
    drop(readers);
    let last = taps.open(Terms::default()).unwrap();
    drop(last);
    assert!(!followed.now());
}

/// What is told costs a worker nothing while nobody follows: it has no trail.
#[test]
fn without_a_trail_nothing_is_written() {
    let taps = Arc::<Taps>::default();
    let mut reader = taps.open(Terms::default()).unwrap();
    taps.worker().write(&request());
    assert!(reader.more().is_none());
}
