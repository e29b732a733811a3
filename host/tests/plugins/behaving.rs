//! What a plugin is told, what it may say, and what the host keeps for it.

use std::time::Duration;

use tidegate::base::ids::{PoolIndex, Slot};
use tidegate::hook::{
    Balancer, Decision, Edit, Failure, Outcome, RequestFilter, ResponseFilter, Router, Step,
};
use tidegate::plugin::{Cause, Plan, Role, Settings, WorkerPlugin, prepare};
use tidegate_tests::guest;
use xxhash_rust::xxh3::xxh3_64;

use crate::support::{Answered, Asked, World, adopted, get, members, plan, settings};

fn done(step: Result<Step, Failure>) -> Outcome {
    match step {
        Ok(Step::Done(outcome)) => outcome,
        other => panic!("{other:?}"),
    }
}

fn note<'a>(outcome: &'a Outcome, name: &str) -> &'a str {
    let note = outcome.notes.iter().find(|n| n.name == name);
    &note
        .unwrap_or_else(|| panic!("no note {name}: {outcome:?}"))
        .value
}

#[test]
fn a_filter_is_told_what_it_declared() {
    let world = World::new();
    let guest = world.guest("inputs", "{}");
    let request = get("/a%20b?q=x%20y&r")
        .header("x-a", b"caf\xc3\xa9")
        .header("cookie", b"a=1; id=\"7\"");
    let outcome = done(guest.request(&request));
    let told: Vec<&str> = outcome.notes.iter().map(|n| n.value.as_str()).collect();
    let expected = [
        "GET",
        "/a%20b",
        "q=x%20y&r",
        "x y",
        "caf\u{e9}",
        "(none)",
        "7",
        "192.0.2.7",
        "web",
        "noted",
    ];
    assert_eq!(told, expected);
    assert_eq!(guest.shared().calls(Role::RequestFilter), 1);
    assert_eq!(
        guest.shared().time(Role::RequestFilter).1,
        1,
        "the first is timed"
    );
}

#[test]
fn values_need_not_be_text() {
    let world = World::new();
    let guest = world.guest("inputs", "{}");
    let outcome = done(guest.request(&get("/").header("x-a", b"\xff\xfe\x80")));
    assert_eq!(note(&outcome, "v4"), "\u{fffd}\u{fffd}\u{fffd}");
}

/// How often a guest that tells it was called, by its answer to this request.
fn calls(guest: &WorkerPlugin, request: &Asked) -> (String, String) {
    let routed = guest.route(request).unwrap().outcome;
    let filtered = done(guest.request(request));
    (
        note(&routed, "calls").to_owned(),
        note(&filtered, "calls").to_owned(),
    )
}

