//! The shipped balancers, seen from outside: who gets which request.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::thread;

use tidegate_tests::{
    Client, Origin, Proxy, listener, pool, reply, send, server, site, wait_until,
};

#[test]
fn round_robin_is_exact_across_workers() {
    let origins = origins(&["a", "b", "c"]);
    let proxy = Proxy::start(site("round-robin", &refs(&origins)));
    let address = proxy.address("web");
    let threads: Vec<_> = (0..6)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::connect(address);
                (0..50).for_each(|_| assert_eq!(client.get("/").status(), 200));
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("a client does not fail"));
    assert_eq!(
        origins.iter().map(Origin::served).collect::<Vec<_>>(),
        [100, 100, 100]
    );
}

#[test]
fn weights_five_one_one_go_in_nginx_order() {
    let (a, b, c) = (Origin::named("a"), Origin::named("b"), Origin::named("c"));
    let proxy = Proxy::start(weighted(
        "weighted-round-robin",
        &[(&a, 5), (&b, 1), (&c, 1)],
    ));
    let names = proxy.origins("/", 70);
    let mut counts = BTreeMap::new();
    names
        .iter()
        .for_each(|name| *counts.entry(name.as_str()).or_insert(0) += 1);
    assert_eq!(counts, BTreeMap::from([("a", 50), ("b", 10), ("c", 10)]));
    let order = names[..7].concat();
    assert_eq!(order, "aabacaa");
}

#[test]
fn a_server_of_weight_zero_takes_no_new_users() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    for balancer in [
        "round-robin",
        "weighted-round-robin",
        "least-connections",
        "random",
        "consistent-hash",
    ] {
        let proxy = Proxy::start(weighted(balancer, &[(&a, 1), (&b, 0)]));
        assert!(
            proxy.origins("/", 20).iter().all(|name| name == "a"),
            "{balancer}"
        );
    }
    let proxy = Proxy::start(weighted("round-robin", &[(&a, 0), (&b, 0)]));
    assert_eq!(proxy.get("/").status(), 503, "every server at 0");
}

#[test]
fn a_backup_serves_only_when_no_other_can() {
    let (main, spare) = (Origin::named("main"), Origin::named("spare"));
    let servers = [server(&main, ""), server(&spare, ", backup = true")].join(", ");
    let proxy = Proxy::start(
        listener("web", "pool = \"app\"")
            + &format!(
                "[[pool]]\nname = \"app\"\nbalancer = \"round-robin\"\nservers = [{servers}]\n"
            ),
    );
    assert!(proxy.origins("/", 10).iter().all(|name| name == "main"));
}

#[test]
fn least_connections_avoids_the_busy_server() {
    let gate = Arc::new(Barrier::new(2));
    let slow = Origin::answering("slow", {
        let gate = gate.clone();
        move |request, stream| {
            if request.target() == "/hold" {
                gate.wait();
            }
            reply(stream, 200, &[("x-origin", "slow")], "slow\n")
        }
    });
    let quick = Origin::named("quick");
    let proxy = Proxy::start(site("least-connections", &[&slow, &quick]));
    let address = proxy.address("web");
    let mut held = Vec::new();
    while slow
        .requests()
        .iter()
        .all(|request| request.target() != "/hold")
    {
        let before = slow.served() + quick.served();
        held.push(thread::spawn(move || {
            Client::connect(address).get("/hold").text()
        }));
        wait_until("the request arrives", || {
            slow.served() + quick.served() > before
        });
        assert!(
            held.len() < 10,
            "least-connections never chose one of two idle servers"
        );
    }
    let names = proxy.origins("/", 12);
    gate.wait();
    held.into_iter().for_each(|thread| drop(thread.join()));
    assert!(names.iter().all(|name| name == "quick"), "{names:?}");
}

#[test]
fn consistent_hash_keeps_users_where_they_are() {
    let four = origins(&["a", "b", "c", "d"]);
    let config = |origins: &[Origin]| {
        let balancer = "balancer = { plugin = \"consistent-hash\", on = \"header:x-user\" }";
        listener("web", "pool = \"app\"") + &pool("app", balancer, &refs(origins))
    };
    let mut proxy = Proxy::start(config(&four));
    let before = homes(&proxy);
    assert_eq!(before, homes(&proxy), "the same user, the same server");
    assert_eq!(spread(&before), 4, "every server has users: {before:?}");
    proxy.reconfigure(config(&four[..3]));
    let after = homes(&proxy);
    for (user, home) in &before {
        if home != "d" {
            assert_eq!(&after[user], home, "{user} moved though its server stayed");
        }
    }
    assert!(after.values().all(|home| home != "d"));
}

