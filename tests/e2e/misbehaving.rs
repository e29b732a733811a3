//! Plugins that do what plugins must not do (`tests/guests`), while other traffic goes on. Each story ends with the others
//! unharmed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tidegate_tests::{
    Load, Origin, Proxy, Setup, get, guest, guest_wasip2, listener, pool, shipped, site, wait_until,
};

#[test]
fn a_filter_that_spins_is_stopped() {
    expect_contained_filter("spin", "cpu");
}

#[test]
fn a_filter_that_traps_is_replaced() {
    expect_contained_filter("trap", "trap");
}

#[test]
fn a_filter_that_recurses_without_end_is_stopped() {
    expect_contained_filter("recursion", "");
}

#[test]
fn a_filter_that_allocates_without_end_is_stopped() {
    expect_contained_filter("allocation", "");
}

#[test]
fn a_router_that_fails_leaves_the_listeners_pool() {
    for name in ["spin", "trap", "recursion", "allocation"] {
        let (bad, good) = (Origin::named("bad"), Origin::named("good"));
        let proxy = with_guest(
            name,
            "",
            &(listener("web", "router = \"guest\"\npool = \"app\"")
                + &pool("app", "", &[&bad])
                + &others(&good)),
        );
        let load = Load::start(proxy.address("other"), &["/"]);
        (0..5).for_each(|_| assert_eq!(proxy.get("/bad").text(), "bad", "{name}"));
        load.wait_for_more(20);
        load.finish().expect_only(200);
    }
}

#[test]
fn a_balancer_that_fails_leaves_the_servers_in_turn() {
    for name in ["spin", "trap", "recursion", "allocation"] {
        let (a, b, good) = (
            Origin::named("a"),
            Origin::named("b"),
            Origin::named("good"),
        );
        let proxy = with_guest(
            name,
            "on = [\"pick\"]",
            &(site("guest", &[&a, &b]) + &others(&good)),
        );
        let load = Load::start(proxy.address("other"), &["/"]);
        let names = proxy.origins("/", 20);
        let to_a = names.iter().filter(|name| *name == "a").count();
        assert!((8..=12).contains(&to_a), "{name}: {names:?}");
        load.wait_for_more(20);
        load.finish().expect_only(200);
    }
}

#[test]
fn a_balancer_that_lies_about_slots_is_not_believed() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let proxy = with_guest("lies", "", &site("guest", &[&a, &b]));
    let names = proxy.origins("/", 10);
    assert!(
        names.contains(&"a".to_owned()) && names.contains(&"b".to_owned()),
        "{names:?}"
    );
    assert!(
        failures(&proxy, "bad-answer") > 0.0,
        "{}",
        proxy.metrics().text
    );
}

#[test]
fn a_router_or_filter_that_lies_is_not_believed() {
    let origin = Origin::named("a");
    let routed = with_guest(
        "lies",
        "",
        &(listener("web", "router = \"guest\"\npool = \"app\"") + &pool("app", "", &[&origin])),
    );
    for path in ["/bad/pool", "/bad/route"] {
        assert_eq!(routed.get(path).text(), "a", "{path}: the listener's pool");
    }
    for path in [
        "/bad/pool",
        "/bad/status",
        "/bad/informational",
        "/bad/path",
    ] {
        let filtered = filtering("lies", "", &origin);
        assert_eq!(filtered.get(path).status(), 503, "{path}");
        wait_until("it serves again", || filtered.get("/good").status() == 200);
    }
}

#[test]
fn nothing_is_smuggled_into_a_message() {
    let origin = Origin::named("a");
    for path in [
        "crlf",
        "nul",
        "name",
        "length",
        "encoding",
        "connection",
        "target",
        "reply",
    ] {
        let proxy = filtering("injection", "", &origin);
        let answer = proxy.get(&format!("/bad/{path}"));
        assert_eq!(answer.status(), 503, "{path}");
        assert_eq!(answer.header("x-forged"), None, "{path}");
    }
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| request.header("x-forged").is_none())
    );
}

#[test]
fn who_says_too_much_is_cut_short() {
    let origin = Origin::named("a");
    for path in ["body", "handed-over", "value", "edits", "notes"] {
        let proxy = filtering("giant", "", &origin);
        let status = proxy.get(&format!("/bad/{path}")).status();
        assert!([200, 503].contains(&status), "{path}: {status}");
        let memory = proxy.process().memory() >> 20;
        assert!(memory < 600, "{path}: {memory} MiB");
        wait_until("it serves again", || proxy.get("/good").status() == 200);
    }
}

#[test]
fn who_floods_the_log_is_throttled() {
    let origin = Origin::named("a");
    let proxy = filtering("flood", "", &origin);
    for _ in 0..5 {
        proxy.get("/bad/log");
    }
    wait_until("it serves again", || proxy.get("/good").status() == 200);
    assert!(
        proxy.stderr().len() < 1000,
        "{} lines",
        proxy.stderr().len()
    );
}

