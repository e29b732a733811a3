//! Keys stay where they are, and spread.

use std::collections::HashMap;

use tidegate_sdk::test::{FakeRequest, FakeServer, Harness, Value, json, server};

use super::ConsistentHash;

type Plugin = Harness<ConsistentHash>;

fn balancer(settings: Value, servers: impl IntoIterator<Item = FakeServer>) -> Plugin {
    let plugin = Harness::new(settings).unwrap();
    plugin.set_pool("app", servers);
    plugin
}

fn by_user(servers: impl IntoIterator<Item = FakeServer>) -> Plugin {
    balancer(json!({ "on": "header:X-User" }), servers)
}

fn user(plugin: &Plugin, name: &str, tried: &[&str]) -> Option<String> {
    plugin.pick_keyed("app", &FakeRequest::get("/").header("x-user", name), tried)
}

fn users(plugin: &Plugin) -> Vec<String> {
    (0..2000)
        .map(|n| user(plugin, &n.to_string(), &[]).unwrap())
        .collect()
}

fn hits(picks: &[String]) -> HashMap<&str, u32> {
    let mut hits = HashMap::new();
    picks
        .iter()
        .for_each(|name| *hits.entry(name.as_str()).or_default() += 1);
    hits
}

fn five() -> Vec<FakeServer> {
    ["a", "b", "c", "d", "e"].map(server).to_vec()
}

/// Asserts that just the keys of `gone` moved, and to more than one other.
fn only_its_own_moved(gone: &str, before: &[String], after: &[String]) {
    let mut to = HashMap::<&str, u32>::new();
    for (before, after) in before.iter().zip(after) {
        if before == gone {
            assert_ne!(after, gone);
            *to.entry(after).or_default() += 1;
        } else {
            assert_eq!(before, after);
        }
    }
    assert!(to.len() >= 3, "shared out: {to:?}");
}

#[test]
fn a_server_that_leaves_moves_only_its_own_keys() {
    let plugin = by_user(five());
    let before = users(&plugin);
    plugin.set_pool("app", five().into_iter().filter(|s| s.name() != "c"));
    only_its_own_moved("c", &before, &users(&plugin));
    plugin.set_pool("app", five());
    assert_eq!(before, users(&plugin), "and they come back with it");
}

#[test]
fn a_server_that_goes_down_or_drains_moves_only_its_own_keys() {
    let plugin = by_user(five());
    let before = users(&plugin);
    for away in [FakeServer::down, FakeServer::drain] {
        plugin.set_pool(
            "app",
            five()
                .into_iter()
                .map(|s| if s.name() == "c" { away(s) } else { s }),
        );
        only_its_own_moved("c", &before, &users(&plugin));
    }
}

#[test]
fn proxies_agree_whatever_the_order() {
    let forwards = by_user(five());
    let backwards = by_user(five().into_iter().rev());
    assert_eq!(users(&forwards), users(&backwards));
}

#[test]
fn weights_are_honoured_and_change_only_shares() {
    let plugin = by_user([server("a"), server("b"), server("c")]);
    let before = users(&plugin);
    plugin.set_pool("app", [server("a").weight(2), server("b"), server("c")]);
    let after = users(&plugin);
    let share = hits(&after)["a"];
    assert!((850..1150).contains(&share), "half of 2000: {share}");
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || after == "a", "{before} to {after}");
    }
}

#[test]
fn any_part_of_the_request_may_decide() {
    let request = FakeRequest::get("/cart?user=7")
        .header("x-user", "7")
        .cookie("id", "7")
        .client_address("192.0.2.7");
    let other = FakeRequest::get("/shop?user=8")
        .header("x-user", "8")
        .cookie("id", "8")
        .client_address("192.0.2.8");
    for on in [
        "header:x-user",
        "cookie:id",
        "path",
        "query:user",
        "client-address",
    ] {
        let plugin = balancer(json!({ "on": on }), (0..100).map(|n| server(n.to_string())));
        let pick = |request| plugin.pick_keyed("app", request, &[]).unwrap();
        assert_eq!(pick(&request), pick(&request), "{on}");
        assert_ne!(pick(&request), pick(&other), "{on}");
    }
    let plugin = balancer(json!({ "on": ["host", "path"] }), five());
    assert_eq!(plugin.interest().key.len(), 2);
}

#[test]
fn requests_without_the_part_are_spread() {
    let plugin = by_user(five());
    let picks: Vec<String> = (0..500)
        .map(|_| {
            plugin
                .pick_keyed("app", &FakeRequest::get("/"), &[])
                .unwrap()
        })
        .collect();
    let hits = hits(&picks);
    assert!(
        hits.len() == 5 && hits.values().all(|hits| *hits > 60),
        "{hits:?}"
    );
}

