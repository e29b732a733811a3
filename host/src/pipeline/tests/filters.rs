//! Filters and routers: what they may say, and what follows when they fail.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::client::field;
use super::setup::Part;
use super::{Origin, Setup};
use crate::base::ids::{PoolIndex, RouteIndex};
use crate::config::checked::OnFailure;
use crate::hook::*;

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap()
}

fn set(name: &'static str, text: &str) -> Edit {
    Edit::Set(HeaderName::from_static(name), value(text))
}

fn request(decide: fn(&dyn RequestView) -> Result<Outcome, Failure>) -> Rc<dyn RequestFilter> {
    Rc::new(decide)
}

fn response(
    decide: fn(&dyn ResponseView) -> Result<ResponseOutcome, Failure>,
) -> Rc<dyn ResponseFilter> {
    Rc::new(decide)
}

fn router(decide: fn(&dyn RequestView) -> Result<Choice, Failure>) -> Box<dyn Router> {
    Box::new(decide)
}

fn answer(status: u16, body: &str) -> Outcome {
    let reply = Reply {
        status,
        headers: vec![(HeaderName::from_static("x-by"), value("plugin"))],
        body: body.into(),
    };
    Outcome {
        decision: Decision::Reply(Box::new(reply)),
        reason: Some("told to".into()),
        ..Outcome::default()
    }
}

#[tokio::test]
async fn a_filter_changes_the_request_for_those_after_it() {
    let origin = Origin::named("a").await;
    let mut setup = Setup::with(&[origin.address]);
    setup.filters = vec![
        Part::request("first", || {
            request(|view| {
                assert_eq!((view.path(), view.query()), (&b"/a"[..], Some(&b"q=1"[..])));
                assert_eq!(view.host(), Some(&b"example.com"[..]));
                Ok(Outcome {
                    edits: vec![
                        set("x-a", "1"),
                        Edit::Append(HeaderName::from_static("x-a"), value("2")),
                    ],
                    path: Some("/b".into()),
                    notes: vec![Note {
                        name: "tier".into(),
                        value: "gold".into(),
                    }],
                    reason: Some("because".into()),
                    ..Outcome::default()
                })
            })
        }),
        Part::request("second", || {
            request(|view| {
                assert_eq!((view.path(), view.query()), (&b"/b"[..], Some(&b"q=1"[..])));
                assert_eq!(
                    view.field(&HeaderName::from_static("x-a")).unwrap(),
                    &b"1, 2"[..]
                );
                assert_eq!(view.note("tier"), Some("gold"));
                Ok(Outcome {
                    edits: vec![set("host", "New.example:80")],
                    ..Outcome::default()
                })
            })
        }),
        Part::request("third", || {
            request(|view| {
                assert_eq!(view.host(), Some(&b"new.example"[..]));
                Ok(Outcome {
                    path: Some("/c?x".into()),
                    ..Outcome::default()
                })
            })
        }),
    ];
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/a?q=1").await.status, 200);
    let head = &origin.heads()[0];
    assert!(head.starts_with("GET /c?x HTTP/1.1"), "{head}");
    assert_eq!(field(head, "host").unwrap(), "New.example:80");
    let seen = proxy.events.first().await;
    assert_eq!(
        seen.target, "/a?q=1",
        "the log has what the client asked for"
    );
    assert_eq!(seen.reasons, [("first".into(), "because".into())]);
    assert_eq!(seen.notes, [("tier".into(), "gold".into())]);
}

