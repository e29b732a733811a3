//! Reload: by HUP, by the admin API, by a watched file. All or nothing, and nobody notices.

use tidegate_tests::{
    Client, Load, Origin, Proxy, Setup, Signal, get, listener, pool, site, wait_until,
};

#[test]
fn the_admin_api_reloads() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let mut proxy = Proxy::start(site("round-robin", &[&a]));
    let mut kept = Client::connect(proxy.address("web"));
    assert_eq!(kept.get("/").text(), "a");
    proxy.reconfigure(site("round-robin", &[&b]));
    assert_eq!(
        kept.get("/").text(),
        "b",
        "a connection that was open before"
    );
    assert_eq!(proxy.generation(), 2);
}

#[test]
fn hup_reloads() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let mut proxy = Proxy::start(site("round-robin", &[&a]));
    proxy.write_config(site("round-robin", &[&b]));
    proxy.signal(Signal::HUP);
    proxy.wait_for_generation(2);
    assert_eq!(proxy.get("/").text(), "b");
}

#[test]
fn a_watched_file_reloads_itself() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let watching = |origin: &Origin| {
        "[proxy]\nworkers = 2\nwatch = true\n".to_owned() + &site("round-robin", &[origin])
    };
    let mut proxy = Proxy::start(watching(&a));
    proxy.write_config(watching(&b));
    wait_until("the new server answers", || proxy.get("/").text() == "b");
}

#[test]
fn a_refused_config_changes_nothing_and_says_why() {
    let origin = Origin::named("a");
    let mut proxy = Proxy::start(site("round-robin", &[&origin]));
    for (what, config, word) in [
        ("a broken file", "[[listener\n".to_owned(), "tidegate.toml:"),
        (
            "an unknown key",
            site("round-robin", &[&origin]) + "retires = 3\n",
            "retries",
        ),
        (
            "an unknown balancer",
            site("round-robbin", &[&origin]),
            "round-robin",
        ),
    ] {
        proxy.write_config(config);
        let answer = proxy.reload();
        assert_eq!(answer.status(), 422, "{what}: {}", answer.text());
        assert!(answer.text().contains(word), "{what}: {}", answer.text());
        assert_eq!(proxy.generation(), 1, "{what}");
        assert_eq!(proxy.get("/").text(), "a", "{what}");
        assert_eq!(
            proxy.status()["last_change"]["result"],
            "rejected",
            "{what}"
        );
    }
}

#[test]
fn a_listener_comes_and_goes() {
    let origin = Origin::named("a");
    let one = site("round-robin", &[&origin]);
    let two = one.clone() + &listener("more", "pool = \"app\"");
    let mut proxy = Proxy::start(&one);
    proxy.reconfigure(&two);
    let more = proxy.address("more");
    let mut kept = Client::connect(more);
    assert_eq!(kept.get("/").status(), 200);
    proxy.reconfigure(&one);
    wait_until("the port is free again", || {
        Client::try_connect(more).is_err()
    });
    assert!(kept.closed() || kept.get("/").status() == 200);
    assert_eq!(proxy.get("/").status(), 200);
}

#[test]
fn what_a_listener_that_is_gone_still_has_is_cut_in_time() {
    let origin = Origin::answering("slow", |_, stream| {
        // It answers nothing, until the proxy goes away.
        std::io::Read::read(stream, &mut [0; 1])?;
        Err(std::io::ErrorKind::BrokenPipe.into())
    });
    let patient = "[proxy]\nworkers = 2\ndrain-timeout = \"100ms\"\n".to_owned();
    let one = patient + &site("round-robin", &[&origin]);
    let mut proxy = Proxy::start(one.clone() + &listener("more", "pool = \"app\""));
    let mut client = Client::connect(proxy.address("more"));
    let request = b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n";
    client.write(request).expect("it is connected");
    wait_until("it is under way", || origin.served() == 1);
    proxy.reconfigure(&one);
    assert!(client.closed(), "it is cut");
    assert_eq!(proxy.logged("/endless")["fault"], "cut");
}

