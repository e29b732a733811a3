//! Preparing the next version while the last one runs.

use tidegate::hook::RequestFilter;
use tidegate::plugin::{Plan, PrepareError, Settings, prepare};
use tidegate_tests::guest;

use crate::support::{World, adopted, get, plan, settings};

#[test]
fn a_seed_may_travel_to_its_worker() {
    fn travels<T: Send>() {}
    travels::<tidegate::plugin::Seed>();
    travels::<tidegate::plugin::Prepared>();
}

#[test]
fn two_hundred_swaps_leave_nothing_behind() {
    let world = World::new();
    let versions = [guest("trap"), guest("inputs")];
    let artifacts = versions.map(|wasm| world.load(&wasm));
    let mut running = Vec::new();
    for n in 0..200 {
        let plan = Plan {
            workers: 2,
            ..plan(&artifacts[n % 2], settings("swapped", "{}"))
        };
        let prepared = prepare(&world.runtime, plan).unwrap();
        let next: Vec<_> = prepared.seeds.into_iter().map(|s| s.adopt()).collect();
        assert!(next.iter().all(|worker| worker.request(&get("/")).is_ok()));
        running = next;
        assert_eq!(world.runtime.live_instances(), 2, "swap {n}");
    }
    drop(running);
    assert_eq!(world.runtime.live_instances(), 0);
}

#[test]
fn snapshots_are_bounded() {
    let world = World::new();
    let bomb = |bytes: usize| {
        let settings = Settings {
            memory: 64 << 20,
            ..settings("bomb", &format!(r#"{{"bytes": {bytes}}}"#))
        };
        adopted(world.prepared(&guest("bomb"), settings).unwrap())
    };
    assert_eq!(bomb(16 << 20).snapshot().unwrap().len(), 16 << 20);
    assert_eq!(bomb((16 << 20) + 4096).snapshot(), None);
    assert_eq!(world.guest("trap", "{}").snapshot(), None, "not stateful");
}

#[test]
fn a_refused_snapshot_refuses_the_swap() {
    let world = World::new();
    let artifact = world.load(&guest("bomb"));
    let with = |config, snapshots| {
        let plan = Plan {
            snapshots,
            ..plan(&artifact, settings("bomb", config))
        };
        prepare(&world.runtime, plan).map(|_| ())
    };
    let two = || vec![vec![1], vec![2]];
    assert_eq!(with("{}", two()), Ok(()));
    let refused = with(r#"{"refuse": true}"#, two());
    let words = "2 snapshots are too many".to_owned();
    assert_eq!(refused, Err(PrepareError::Snapshot(words)));
    assert_eq!(
        with(r#"{"refuse": true}"#, vec![]),
        Ok(()),
        "nothing to restore"
    );
    assert_eq!(world.runtime.live_instances(), 0);
}

#[test]
fn many_workers_are_prepared() {
    let world = World::new();
    let artifact = world.load(&guest("inputs"));
    let plan = Plan {
        workers: 33,
        ..plan(&artifact, settings("many", "{}"))
    };
    let prepared = prepare(&world.runtime, plan).unwrap();
    assert_eq!(prepared.seeds.len(), 33);
    assert_eq!(prepared.shared.instances(), 33);
}