#[tokio::test]
async fn a_filters_reply_ends_the_way_and_response_filters_passed_still_run() {
    let origin = Origin::named("a").await;
    let mut setup = Setup::with(&[origin.address]);
    setup.filters = vec![
        Part::response("outer", || {
            response(|view| {
                assert_eq!((view.status(), view.server()), (403, None));
                Ok(ResponseOutcome {
                    edits: vec![set("x-outer", "1")],
                    notes: Vec::new(),
                })
            })
        }),
        Part::request("guard", || request(|_| Ok(answer(403, "no")))),
        Part::response("inner", || response(|_| unreachable!("it was not passed"))),
    ];
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    for nth in 1..=2 {
        let got = client.get("/").await;
        assert_eq!((got.status, got.text().as_str()), (403, "no"));
        assert_eq!(
            (
                got.field("x-outer").as_deref(),
                got.field("x-by").as_deref()
            ),
            (Some("1"), Some("plugin"))
        );
        let seen = proxy.events.ended(nth).await;
        assert_eq!((seen.letters.as_str(), seen.fault), ("LR", None));
        assert_eq!(seen.reasons, [("guard".into(), "told to".into())]);
    }
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(field(&client.head().await, "content-length").unwrap(), "2");
    assert_eq!(proxy.events.ended(3).await.letters, "LR");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn response_filters_run_in_reverse_and_see_the_request() {
    let origin = Origin::saying(
        "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let mut setup = Setup::with(&[origin.address]);
    setup.filters = vec![
        Part::response("first", || {
            response(|view| {
                assert_eq!(
                    view.field(&HeaderName::from_static("x-order")).unwrap(),
                    &b"route, second"[..]
                );
                assert_eq!(view.request().path(), b"/p");
                assert_eq!(view.server(), Some("s0"));
                assert_eq!(view.field(&http::header::SET_COOKIE).unwrap(), &b"a=1"[..]);
                assert_eq!(view.request().note("seen"), Some("yes"));
                Ok(ResponseOutcome {
                    edits: vec![set("x-first", "1")],
                    notes: Vec::new(),
                })
            })
        }),
        Part::response("second", || {
            response(|_| {
                let edits = vec![Edit::Append(
                    HeaderName::from_static("x-order"),
                    value("second"),
                )];
                Ok(ResponseOutcome {
                    edits,
                    notes: vec![Note {
                        name: "seen".into(),
                        value: "yes".into(),
                    }],
                })
            })
        }),
    ];
    setup.router = Some(|| {
        router(|_| {
            Ok(Choice {
                route: Some(RouteIndex(0)),
                ..Choice::default()
            })
        })
    });
    setup.routes = vec![(
        "r",
        vec![Part::response("route", || {
            response(|_| {
                Ok(ResponseOutcome {
                    edits: vec![set("x-order", "route")],
                    notes: Vec::new(),
                })
            })
        })],
        vec![(0, 1)],
    )];
    let proxy = setup.start().await;
    let got = proxy.get("/p").await;
    assert_eq!(got.field("x-first").unwrap(), "1");
    assert_eq!(got.head.matches("set-cookie").count(), 2);
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.route.as_deref(), seen.notes),
        (Some("r"), vec![("seen".into(), "yes".into())])
    );
}

#[tokio::test]
async fn nobody_passes_a_filter_that_fails_unless_told_so() {
    let origin = Origin::named("a").await;
    let failing = Part::request("auth", || request(|_| Err(Failure::Unavailable)));
    let mut setup = Setup::with(&[origin.address]);
    setup.filters = vec![failing];
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/").await.status, 503);
    let seen = proxy.events.first().await;
    assert_eq!(
        (seen.fault, seen.letters.as_str()),
        (Some("filter-failed"), "PR")
    );
    assert_eq!(origin.connections(), 0);
    proxy
        .install(move |setup| {
            setup.filters = vec![Part {
                on_failure: OnFailure::Fallback,
                ..failing
            }]
        })
        .await;
    assert_eq!(proxy.get("/").await.status, 200);
}

#[tokio::test]
async fn a_response_filter_that_fails_hides_the_answer() {
    let origin = Origin::named("secret").await;
    let failing = Part::response("scrub", || response(|_| Err(Failure::Failed)));
    let mut setup = Setup::with(&[origin.address]);
    setup.filters = vec![failing];
    let proxy = setup.start().await;
    let got = proxy.get("/").await;
    assert_eq!(got.status, 503);
    assert!(!got.text().contains("secret"));
    proxy
        .install(move |setup| {
            setup.filters = vec![Part {
                on_failure: OnFailure::Fallback,
                ..failing
            }]
        })
        .await;
    assert_eq!(proxy.get("/").await.text(), "secret");
}

#[tokio::test]
async fn a_path_that_is_none_is_a_failure() {
    let origin = Origin::named("a").await;
    for path in ["no-slash", "/a b", "/\u{1}"] {
        let mut setup = Setup::with(&[origin.address]);
        setup.filters = vec![match path {
            "no-slash" => Part::request("f", || {
                request(|_| {
                    Ok(Outcome {
                        path: Some("no-slash".into()),
                        ..Outcome::default()
                    })
                })
            }),
            "/a b" => Part::request("f", || {
                request(|_| {
                    Ok(Outcome {
                        path: Some("/a b".into()),
                        ..Outcome::default()
                    })
                })
            }),
            _ => Part::request("f", || {
                request(|_| {
                    Ok(Outcome {
                        path: Some("/\u{1}".into()),
                        ..Outcome::default()
                    })
                })
            }),
        }];
        let proxy = setup.start().await;
        assert_eq!(proxy.get("/").await.status, 503, "{path:?}");
    }
}

