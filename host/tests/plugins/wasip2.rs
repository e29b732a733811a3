//! Plugins built for wasm32-wasip2: their output goes to the log, and the system is closed to them. All of it inside a
//! current-thread runtime, as on a worker.

use std::rc::Rc;

use tidegate::hook::{Failure, Outcome, RequestFilter, Step};
use tidegate::plugin::{Cause, WorkerPlugin};
use tidegate_tests::guest_wasip2;

use crate::support::{World, adopted, get, settings};

fn writer(world: &World) -> Rc<WorkerPlugin> {
    let writer = guest_wasip2("writer");
    adopted(world.prepared(&writer, settings("writer", "{}")).unwrap())
}

fn on_a_worker<R>(f: impl FnOnce() -> R) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async { f() })
}

fn asked(guest: &WorkerPlugin, path: &str) -> Outcome {
    match guest.request(&get(path)) {
        Ok(Step::Done(outcome)) => outcome,
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn output_never_blocks_nor_panics() {
    let world = World::new();
    on_a_worker(|| {
        let guest = writer(&world);
        for _ in 0..200 {
            asked(&guest, "/out");
        }
        asked(&guest, "/flood");
        assert_eq!(guest.shared().instances(), 1);
    });
    assert!(
        world.state.of("writer").lines.dropped() > 0,
        "400 lines and more"
    );
}

#[test]
fn clocks_run() {
    let world = World::new();
    let outcome = on_a_worker(|| asked(&writer(&world), "/clocks"));
    let seconds: u64 = outcome.notes[0].value.parse().unwrap();
    assert!(seconds > 1_700_000_000, "{seconds}");
    assert_eq!(outcome.notes[1].value, "true");
}

#[test]
fn the_system_is_closed() {
    let world = World::new();
    let outcome = on_a_worker(|| asked(&writer(&world), "/system"));
    let told: Vec<(&str, &str)> = outcome
        .notes
        .iter()
        .map(|n| (n.name.as_str(), n.value.as_str()))
        .collect();
    let expected = [
        ("file", "true"),
        ("written", "true"),
        ("network", "true"),
        ("arguments", "0"),
        ("environment", "0"),
    ];
    assert_eq!(told, expected, "true: it was refused");
}

#[test]
fn leaving_and_sleeping_are_failures() {
    let world = World::new();
    on_a_worker(|| {
        for path in ["/bad/exit", "/bad/sleep"] {
            let guest = writer(&world);
            let start = std::time::Instant::now();
            assert_eq!(guest.request(&get(path)), Err(Failure::Failed), "{path}");
            assert_eq!(guest.shared().failures(Cause::Trap), 1, "{path}");
            assert!(start.elapsed().as_secs() < 30, "{path}");
            asked(&guest, "/");
        }
    });
}