#[test]
fn a_retry_goes_on_around_the_ring_and_at_last_to_the_backup() {
    let plugin = by_user([
        server("a"),
        server("b"),
        server("c").weight(0),
        server("spare").backup(),
    ]);
    let first = user(&plugin, "ada", &[]).unwrap();
    let second = user(&plugin, "ada", &[&first]).unwrap();
    assert_eq!(
        [&first, &second]
            .into_iter()
            .filter(|name| *name == "a" || *name == "b")
            .count(),
        2
    );
    assert_ne!(first, second);
    assert_eq!(user(&plugin, "ada", &["a", "b"]).unwrap(), "spare");
    assert_eq!(user(&plugin, "ada", &["a", "b", "spare"]), None);
}

#[test]
fn backups_have_no_keys_while_another_is_usable() {
    let plugin = by_user([server("a"), server("b"), server("spare").backup()]);
    let before = users(&plugin);
    assert!(!before.iter().any(|name| name == "spare"));
    plugin.set_pool(
        "app",
        [
            server("a").down(),
            server("b").down(),
            server("spare").backup(),
        ],
    );
    assert!(users(&plugin).iter().all(|name| name == "spare"));
}

#[test]
fn bounded_load_sends_on_what_is_too_much() {
    let plugin = balancer(
        json!({ "on": "header:x-user", "balance-factor": 125 }),
        ["a", "b", "c", "d"].map(server),
    );
    let own = user(&plugin, "ada", &[]).unwrap();
    let mut loads = HashMap::<String, u32>::new();
    for _ in 0..400 {
        let name = user(&plugin, "ada", &[]).unwrap();
        let load = loads.entry(name.clone()).or_default();
        *load += 1;
        plugin.live("app", &name).inflight(*load);
    }
    assert_eq!(loads[&own], 125, "125 % of a quarter of 400: {loads:?}");
    assert!(loads.values().all(|load| *load <= 125), "{loads:?}");
    plugin.live("app", &own).inflight(0);
    assert_eq!(
        user(&plugin, "ada", &[]).unwrap(),
        own,
        "back when there is room"
    );
}

#[test]
fn bounded_load_goes_by_weight_and_holds_in_large_pools() {
    let settings = json!({ "on": "header:x-user", "balance-factor": 200 });
    let plugin = balancer(
        settings,
        (0..200).map(|n| server(n.to_string()).weight(1 + n / 100)),
    );
    let mut loads = vec![0u32; 200];
    for n in 0..6000 {
        // Half of the requests are one user's.
        let name = if n % 2 == 0 {
            "hot".to_owned()
        } else {
            n.to_string()
        };
        let picked: usize = user(&plugin, &name, &[]).unwrap().parse().unwrap();
        loads[picked] += 1;
        plugin
            .live("app", &picked.to_string())
            .inflight(loads[picked]);
    }
    // 6000 over 300 units of weight is 20 a unit; the sum is looked at every 25 picks.
    let (light, heavy) = (
        loads[..100].iter().max().unwrap(),
        loads[100..].iter().max().unwrap(),
    );
    assert!(
        *light <= 40 && *heavy <= 80 && *heavy > 60,
        "{light} {heavy}"
    );
}

#[test]
fn one_server_none_and_ten_thousand() {
    let plugin = by_user([server("a")]);
    assert_eq!(user(&plugin, "ada", &[]).unwrap(), "a");
    plugin.set_pool("app", []);
    assert_eq!(user(&plugin, "ada", &[]), None);
    plugin.set_pool("app", (0..10_000).map(|n| server(n.to_string())));
    let before = users(&plugin);
    assert!(hits(&before).len() > 1500);
    plugin.set_pool(
        "app",
        (0..10_000).map(|n| {
            if n == 7777 {
                server("7777")
            } else {
                server(n.to_string()).down()
            }
        }),
    );
    assert!(users(&plugin).iter().all(|name| name == "7777"));
}

#[test]
fn wrong_settings_are_refused() {
    let refusal = |settings| Harness::<ConsistentHash>::new(settings).unwrap_err();
    let words = refusal(json!({ "on": "hdr:x" }));
    assert!(
        words.starts_with("key `on`: `hdr:x` is no part of a request; known: `header:NAME`, "),
        "{words}"
    );
    assert_eq!(
        refusal(json!({ "on": "status" })),
        "key `on`: `status` is known only with the response"
    );
    assert_eq!(
        refusal(json!({ "on": [] })),
        "key `on`: name at least one part of the request"
    );
    assert!(refusal(json!({ "on": 5 })).contains("expected a part of the request such as"));
    assert_eq!(
        refusal(json!({ "balance-factor": 90 })),
        "key `balance-factor`: 90 is neither 0 nor from 101 to 65535, percent"
    );
}