#[test]
fn a_port_that_is_taken_refuses_the_whole_change() {
    let origin = Origin::named("a");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound");
    let mut proxy = Proxy::start(site("round-robin", &[&origin]));
    proxy.write_config(
        site("first", &[&origin])
            + &format!("[[listener]]\nname = \"more\"\nbind = \"{address}\"\npool = \"app\"\n"),
    );
    let answer = proxy.reload();
    assert!(answer.status() >= 400, "{}", answer.text());
    assert!(
        answer.text().contains(&address.to_string()),
        "{}",
        answer.text()
    );
    assert_eq!(proxy.status()["pools"][0]["balancer"], "round-robin");
}

#[test]
fn a_request_in_flight_ends_as_it_began() {
    let gate = std::sync::Arc::new(std::sync::Barrier::new(2));
    let old = Origin::answering("old", {
        let gate = gate.clone();
        move |_, stream| {
            gate.wait();
            tidegate_tests::reply(stream, 200, &[], "old\n")
        }
    });
    let new = Origin::named("new");
    let mut proxy = Proxy::start(site("round-robin", &[&old]));
    let address = proxy.address("web");
    let asking = std::thread::spawn(move || get(address, "/").text());
    wait_until("the request is at the old server", || old.served() == 1);
    proxy.reconfigure(site("round-robin", &[&new]));
    assert_eq!(proxy.get("/").text(), "new");
    gate.wait();
    assert_eq!(asking.join().expect("the client does not fail"), "old");
}

#[test]
fn a_busy_log_beside_the_config_holds_up_no_reload() {
    let a = Origin::named("a");
    let config = |filters: &str| {
        "[proxy]\nworkers = 2\nwatch = true\n[log]\naccess = \"./access.log\"\n".to_owned()
            + &listener("web", &format!("pool = \"app\"\n{filters}"))
            + &pool("app", "", &[&a])
    };
    let mut proxy = Proxy::start(config(""));
    let load = Load::start(proxy.address("web"), &["/"]);
    load.wait_for_more(50);
    for (generation, filters) in [(2, "filters = [\"security-headers\"]"), (3, "")] {
        let begun = std::time::Instant::now();
        proxy.write_config(config(filters));
        proxy.wait_for_generation(generation);
        let took = begun.elapsed();
        assert!(took.as_secs() < 8, "{took:?}");
    }
    load.finish().expect_only(200);
}

#[test]
fn two_hundred_reloads_under_load_lose_nothing() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let configs = [
        site("round-robin", &[&a, &b]),
        listener("web", "pool = \"app\"\nfilters = [\"security-headers\"]")
            + &pool("app", "balancer = \"weighted-round-robin\"", &[&a, &b]),
    ];
    let mut proxy = Proxy::start(&configs[0]);
    let load = Load::start(proxy.address("web"), &["/", "/x"]);
    load.wait_for_more(50);
    // The first rounds fill caches and allocator pools; what counts is that it stays there.
    (0..20).for_each(|n| proxy.reconfigure(&configs[(n + 1) % 2]));
    let (instances, memory) = (instances(&proxy), proxy.process().memory());
    (0..180).for_each(|n| proxy.reconfigure(&configs[(n + 1) % 2]));
    load.wait_for_more(50);
    let tally = load.finish();
    tally.expect_only(200);
    assert_eq!(proxy.generation(), 201);
    wait_until("old instances are gone", || {
        self::instances(&proxy) == instances
    });
    let grown = proxy.process().memory().saturating_sub(memory);
    assert!(
        grown < 40 << 20,
        "{} MiB more after 180 reloads",
        grown >> 20
    );
}

#[test]
fn what_compiling_took_is_given_back() {
    let a = Origin::named("a");
    let configs = [
        site("round-robin", &[&a]),
        site("weighted-round-robin", &[&a]),
    ];
    let mut proxy = Setup::new(&configs[0]).cold().start();
    (0..10).for_each(|n| proxy.reconfigure(&configs[(n + 1) % 2]));
    let memory = proxy.process().memory();
    (0..20).for_each(|n| proxy.reconfigure(&configs[(n + 1) % 2]));
    assert_eq!(proxy.generation(), 31);
    // What was kept of each was 5 MiB and more.
    let grown = proxy.process().memory().saturating_sub(memory);
    assert!(
        grown < 100 << 20,
        "{} MiB more after 20 plugins compiled",
        grown >> 20
    );
}

fn instances(proxy: &Proxy) -> u64 {
    let status = proxy.status();
    let plugins = status["plugins"].as_array().expect("a list of plugins");
    plugins
        .iter()
        .map(|plugin| plugin["instances"].as_u64().expect("a number"))
        .sum()
}