#[test]
fn a_pure_plugin_is_asked_the_same_once() {
    let world = World::new();
    let guest = world.guest("pure", "{}");
    let seen = |target: &str| calls(&guest, &get(target));
    let said = |first: &str, second: &str| (first.to_owned(), second.to_owned());
    assert_eq!(seen("/a"), said("1", "2"));
    assert_eq!(seen("/a?of=no-interest"), said("1", "2"));
    assert_eq!(seen("/b"), said("3", "4"));
    assert_eq!(seen("/a"), said("1", "2"));
    assert_eq!(
        calls(&guest, &get("/a").header("x-a", b"1")),
        said("5", "6")
    );
    assert_eq!(seen("/large"), said("7", "8"));
    assert_eq!(seen("/large"), said("7", "9"), "too large to be kept");
    let answered = |request| {
        let edits = guest.response(&Answered(request)).unwrap().edits;
        format!("{edits:?}")
    };
    assert_eq!(answered(get("/a")), answered(get("/c")));
    assert_ne!(answered(get("/a").header("x-a", b"1")), answered(get("/a")));
    let figures = |role| (guest.shared().calls(role), guest.shared().repeated(role));
    assert_eq!(figures(Role::Router), (4, 3));
    assert_eq!(figures(Role::RequestFilter), (5, 2));
    assert_eq!(figures(Role::ResponseFilter), (2, 2));
    let metrics = metrics(&world);
    for (role, times) in [("router", 3), ("request-filter", 2)] {
        let line = format!(
            "tidegate_plugin_answers_repeated_total{{plugin=\"pure\",role=\"{role}\"}} {times}\n"
        );
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[test]
fn what_is_more_than_an_answer_is_asked_for_each_time() {
    let world = World::new();
    let guest = world.guest("pure", "{}");
    for calls in 1..4 {
        let step = guest.request(&get("/look-up"));
        assert!(matches!(step, Ok(Step::LookUp(..))), "{step:?}");
        assert_eq!(guest.shared().calls(Role::RequestFilter), calls);
    }
}

#[test]
fn a_new_instance_knows_no_answers_of_the_last() {
    let world = World::new();
    let guest = world.guest("pure", "{}");
    let (before, _) = calls(&guest, &get("/b"));
    assert_eq!(before, "1");
    assert_eq!(calls(&guest, &get("/a")), ("3".into(), "4".into()));
    assert_eq!(guest.route(&get("/bad")), Err(Failure::Failed));
    assert_eq!(calls(&guest, &get("/a")), ("1".into(), "2".into()));
}

#[test]
fn a_response_filter_edits() {
    let world = World::new();
    let guest = world.guest("inputs", "{}");
    let outcome = guest.response(&Answered(get("/"))).unwrap();
    let shown: Vec<String> = outcome
        .edits
        .iter()
        .map(|edit| match edit {
            Edit::Set(n, v) => format!("set {n}: {}", v.to_str().unwrap()),
            Edit::Append(n, v) => format!("append {n}: {}", v.to_str().unwrap()),
            Edit::Remove(n) => format!("remove {n}"),
            Edit::SetCookie(n, v) => format!("cookie {n}: {}", v.to_str().unwrap()),
        })
        .collect();
    let expected = [
        "set x-status: 204",
        "set x-server: s1",
        "append x-type: text/plain",
        "remove x-secret",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn the_key_is_hashed_as_documented() {
    let world = World::new();
    let guest = world.guest("inputs", "{}");
    let mut hashed = 5u32.to_le_bytes().to_vec();
    hashed.extend(b"hello");
    hashed.extend(u32::MAX.to_le_bytes());
    let request = get("/").header("x-a", b"hello");
    let picked = guest.pick(PoolIndex(0), &request, 1, &[]);
    assert_eq!(picked, Ok(Some(Slot(xxh3_64(&hashed) as u32))));
    let again = guest.pick(PoolIndex(0), &request, 1, &[Slot(1), Slot(2)]);
    assert_eq!(
        again,
        Ok(Some(Slot(2))),
        "pick-again is given what was tried"
    );
}

#[test]
fn a_role_that_it_lacks_fails() {
    let world = World::new();
    let guest = world.guest("giant", "{}");
    assert_eq!(guest.route(&get("/")), Err(Failure::Failed));
}

#[test]
fn large_but_lawful_answers_pass() {
    let world = World::new();
    let settings = Settings {
        // Handing over a mebibyte takes a debug build some milliseconds.
        cpu_limit: Duration::from_millis(100),
        ..settings("giant", "{}")
    };
    let guest = adopted(world.prepared(&guest("giant"), settings).unwrap());
    let answer = guest.request(&get("/large"));
    let causes = Cause::ALL.map(|cause| (cause, guest.shared().failures(cause)));
    assert!(answer.is_ok(), "{causes:?}");
    let outcome = done(answer);
    let Decision::Reply(reply) = outcome.decision else {
        panic!("no reply");
    };
    assert_eq!(reply.body.len(), 1 << 20);
    let reason = done(guest.request(&get("/long-reason"))).reason.unwrap();
    assert_eq!(
        reason.len(),
        256,
        "it may be what a client sent: cut, no fault"
    );
}

#[test]
fn fetches_are_granted_by_the_config() {
    let world = World::new();
    let guest = world.guest("giant", "{}");
    assert!(guest.may_fetch(PoolIndex(1)) && !guest.may_fetch(PoolIndex(0)));
}

#[test]
fn what_the_host_keeps_is_shared_by_the_workers_and_survives() {
    let world = World::new();
    let artifact = world.load(&guest("keeper"));
    let start = |snapshots| {
        let plan = Plan {
            workers: 3,
            snapshots,
            ..plan(&artifact, settings("keeper", "{}"))
        };
        let seeds = prepare(&world.runtime, plan).unwrap().seeds;
        seeds
            .into_iter()
            .map(|seed| seed.adopt())
            .collect::<Vec<_>>()
    };
    let first = start(Vec::new());
    let mut tickets = Vec::new();
    for round in 1..=2 {
        for worker in &first {
            let outcome = done(worker.request(&get("/")));
            tickets.push(note(&outcome, "ticket").to_owned());
            assert_eq!(note(&outcome, "seen"), round.to_string());
        }
    }
    assert_eq!(tickets, ["0", "1", "2", "3", "4", "5"]);
    let snapshots: Vec<_> = first.iter().filter_map(|w| w.snapshot()).collect();
    assert_eq!(snapshots.len(), 3);
    let second = start(snapshots);
    drop(first);
    let outcome = done(second[2].request(&get("/")));
    assert_eq!(note(&outcome, "seen"), "7", "six of the old ones, and this");
    assert_eq!(note(&outcome, "ticket"), "6");
    assert_eq!(note(&outcome, "sum"), "7");
    let text = metrics(&world);
    let line = r#"tidegate_plugin_requests_total{plugin="keeper",kind="any \"one\""} 14"#;
    assert!(text.contains(line), "{text}");
    let line = r#"tidegate_plugin_calls_total{plugin="keeper",role="request-filter"} 7"#;
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains(r#"tidegate_plugin_instances{plugin="keeper"} 3"#),
        "{text}"
    );
}

pub fn metrics(world: &World) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(world.runtime.collector());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

#[test]
fn shipped_first_picks_the_first_usable() {
    let world = World::new();
    let Some(wasm) = tidegate::shipped::get("first") else {
        panic!("`first` is shipped");
    };
    let artifact = world.load(wasm);
    let plan = Plan {
        updates: vec![members(&[5, 6])],
        ..plan(&artifact, settings("first", "{}"))
    };
    let first = adopted(prepare(&world.runtime, plan).unwrap());
    let pick = |tried: &[Slot]| first.pick(PoolIndex(0), &get("/"), 7, tried);
    assert_eq!(pick(&[]), Ok(Some(Slot(5))));
    assert_eq!(pick(&[Slot(5)]), Ok(Some(Slot(6))));
    assert_eq!(pick(&[Slot(5), Slot(6)]), Ok(None));
    assert_eq!(
        first.pick(PoolIndex(1), &get("/"), 7, &[]),
        Ok(None),
        "no servers"
    );
}

#[test]
fn an_innocent_call_on_a_busy_machine_is_not_killed() {
    let world = World::new();
    let guest = world.guest("inputs", "{}");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(1);
        while std::time::Instant::now() < deadline {
            done(guest.request(&get("/")));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