#[test]
fn a_wasip2_plugin_gets_nothing_of_the_system() {
    let origin = Origin::named("a");
    let config = "[[plugin]]\nname = \"guest\"\npath = \"guest.wasm\"\n".to_owned()
        + &listener("web", "filters = [\"guest\"]\npool = \"app\"")
        + &pool("app", "", &[&origin]);
    let proxy = Setup::new(config)
        .file("guest.wasm", guest_wasip2("writer"))
        .start();
    assert_eq!(proxy.get("/out").status(), 200);
    proxy.wait_for_log(&["to stdout"]);
    proxy.wait_for_log(&["to stderr"]);
    assert_eq!(proxy.get("/system").status(), 200);
    let notes = proxy.logged("/system")["notes"].clone();
    for (name, value) in [
        ("file", "true"),
        ("written", "true"),
        ("network", "true"),
        ("environment", "0"),
    ] {
        assert_eq!(notes[name], value, "{name} in {notes}");
    }
    assert_eq!(proxy.get("/bad/exit").status(), 503);
    wait_until("it serves again", || proxy.get("/good").status() == 200);
}

#[test]
fn a_filter_may_fall_back_where_the_config_says_so() {
    let origin = Origin::named("a");
    let config = "[[plugin]]\nname = \"guest\"\npath = \"guest.wasm\"\non-failure = \"fallback\"\n"
        .to_owned()
        + &listener("web", "filters = [\"guest\"]\npool = \"app\"")
        + &pool("app", "", &[&origin]);
    let proxy = Setup::new(config).file("guest.wasm", guest("trap")).start();
    assert_eq!(proxy.get("/bad").text(), "a");
}

#[test]
fn a_quarantined_filter_means_503_and_a_good_one_heals_it() {
    let origin = Origin::named("a");
    let proxy = filtering("trap", "", &origin);
    wait_until("quarantine", || {
        assert_eq!(proxy.get("/bad").status(), 503, "never a way past it");
        proxy.status()["plugins"][0]["state"] == "quarantined"
    });
    let metric = proxy.metrics().sum(
        "tidegate_plugin_quarantined_workers",
        &[("plugin", "guest")],
    );
    assert!(metric >= 1.0, "{metric}");
    let before = origin.served();
    assert_eq!(proxy.get("/bad").status(), 503);
    assert_eq!(origin.served(), before);
    assert_eq!(get(proxy.address("other"), "/").text(), "a");
    let failed = proxy
        .stderr()
        .iter()
        .filter(|line| line.contains("guest"))
        .count();
    assert!(failed < 60, "logged once a burst, not {failed} times");
    let healed = proxy.swap("guest", &guest("keeper"));
    assert_eq!(healed.status(), 200, "{}", healed.text());
    assert_eq!(proxy.get("/bad").status(), 200);
}

#[test]
fn files_that_are_no_plugin_are_refused_by_name() {
    let origin = Origin::named("a");
    let proxy = filtering("keeper", "", &origin);
    let load = Load::start(proxy.address("web"), &["/"]);
    for (name, word) in [
        ("wrong-version", "0.9.0"),
        ("no-plugin", "plugin"),
        ("no-role", "role"),
        ("foreign", "plugin"),
        ("wrong-shape", ""),
        ("greedy-import", "unsafe-intrinsics"),
    ] {
        let answer = proxy.swap("guest", &guest(name));
        assert_eq!(answer.status(), 422, "{name}: {}", answer.text());
        assert!(answer.text().contains(word), "{name}: {}", answer.text());
    }
    for (name, wasm) in [
        ("a shell script", b"#!/bin/sh\n".to_vec()),
        ("a header alone", b"\0asm\x01\0\0\0".to_vec()),
        ("half a plugin", shipped("first")[..3000].to_vec()),
    ] {
        let answer = proxy.swap("guest", &wasm);
        assert_eq!(answer.status(), 422, "{name}: {}", answer.text());
    }
    assert_eq!(proxy.generation(), 1);
    load.wait_for_more(10);
    load.finish().expect_only(200);
}

#[test]
fn a_plugin_that_fails_while_it_is_configured_is_refused() {
    let origin = Origin::named("a");
    let good = |settings: &str| {
        format!("[[plugin]]\nname = \"guest\"\npath = \"guest.wasm\"\nconfig = {{ {settings} }}\n")
            + &listener("web", "filters = [\"guest\"]\npool = \"app\"")
            + &pool("app", "", &[&origin])
    };
    for name in ["spin", "trap", "recursion", "allocation"] {
        let mut proxy = Setup::new(good("")).file("guest.wasm", guest(name)).start();
        proxy.write_config(good("on = [\"configure\"]"));
        let answer = proxy.reload();
        assert_eq!(answer.status(), 422, "{name}: {}", answer.text());
        assert_eq!(proxy.get("/good").status(), 200, "{name}");
    }
}

