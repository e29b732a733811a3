//! A guest reads the same counters as the host does.

use tidegate::base::ids::PoolIndex;
use tidegate::hook::{Balancer, Failure};
use tidegate::plugin::{Membership, Plan, prepare};
use tidegate::upstream::live::Identity;
use tidegate_tests::guest;

use crate::support::{World, adopted, get, plan, server, settings, until};

#[test]
fn a_guest_reads_what_the_host_reads() {
    let world = World::new();
    let identity = |name: &str| Identity {
        pool: "app".into(),
        name: name.into(),
        address: "127.0.0.1:1".into(),
    };
    let _other = world.live.server(identity("other")).unwrap();
    let known = world.live.server(identity("known")).unwrap();
    let names = ["inflight", "ewma", "weight"];
    let updates = (0..3).map(|pool| Membership {
        pool: PoolIndex(pool),
        servers: vec![server(known.slot().0)],
    });
    let artifact = world.load(&guest("live"));
    let plan = Plan {
        updates: updates.collect(),
        settings: tidegate::plugin::Settings {
            pools: names.map(str::to_owned).to_vec(),
            ..settings("live", "{}")
        },
        ..plan(&artifact, settings("live", "{}"))
    };
    let reader = adopted(prepare(&world.runtime, plan).unwrap());
    let read = |pool| {
        reader
            .pick(PoolIndex(pool), &get("/"), 0, &[])
            .unwrap()
            .unwrap()
            .0
    };
    assert_eq!((read(0), read(1), read(2)), (0, 0, 0));
    let requests = [known.enter(), known.enter(), known.enter()];
    known.set_weight(640);
    assert_eq!((read(0), read(2)), (3, 640));
    drop(requests);
    assert_eq!(read(0), 0);
    // Both read the clock, to the millisecond; between two equal readings of the host the guest has seen the same time.
    for micros in [80_000_000, u32::MAX, 1] {
        known.answered_in(micros, std::time::Instant::now());
        for _ in 0..50 {
            until("two equal readings", || {
                let (before, guest, after) = (known.ewma_us(), read(1), known.ewma_us());
                assert!(
                    (after..=before).contains(&guest),
                    "{after} {guest} {before}"
                );
                before == after
            });
        }
    }
}

#[test]
fn an_unknown_slot_traps() {
    let world = World::new();
    let artifact = world.load(&guest("live"));
    for slot in [64, 131_072, u32::MAX] {
        let plan = Plan {
            updates: vec![crate::support::members(&[slot])],
            ..plan(&artifact, settings("live", "{}"))
        };
        let reader = adopted(prepare(&world.runtime, plan).unwrap());
        let picked = reader.pick(PoolIndex(0), &get("/"), 0, &[]);
        assert_eq!(picked, Err(Failure::Failed), "slot {slot}");
    }
}
