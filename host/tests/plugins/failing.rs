//! Guests that misbehave: each call fails within its limits, the next ones are answered, and what goes wrong is counted.

use std::time::{Duration, Instant};

use tidegate::base::ids::{PoolIndex, Slot};
use tidegate::hook::{Balancer, Failure, RequestFilter, ResponseFilter, Router};
use tidegate::plugin::{Cause, PluginShared, Settings, WorkerPlugin};
use tidegate_tests::guest;

use crate::behaving::metrics;
use crate::support::{Answered, World, adopted, get, settings, until};

/// A bad call fails for that cause, and the next good one succeeds at once.
fn fails_alone(guest: &WorkerPlugin, path: &str, cause: Cause) {
    let before = guest.shared().failures(cause);
    assert_eq!(guest.request(&get(path)), Err(Failure::Failed), "{path}");
    let counted = guest.shared().failures(cause) - before;
    assert_eq!(counted, 1, "{path}: {}", causes(guest.shared()));
}

fn causes(shared: &PluginShared) -> String {
    let of = |cause: &Cause| format!("{cause}: {}", shared.failures(*cause));
    Cause::ALL.iter().map(of).collect::<Vec<_>>().join(", ")
}

#[test]
fn each_kind_of_failure_is_told_and_the_next_call_is_answered() {
    let world = World::new();
    for (name, cause) in [
        ("trap", Cause::Trap),
        ("spin", Cause::Cpu),
        ("recursion", Cause::Stack),
        ("allocation", Cause::Memory),
    ] {
        let settings = Settings {
            // Filling the memory must be quicker than the limit, also in a debug build on a busy machine.
            cpu_limit: Duration::from_millis(100),
            ..settings(name, "{}")
        };
        let guest = adopted(world.prepared(&guest(name), settings).unwrap());
        assert!(guest.request(&get("/good")).is_ok(), "{name}");
        fails_alone(&guest, "/bad", cause);
        assert!(guest.request(&get("/good")).is_ok(), "{name}: at once");
        assert!(guest.route(&get("/good")).is_ok(), "{name}");
        assert_eq!(guest.shared().instances(), 1, "{name}");
    }
}

#[test]
fn a_runaway_call_is_stopped_at_its_limit() {
    let world = World::new();
    let guest = world.guest("spin", "{}");
    let start = Instant::now();
    assert_eq!(guest.route(&get("/bad")), Err(Failure::Failed));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(2), "{took:?}");
    // Wall clock on a machine that does other things too: the CPU time is what the runtime holds.
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(guest.shared().failures(Cause::Cpu), 1);
}