#[test]
fn a_plugin_that_refuses_its_settings_is_quoted() {
    let origin = Origin::named("a");
    let config = |key: &str| {
        format!(
            "[[plugin]]\nname = \"guest\"\npath = \"guest.wasm\"\nconfig = {{ key = \"{key}\" }}\n"
        ) + &listener("web", "router = \"guest\"\npool = \"app\"")
            + &pool("app", "", &[&origin])
    };
    let mut proxy = Setup::new(config("right"))
        .file("guest.wasm", guest("refusal"))
        .start();
    proxy.write_config(config("wrong"));
    let answer = proxy.reload();
    assert_eq!(answer.status(), 422);
    assert!(
        answer.text().contains("is not"),
        "the plugin's own words: {}",
        answer.text()
    );
    assert_eq!(proxy.get("/").text(), "a");
}

#[test]
fn state_is_handed_from_version_to_version() {
    let origin = Origin::named("a");
    let proxy = filtering("keeper", "", &origin);
    (0..10).for_each(|_| assert_eq!(proxy.get("/").status(), 200));
    let swapped = proxy.swap("guest", &tidegate_tests::variant(&guest("keeper"), 1));
    assert_eq!(swapped.status(), 200, "{}", swapped.text());
    proxy.get("/after");
    let line = proxy.logged("/after");
    assert_eq!(
        line["notes"]["seen"], "11",
        "ten by the old instances, one by the new: {}",
        line
    );
    assert_eq!(line["notes"]["ticket"], "10", "tickets go on: {}", line);
    assert_eq!(line["notes"]["sum"], "11", "so does the store: {}", line);
    let counted = proxy
        .metrics()
        .sum("tidegate_plugin_requests_total", &[("plugin", "guest")]);
    assert_eq!(counted, 22.0, "{}", proxy.metrics().text);
}

#[test]
fn a_snapshot_that_the_next_version_refuses_refuses_the_swap() {
    let origin = Origin::named("a");
    let config = |settings: &str| {
        format!("[[plugin]]\nname = \"guest\"\npath = \"guest.wasm\"\nconfig = {{ {settings} }}\n")
            + &listener("web", "pool = \"app\"\nfilters = [\"guest\"]")
            + &pool("app", "", &[&origin])
    };
    let mut proxy = Setup::new(config("bytes = 10"))
        .file("guest.wasm", guest("bomb"))
        .start();
    proxy.write_config(config("bytes = 10, refuse = true"));
    let answer = proxy.reload();
    assert_eq!(answer.status(), 422, "{}", answer.text());
    assert_eq!(proxy.get("/").status(), 200);
}

#[test]
fn an_innocent_plugin_on_a_busy_machine_is_not_killed() {
    let origin = Origin::named("a");
    let proxy = filtering("keeper", "", &origin);
    let stop = Arc::new(AtomicBool::new(false));
    let burners: Vec<_> = (0..6)
        .map(|_| {
            let stop = stop.clone();
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let load = Load::start(proxy.address("web"), &["/"]);
    load.wait_for_more(500);
    let tally = load.finish();
    stop.store(true, Ordering::Relaxed);
    burners
        .into_iter()
        .for_each(|burner| burner.join().expect("it only spins"));
    tally.expect_only(200);
    assert_eq!(
        proxy.metrics().sum("tidegate_plugin_failures_total", &[]),
        0.0
    );
}

/// `/bad` gets 503, `/good` is served before and again soon after, the other listener notices nothing, and the failures are
/// counted under that cause (any, when it is empty).
fn expect_contained_filter(name: &str, cause: &str) {
    let origin = Origin::named("a");
    let proxy = filtering(name, "", &origin);
    let load = Load::start(proxy.address("other"), &["/"]);
    assert_eq!(proxy.get("/good").status(), 200);
    for _ in 0..3 {
        assert_eq!(proxy.get("/bad").status(), 503);
        wait_until("it serves again", || proxy.get("/good").status() == 200);
    }
    load.wait_for_more(20);
    load.finish().expect_only(200);
    assert!(failures(&proxy, cause) >= 1.0, "{}", proxy.metrics().text);
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| !request.target().starts_with("/bad"))
    );
    let memory = proxy.process().memory() >> 20;
    assert!(memory < 400, "{memory} MiB");
}

/// The guest as the filter of `web`; `other` has none.
fn filtering(name: &str, settings: &str, origin: &Origin) -> Proxy {
    let config = listener("web", "filters = [\"guest\"]\npool = \"app\"")
        + &listener("other", "pool = \"app\"")
        + &pool("app", "", &[origin]);
    with_guest(name, settings, &config)
}

fn with_guest(name: &str, settings: &str, config: &str) -> Proxy {
    let plugin =
        format!("[[plugin]]\nname = \"guest\"\npath = \"guest.wasm\"\nconfig = {{ {settings} }}\n");
    Setup::new(plugin + config)
        .file("guest.wasm", guest(name))
        .start()
}

/// A listener `other` with an origin that has nothing to do with the guest.
fn others(origin: &Origin) -> String {
    listener("other", "pool = \"others\"") + &pool("others", "", &[origin])
}

fn failures(proxy: &Proxy, cause: &str) -> f64 {
    let labels: &[(&str, &str)] = if cause.is_empty() {
        &[]
    } else {
        &[("cause", cause)]
    };
    proxy
        .metrics()
        .sum("tidegate_plugin_failures_total", labels)
}