#[test]
fn hashing_on_a_cookie_a_path_a_query_or_an_address() {
    let origins = origins(&["a", "b", "c"]);
    for (on, request) in [
        (
            "cookie:session",
            "GET / HTTP/1.1\nhost: x\ncookie: other=1; session=NN",
        ),
        ("path", "GET /NN HTTP/1.1\nhost: x"),
        ("query:user", "GET /?a=b&user=NN HTTP/1.1\nhost: x"),
    ] {
        let balancer = format!("balancer = {{ plugin = \"consistent-hash\", on = \"{on}\" }}");
        let config = listener("web", "pool = \"app\"") + &pool("app", &balancer, &refs(&origins));
        let proxy = Proxy::start(config);
        let ask = |key: usize| proxy.send(&request.replace("NN", &key.to_string())).text();
        let homes: Vec<String> = (0..40).map(ask).collect();
        assert_eq!(homes, (0..40).map(ask).collect::<Vec<_>>(), "{on}");
        let distinct: std::collections::BTreeSet<_> = homes.iter().collect();
        assert_eq!(distinct.len(), 3, "{on} spreads over all");
    }
    let proxy = Proxy::start(site("ip-hash", &refs(&origins)));
    let names = proxy.origins("/", 10);
    assert!(
        names.iter().all(|name| *name == names[0]),
        "one address, one server: {names:?}"
    );
}

#[test]
fn every_shipped_balancer_serves_and_uses_only_its_servers() {
    let origins = origins(&["a", "b", "c"]);
    for balancer in [
        "random",
        "two-choices",
        "least-response-time",
        "first",
        "ip-hash",
        "least-connections",
    ] {
        let proxy = Proxy::start(site(balancer, &refs(&origins)));
        let names = proxy.origins("/", 60);
        assert!(
            names
                .iter()
                .all(|name| ["a", "b", "c"].contains(&name.as_str())),
            "{balancer}: {names:?}"
        );
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        match balancer {
            "random" | "two-choices" => assert_eq!(distinct.len(), 3, "{balancer} uses all"),
            "first" => assert_eq!(names, vec!["a"; 60], "first fills the first"),
            _ => {}
        }
    }
}

#[test]
fn least_response_time_prefers_the_quick_server() {
    let slow = Origin::answering("slow", |_, stream| {
        // The origin's slowness is what is tested, not a wait for something.
        thread::sleep(std::time::Duration::from_millis(40));
        reply(stream, 200, &[], "slow\n")
    });
    let quick = Origin::named("quick");
    let proxy = Proxy::start(site("least-response-time", &[&slow, &quick]));
    let names = proxy.origins("/", 60);
    let quick = names.iter().filter(|name| *name == "quick").count();
    assert!(quick > 45, "quick answered {quick} of 60");
}

#[test]
fn a_pool_of_a_thousand_servers_works() {
    let origin = Origin::named("a");
    let servers: Vec<String> = (0..1000)
        .map(|n| format!("{{ name = \"s{n}\", address = \"{}\" }}", origin.address()))
        .collect();
    let proxy = Proxy::start(
        listener("web", "pool = \"app\"")
            + &format!(
                "[[pool]]\nname = \"app\"\nbalancer = \"round-robin\"\nservers = [{}]\n",
                servers.join(",\n")
            ),
    );
    assert!(proxy.origins("/", 50).iter().all(|name| name == "a"));
    let log = proxy.access_log(50);
    let used: std::collections::BTreeSet<_> =
        log.iter().map(|line| line["server"].to_string()).collect();
    assert_eq!(used.len(), 50, "each request another server");
}

fn origins(names: &[&str]) -> Vec<Origin> {
    names.iter().map(|name| Origin::named(name)).collect()
}

fn refs(origins: &[Origin]) -> Vec<&Origin> {
    origins.iter().collect()
}

fn weighted(balancer: &str, servers: &[(&Origin, u32)]) -> String {
    let servers: Vec<String> = servers
        .iter()
        .map(|(origin, weight)| server(origin, &format!(", weight = {weight}")))
        .collect();
    listener("web", "pool = \"app\"")
        + &format!(
            "[[pool]]\nname = \"app\"\nbalancer = \"{balancer}\"\nservers = [{}]\n",
            servers.join(", ")
        )
}

/// Where each of 200 users lands.
fn homes(proxy: &Proxy) -> BTreeMap<String, String> {
    let address = proxy.address("web");
    (0..200)
        .map(|n| {
            let user = format!("user-{n}");
            let home = send(address, &format!("GET / HTTP/1.1\nhost: x\nx-user: {user}")).text();
            (user, home)
        })
        .collect()
}

fn spread(homes: &BTreeMap<String, String>) -> usize {
    homes
        .values()
        .collect::<std::collections::BTreeSet<_>>()
        .len()
}