/// Routes `/r…` by the route, `/p…` to pool 1, `/404` to an answer, `/fail` nowhere.
fn by_path() -> Box<dyn Router> {
    router(|view| {
        let path = view.path();
        if path.starts_with(b"/r") {
            return Ok(Choice {
                route: Some(RouteIndex(0)),
                ..Choice::default()
            });
        }
        match path {
            b"/p" => Ok(Choice {
                outcome: Outcome {
                    decision: Decision::Pool(PoolIndex(1)),
                    ..Outcome::default()
                },
                route: None,
            }),
            b"/404" => Ok(Choice {
                outcome: answer(404, "unknown"),
                route: None,
            }),
            b"/lie" => Ok(Choice {
                route: Some(RouteIndex(99)),
                ..Choice::default()
            }),
            b"/fail" => Err(Failure::Failed),
            _ => Ok(Choice::default()),
        }
    })
}

#[tokio::test]
async fn a_router_chooses() {
    let (a, b, c) = (
        Origin::named("a").await,
        Origin::named("b").await,
        Origin::named("c").await,
    );
    let mut setup = Setup::with(&[a.address]);
    setup
        .pools
        .extend([("b", vec![b.address]), ("c", vec![c.address])]);
    setup.router = Some(by_path);
    setup.routes = vec![("r", Vec::new(), vec![(2, 1)])];
    let proxy = setup.start().await;
    for (path, status, text) in [
        ("/", 200, "a"),
        ("/r", 200, "c"),
        ("/p", 200, "b"),
        ("/404", 404, "unknown"),
        ("/fail", 200, "a"),
        ("/lie", 200, "a"),
    ] {
        let got = proxy.get(path).await;
        assert_eq!((got.status, got.text().as_str()), (status, text), "{path}");
    }
}

#[tokio::test]
async fn a_split_keeps_its_weights() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let mut setup = Setup::with(&[a.address]);
    setup.pools.push(("b", vec![b.address]));
    setup.router = Some(by_path);
    setup.routes = vec![("r", Vec::new(), vec![(0, 3), (1, 1)])];
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    let mut to_b = 0;
    for _ in 0..800 {
        to_b += usize::from(client.get("/r").await.text() == "b");
    }
    // 200 expected, standard deviation 12.
    assert!((120..280).contains(&to_b), "{to_b} of 800");
}

#[tokio::test]
async fn a_filters_pool_overrules_the_router_and_the_routes_filters_still_run() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let mut setup = Setup::with(&[a.address]);
    setup.pools.push(("b", vec![b.address]));
    setup.filters = vec![Part::request("canary", || {
        request(|_| {
            Ok(Outcome {
                decision: Decision::Pool(PoolIndex(1)),
                ..Outcome::default()
            })
        })
    })];
    setup.router = Some(by_path);
    setup.routes = vec![(
        "r",
        vec![Part::request("strip", || {
            request(|_| {
                Ok(Outcome {
                    path: Some("/stripped".into()),
                    ..Outcome::default()
                })
            })
        })],
        vec![(0, 1)],
    )];
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/r").await.text(), "b");
    assert!(b.heads()[0].starts_with("GET /stripped "));
    assert_eq!(proxy.get("/404").await.text(), "b");
    assert_eq!(proxy.events.first().await.pool.as_deref(), Some("b"));
}

/// Asks pool 1 before it lets a request pass.
struct Authorisation {
    granted: bool,
    timeout: Duration,
}

impl RequestFilter for Authorisation {
    fn request(&self, view: &dyn RequestView) -> Result<Step, Failure> {
        let fetch = Fetch {
            pool: PoolIndex(1),
            method: Method::POST,
            path: "/check".into(),
            headers: vec![(
                HeaderName::from_static("x-path"),
                HeaderValue::from_bytes(view.path()).unwrap(),
            )],
            body: b"who".to_vec(),
            timeout: self.timeout,
        };
        Ok(Step::Fetch(Box::new(fetch), 7))
    }

