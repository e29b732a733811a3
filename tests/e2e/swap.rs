//! A plugin is swapped while traffic flows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_tests::{Load, Origin, Proxy, Setup, listener, pool, shipped, variant, wait_until};

#[test]
fn a_put_swaps_the_balancer() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let proxy = Proxy::start(swappable(&a, &b));
    assert_eq!(proxy.origins("/", 4), ["a", "b", "a", "b"]);
    let answer = proxy.swap("chooser", &shipped("first"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(
        proxy.origins("/", 4),
        ["a", "a", "a", "a"],
        "from the very next request on"
    );
    let plugin = &proxy.status()["plugins"][0];
    assert_eq!(plugin["name"], "chooser");
    assert_eq!(plugin["since_generation"], 2);
}

#[test]
fn a_refused_plugin_changes_nothing_and_says_why() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let proxy = Proxy::start(swappable(&a, &b));
    for (what, wasm, word) in [
        ("garbage", b"this is no wasm".to_vec(), "wasm"),
        ("half a file", shipped("first")[..2000].to_vec(), ""),
        ("the wrong role", shipped("router"), "balancer"),
    ] {
        let answer = proxy.swap("chooser", &wasm);
        assert_eq!(answer.status(), 422, "{what}: {}", answer.text());
        assert!(
            answer.text().to_lowercase().contains(word),
            "{what}: {}",
            answer.text()
        );
        assert_eq!(proxy.generation(), 1, "{what}");
        let names = proxy.origins("/", 2);
        assert_ne!(names[0], names[1], "{what}: still in turn");
    }
    assert_eq!(proxy.swap("nobody", &shipped("first")).status(), 404);
}

#[test]
fn a_watched_wasm_swaps_itself() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let config = "[proxy]\nworkers = 2\nwatch = true\n".to_owned()
        + "[[plugin]]\nname = \"chooser\"\npath = \"chooser.wasm\"\n"
        + &site(&a, &b);
    let proxy = Setup::new(config)
        .file("chooser.wasm", shipped("round-robin"))
        .start();
    assert_eq!(proxy.origins("/", 2), ["a", "b"]);
    proxy.write_file("chooser.wasm", shipped("first"));
    wait_until("the new plugin serves", || {
        proxy.origins("/", 3) == ["a", "a", "a"]
    });
}

#[test]
fn exact_round_robin_survives_a_swap() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let proxy = Proxy::start(swappable(&a, &b));
    for round in 0..5 {
        assert_eq!(proxy.origins("/", 3).len(), 3);
        proxy.swap("chooser", &variant(&shipped("round-robin"), round));
    }
    proxy.origins("/", 1);
    assert_eq!(
        (a.served(), b.served()),
        (8, 8),
        "tickets are the host's and go on"
    );
}

#[test]
fn two_hundred_swaps_under_load_lose_nothing() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let proxy = Proxy::start(swappable(&a, &b));
    let candidates = [shipped("round-robin"), shipped("first")];
    let load = Load::start(proxy.address("web"), &["/", "/x"]);
    load.wait_for_more(50);
    let swap = |n: usize| {
        let answer = proxy.swap("chooser", &candidates[(n + 1) % 2]);
        assert_eq!(answer.status(), 200, "{}", answer.text());
    };
    (0..20).for_each(swap);
    let (instances, memory) = (instances(&proxy), proxy.process().memory());
    (0..180).for_each(swap);
    load.wait_for_more(50);
    let tally = load.finish();
    tally.expect_only(200);
    assert_eq!(proxy.generation(), 201);
    wait_until("old instances are gone", || {
        self::instances(&proxy) == instances
    });
    assert_eq!(instances, 2.0, "one a worker");
    // What compiling took is given back a while later, as allocators do.
    wait_until("no more than 40 MiB more after 180 swaps", || {
        proxy.get("/");
        proxy.process().memory().saturating_sub(memory) < 40 << 20
    });
}

/// wasmtime compresses what is used often once more, as hard as zstd can: that takes 200 MiB, which the process then keeps.
#[test]
fn what_is_swapped_in_for_the_thousandth_time_takes_no_more_memory_than_before() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let setup = Setup::new(swappable(&a, &b));
    let cache = setup.path().join("cache");
    let proxy = setup
        .env("XDG_CACHE_HOME", cache.display().to_string())
        .start();
    let candidates = [shipped("first"), shipped("round-robin")];
    let swap = |n: usize| {
        let answer = proxy.swap("chooser", &candidates[n % 2]);
        assert_eq!(answer.status(), 200, "{}", answer.text());
    };
    (0..10).for_each(swap);
    wait_until("how often each was used is written down", || {
        uses(&cache).values().filter(|count| **count > 2).count() >= 2
    });
    for (file, count) in uses(&cache) {
        let text = fs::read_to_string(&file).unwrap();
        let often = text.replace(&format!("usages = {count}"), "usages = 1000");
        assert_ne!(text, often, "{text}");
        fs::write(file, often).unwrap();
    }
    proxy.process().forget_most_memory();
    let before = proxy.process().most_memory();
    (0..20).for_each(swap);
    wait_until("they are known to be used often", || {
        uses(&cache).values().filter(|count| **count > 1002).count() >= 2
    });
    let grown = proxy.process().most_memory() - before;
    assert!(grown < 40 << 20, "{} MiB more", grown >> 20);
}

/// By file, as wasmtime's cache counts them.
fn uses(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(uses(&path));
        } else if path.extension().is_some_and(|end| end == "stats") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let count = text.lines().find_map(|line| line.strip_prefix("usages = "));
            all.extend(count.and_then(|count| Some((path, count.parse().ok()?))));
        }
    }
    all
}

#[test]
fn an_upload_stays_across_a_reload() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let proxy = Proxy::start(swappable(&a, &b));
    assert_eq!(proxy.swap("chooser", &shipped("first")).status(), 200);
    assert_eq!(proxy.reload().status(), 200);
    assert_eq!(proxy.origins("/", 3), ["a", "a", "a"]);
}

/// `chooser`, a round robin to be swapped, in front of both.
fn swappable(a: &Origin, b: &Origin) -> String {
    "[[plugin]]\nname = \"chooser\"\nshipped = \"round-robin\"\n".to_owned() + &site(a, b)
}

fn site(a: &Origin, b: &Origin) -> String {
    listener("web", "pool = \"app\"") + &pool("app", "balancer = \"chooser\"", &[a, b])
}

fn instances(proxy: &Proxy) -> f64 {
    proxy
        .metrics()
        .sum("tidegate_plugin_instances", &[("plugin", "chooser")])
}