#[test]
fn every_role_fails_alone() {
    let world = World::new();
    let guest = world.guest("trap", r#"{"on": ["pick", "response"]}"#);
    let pick = || guest.pick(PoolIndex(0), &get("/"), 1, &[]);
    assert_eq!(pick(), Err(Failure::Failed));
    until("the plugin is back", || guest.request(&get("/")).is_ok());
    assert_eq!(guest.response(&Answered(get("/"))), Err(Failure::Failed));
    until("the plugin is back", || guest.request(&get("/")).is_ok());
    let tried = &[Slot(1)];
    let again = guest.pick(PoolIndex(0), &get("/"), 1, tried);
    assert_eq!(again, Err(Failure::Failed));
    assert_eq!(guest.shared().failures(Cause::Trap), 3);
}

#[test]
fn lies_are_bad_answers() {
    let world = World::new();
    for path in [
        "/bad/pool",
        "/bad/status",
        "/bad/informational",
        "/bad/path",
    ] {
        let guest = world.guest("lies", "{}");
        fails_alone(&guest, path, Cause::BadAnswer);
        assert!(guest.request(&get("/")).is_ok());
    }
    for path in ["/bad/pool", "/bad/route"] {
        let guest = world.guest("lies", "{}");
        assert_eq!(guest.route(&get(path)), Err(Failure::Failed));
        assert_eq!(guest.shared().failures(Cause::BadAnswer), 1);
    }
    let guest = world.guest("lies", "{}");
    let picked = guest.pick(PoolIndex(0), &get("/"), 1, &[]);
    assert_eq!(
        picked,
        Ok(Some(Slot(4_000_000))),
        "whether a slot may be used is for the pipeline to say"
    );
}

#[test]
fn nothing_is_smuggled_into_a_header() {
    let world = World::new();
    for path in [
        "/bad/crlf",
        "/bad/nul",
        "/bad/name",
        "/bad/length",
        "/bad/encoding",
        "/bad/connection",
        "/bad/target",
        "/bad/reply",
    ] {
        let guest = world.guest("injection", "{}");
        fails_alone(&guest, path, Cause::BadAnswer);
    }
    for path in ["/bad/crlf", "/bad/name", "/bad/length"] {
        let guest = world.guest("injection", "{}");
        let answer = guest.response(&Answered(get(path)));
        assert_eq!(answer, Err(Failure::Failed), "{path}");
    }
}

#[test]
fn giant_answers_are_refused() {
    let world = World::new();
    for path in [
        "/bad/body",
        "/bad/handed-over",
        "/bad/value",
        "/bad/edits",
        "/bad/notes",
    ] {
        let settings = Settings {
            cpu_limit: Duration::from_millis(100),
            ..settings("giant", "{}")
        };
        let guest = adopted(world.prepared(&guest("giant"), settings).unwrap());
        fails_alone(&guest, path, Cause::BadAnswer);
    }
}

#[test]
fn floods_are_bounded_and_counted() {
    let world = World::new();
    let settings = Settings {
        cpu_limit: Duration::from_secs(2),
        ..settings("flood", "{}")
    };
    let guest = adopted(world.prepared(&guest("flood"), settings).unwrap());
    for _ in 0..6 {
        assert!(guest.request(&get("/bad/log")).is_ok());
    }
    assert!(world.state.of("flood").lines.dropped() > 0);
    assert!(guest.request(&get("/bad/counters")).is_ok());
    let counters = &world.state.of("flood").counters;
    assert_eq!((counters.all().len(), counters.refused()), (1_000, 100));
    let text = metrics(&world);
    let line = r#"tidegate_plugin_counters_refused_total{plugin="flood"} 100"#;
    assert!(text.contains(line), "{text}");
}

#[test]
fn rebuilds_wait_ever_longer_until_quarantine() {
    let world = World::new();
    let guest = world.guest("trap", "{}");
    let start = Instant::now();
    let (mut failed, mut unavailable) = (0, 0);
    until("quarantine", || {
        match guest.request(&get("/bad")) {
            Err(Failure::Failed) => failed += 1,
            Err(Failure::Unavailable) => unavailable += 1,
            Ok(_) => panic!("it answered"),
        }
        guest.shared().quarantined() == 1
    });
    assert_eq!(failed, 10);
    assert!(unavailable > 100, "{unavailable}");
    let waited: u64 = [10, 20, 40, 80, 160, 320, 640, 1_280].iter().sum();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(waited), "{took:?}");
    assert_eq!(guest.request(&get("/good")), Err(Failure::Unavailable));
    assert_eq!(guest.shared().instances(), 0);
    let text = metrics(&world);
    let line = r#"tidegate_plugin_quarantined_workers{plugin="trap"} 1"#;
    assert!(text.contains(line), "{text}");
    let line = r#"tidegate_plugin_failures_total{plugin="trap",cause="trap"} 10"#;
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_crafted_request_leaves_the_others_alone() {
    let world = World::new();
    let crafted = world.guest("trap", "{}");
    let innocent = world.guest("inputs", "{}");
    for _ in 0..1_000 {
        let _ = crafted.request(&get("/bad"));
        assert!(innocent.request(&get("/")).is_ok());
    }
    assert!(
        crafted.shared().failures(Cause::Trap) < 10,
        "not built again each time"
    );
}