    fn resume(&self, state: u64, answer: Result<Reply, FetchError>) -> Result<Step, Failure> {
        assert_eq!(state, 7);
        Ok(Step::Done(match answer {
            Ok(reply) if reply.status == 200 => {
                let user = String::from_utf8(reply.body).unwrap();
                Outcome {
                    edits: vec![set("x-user", &user)],
                    ..Outcome::default()
                }
            }
            Ok(reply) => self::answer(reply.status, "denied"),
            Err(error) => self::answer(599, &format!("{error:?}")),
        }))
    }

    fn may_fetch(&self, pool: PoolIndex) -> bool {
        self.granted && pool == PoolIndex(1)
    }
}

const PATIENT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_filter_asks_another_pool() {
    let origin = Origin::named("a").await;
    let auth = Origin::start(|mut caller| async move {
        while let Some(head) = caller.head().await {
            assert_eq!(caller.stream.exactly(3).await, b"who");
            let (status, body) = if field(&head, "x-path").unwrap() == "/ok" {
                (200, "ann")
            } else {
                (401, "bad")
            };
            caller
                .stream
                .send(format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: 3\r\n\r\n{body}"
                ))
                .await;
        }
    })
    .await;
    let mut setup = Setup::with(&[origin.address]);
    setup.pools.push(("auth", vec![auth.address]));
    setup.filters = vec![Part::request("auth", || {
        Rc::new(Authorisation {
            granted: true,
            timeout: PATIENT,
        })
    })];
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    assert_eq!(client.get("/ok").await.text(), "a");
    assert_eq!(field(&origin.heads()[0], "x-user").unwrap(), "ann");
    let got = client.get("/other").await;
    assert_eq!((got.status, got.text().as_str()), (401, "denied"));
    let head = &auth.heads()[0];
    assert!(head.starts_with("POST /check HTTP/1.1"), "{head}");
    assert_eq!(field(head, "host").unwrap(), auth.address.to_string());
    assert_eq!(auth.connections(), 1, "its connections are kept too");
}

#[tokio::test]
async fn a_fetch_that_fails_is_told_to_the_filter() {
    let origin = Origin::named("a").await;
    let large = Origin::start(|mut caller| async move {
        caller.head().await;
        caller
            .stream
            .send("HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n")
            .await;
        caller.stream.send(vec![0; 2_000_000]).await;
        caller.head().await;
    })
    .await;
    let silent = Origin::start(|mut caller| async move {
        caller.head().await;
        caller.head().await;
    })
    .await;
    let dead = Origin::dead().await;
    let patient: fn() -> Rc<dyn RequestFilter> = || {
        Rc::new(Authorisation {
            granted: true,
            timeout: PATIENT,
        })
    };
    let hasty: fn() -> Rc<dyn RequestFilter> = || {
        Rc::new(Authorisation {
            granted: true,
            timeout: Duration::from_millis(100),
        })
    };
    let ungranted: fn() -> Rc<dyn RequestFilter> = || {
        Rc::new(Authorisation {
            granted: false,
            timeout: PATIENT,
        })
    };
    for (address, filter, told) in [
        (large.address, patient, "TooLarge"),
        (silent.address, hasty, "Timeout"),
        (dead, patient, "Refused"),
        (origin.address, ungranted, "NotGranted"),
    ] {
        let mut setup = Setup::with(&[origin.address]);
        setup.pools.push(("auth", vec![address]));
        setup.filters = vec![Part::request("auth", filter)];
        let proxy = setup.start().await;
        let got = proxy.get("/").await;
        assert_eq!((got.status, got.text().as_str()), (599, told));
    }
}

/// Never has enough.
struct Insatiable;

impl RequestFilter for Insatiable {
    fn request(&self, _: &dyn RequestView) -> Result<Step, Failure> {
        self.resume(0, Err(FetchError::Timeout))
    }

    fn resume(&self, state: u64, _: Result<Reply, FetchError>) -> Result<Step, Failure> {
        let fetch = Fetch {
            pool: PoolIndex(0),
            method: Method::GET,
            path: "/".into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: PATIENT,
        };
        Ok(Step::Fetch(Box::new(fetch), state + 1))
    }

    fn may_fetch(&self, _: PoolIndex) -> bool {
        true
    }
}

#[tokio::test]
async fn fetches_are_bounded() {
    let origin = Origin::named("a").await;
    let mut setup = Setup::with(&[origin.address]);
    setup.filters = vec![Part::request("f", || Rc::new(Insatiable))];
    let proxy = setup.start().await;
    assert_eq!(proxy.get("/").await.status, 503);
    assert_eq!(origin.heads().len(), 8);
}
