//! The admin port: what it shows, whom it lets in, and `tidegate ctl` in front of it.

use std::process::{Command, Output};

use tidegate_tests::{
    Origin, Proxy, Setup, TOKEN, get, listener, pool, send, shipped, site, tidegate, wait_until,
};

#[test]
fn it_shows_what_runs() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let status = proxy.status();
    assert_eq!(status["workers"], 2);
    assert_eq!(
        status["listeners"][0]["addresses"][0],
        proxy.address("web").to_string()
    );
    let pools = get(proxy.address("admin"), "/api/v1/pools").json();
    assert_eq!(pools[0]["name"], "app");
    assert_eq!(
        pools[0]["servers"][0]["address"],
        origin.address().to_string()
    );
    assert_eq!(pools[0]["servers"][0]["state"], "ready");
    let plugins = get(proxy.address("admin"), "/api/v1/plugins").json();
    assert_eq!(plugins[0]["name"], "round-robin");
    assert_eq!(plugins[0]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(get(proxy.address("admin"), "/").status(), 200);
}

#[test]
fn without_the_token_one_may_look_but_not_touch() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let admin = proxy.address("admin");
    for path in [
        "/healthz",
        "/metrics",
        "/api/v1/status",
        "/api/v1/pools",
        "/api/v1/plugins",
    ] {
        assert_eq!(get(admin, path).status(), 200, "{path}");
    }
    let change = |field: &str| {
        send(
            admin,
            &format!("POST /api/v1/reload HTTP/1.1\nhost: {admin}\ncontent-length: 0{field}"),
        )
        .status()
    };
    assert_eq!(change(""), 401);
    assert_eq!(change("\nauthorization: Bearer wrong"), 401);
    assert_eq!(proxy.generation(), 1);
    assert_eq!(change(&format!("\nauthorization: Bearer {TOKEN}")), 200);
}

#[test]
fn a_foreign_page_is_turned_away() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let admin = proxy.address("admin");
    let rebound = send(admin, "GET /api/v1/status HTTP/1.1\nhost: evil.example");
    assert_eq!(rebound.status(), 403);
    let foreign =
        format!("GET /api/v1/status HTTP/1.1\nhost: {admin}\norigin: http://evil.example");
    assert_eq!(send(admin, &foreign).status(), 403);
}

#[test]
fn health_of_a_pool_asks_for_a_usable_server() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let admin = proxy.address("admin");
    assert_eq!(get(admin, "/healthz").status(), 200);
    assert_eq!(get(admin, "/healthz?pool=app").status(), 200);
    assert_ne!(get(admin, "/healthz?pool=nobody").status(), 200);
}

#[test]
fn a_config_without_admin_opens_no_port_and_no_token_makes_it_read_only() {
    let origin = Origin::named("a");
    let proxy =
        Proxy::start("[admin]\nbind = \"@admin\"\n".to_owned() + &site("round-robin", &[&origin]));
    let answer = proxy.reload();
    assert_eq!(answer.status(), 403, "{}", answer.text());
    assert!(answer.text().contains("token"), "{}", answer.text());
}

#[test]
fn ctl_speaks_to_it() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let config = "[[plugin]]\nname = \"chooser\"\nshipped = \"round-robin\"\n".to_owned()
        + &site("chooser", &[&a, &b]);
    let proxy = Setup::new(config)
        .file("first.wasm", shipped("first"))
        .start();
    let health = ctl(&proxy, &["health"]);
    assert_eq!(health.status.code(), Some(0), "{health:?}");
    assert_eq!(
        ctl(&proxy, &["health", "--pool", "nobody"]).status.code(),
        Some(1)
    );
    let status = text(&ctl(&proxy, &["status"]));
    assert!(
        status.contains("chooser") && status.contains("app"),
        "{status}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&text(&ctl(&proxy, &["status", "--json"]))).expect("JSON");
    assert_eq!(json["generation"], 1);
    let swapped = ctl(&proxy, &["swap", "chooser", "first.wasm"]);
    assert_eq!(swapped.status.code(), Some(0), "{swapped:?}");
    assert_eq!(proxy.origins("/", 3), ["a", "a", "a"]);
    assert_eq!(ctl(&proxy, &["reload"]).status.code(), Some(0));
    let refused = ctl(&proxy, &["swap", "chooser", "tidegate.toml"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(!refused.stderr.is_empty());
    assert_eq!(ctl(&proxy, &["no-such-command"]).status.code(), Some(2));
}

fn ctl(proxy: &Proxy, arguments: &[&str]) -> Output {
    Command::new(tidegate())
        .arg("ctl")
        .args(arguments)
        .current_dir(proxy.path())
        .env(
            "TIDEGATE_ADMIN",
            format!("http://{}", proxy.address("admin")),
        )
        .env("TIDEGATE_TOKEN", TOKEN)
        .output()
        .expect("the binary runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn it_explains_what_a_request_would_get() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let proxy = Proxy::start(
        listener(
            "web",
            "router = \"router\"\npool = \"app\"\nfilters = [\"security-headers\"]",
        ) + "[[route]]\nname = \"shop\"\nhost = \"shop.example\"\npath = \"/cart\"\nheaders = { x-beta = true }\npool = \"beta\"\n"
            + &pool("app", "balancer = \"first\"", &[&a])
            + &pool("beta", "balancer = \"first\"", &[&b])
            + &pool("empty", "", &[&a]).replace("address", "weight = 0, address"),
    );
    let admin = format!("http://{}", proxy.address("admin"));
    let explain = |arguments: &[&str]| {
        let arguments = [&["ctl", "explain", "--admin", &admin], arguments].concat();
        let output = Command::new(tidegate())
            .args(arguments)
            .output()
            .expect("the binary runs");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).expect("text")
    };
    let taken = explain(&["http://shop.example/cart/1?x", "--header", "x-beta: yes"]);
    for line in [
        "listener  web",
        "route     shop",
        "filters   security-headers",
        "pool      beta",
        "server    b",
    ] {
        assert!(taken.contains(line), "{line} is not in\n{taken}");
    }
    let other = explain(&["http://shop.example/cart/1"]);
    assert!(
        !other.contains("route") && other.contains("server    a"),
        "{other}"
    );
    assert!(explain(&["/cart"]).contains("is no URL"));
    assert!(explain(&["http://a/", "--listener", "nobody"]).contains("there are: web"));
    // Nobody was asked, nothing was logged.
    assert_eq!((a.served(), b.served()), (0, 0));
    assert_eq!(proxy.metrics().sum("tidegate_requests_total", &[]), 0.0);
}

#[test]
fn one_can_go_back() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let mut proxy = Proxy::start(site("round-robin", &[&a]));
    proxy.reconfigure(site("round-robin", &[&b]));
    // A plugin that answers for another one, and then a configuration without it.
    assert_eq!(proxy.swap("round-robin", &shipped("first")).status(), 200);
    let running = |proxy: &Proxy| {
        let plugin = &proxy.status()["plugins"][0];
        (
            plugin["source"].as_str().map(str::to_owned),
            plugin["sha256"].to_string(),
        )
    };
    let swapped = running(&proxy);
    proxy.reconfigure(site("random", &[&a]));
    assert_eq!(proxy.get("/").text(), "a");

    let history = proxy.admin("GET", "/api/v1/history", b"").json();
    let seen: Vec<_> = history
        .as_array()
        .expect("a list")
        .iter()
        .map(|g| (g["generation"].as_u64(), g["what"].as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (Some(4), Some("reload")),
            (Some(3), Some("plugin round-robin")),
            (Some(2), Some("reload")),
            (Some(1), Some("start"))
        ]
    );

    let back = proxy.admin("POST", "/api/v1/rollback/3", b"");
    assert_eq!(back.status(), 200, "{}", back.text());
    assert_eq!(proxy.get("/").text(), "b");
    assert_eq!(running(&proxy), swapped, "the plugin of then");
    assert_eq!(proxy.admin("POST", "/api/v1/rollback/1", b"").status(), 200);
    assert_eq!(proxy.get("/").text(), "a");
    assert_ne!(running(&proxy), swapped, "the plugin of then");
    // The file is what it was: reading it goes forward again.
    assert_eq!(proxy.reload().status(), 200);
    assert_eq!(proxy.status()["pools"][0]["balancer"], "random");

    let unknown = proxy.admin("POST", "/api/v1/rollback/99", b"");
    assert_eq!(unknown.status(), 404);
    assert!(
        unknown.text().contains("kept are: 7, 6, 5"),
        "{}",
        unknown.text()
    );
    let unasked = send(
        proxy.address("admin"),
        &format!(
            "POST /api/v1/rollback/1 HTTP/1.1\nhost: {}\ncontent-length: 0",
            proxy.address("admin")
        ),
    );
    assert_eq!(unasked.status(), 401);
    assert_eq!(proxy.generation(), 7);
}

#[test]
fn one_can_go_back_though_the_plugins_file_is_gone() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let own = "[[plugin]]\nname = \"mine\"\npath = \"mine.wasm\"\n".to_owned();
    let mut proxy = Setup::new(own + &site("mine", &[&a, &b]))
        .file("mine.wasm", shipped("first"))
        .start();
    proxy.reconfigure(site("random", &[&b]));
    std::fs::remove_file(proxy.path().join("mine.wasm")).expect("it is there");
    let back = proxy.admin("POST", "/api/v1/rollback/1", b"");
    assert_eq!(back.status(), 200, "{}", back.text());
    assert_eq!(proxy.origins("/", 3), ["a", "a", "a"]);
    assert_eq!(proxy.status()["plugins"][0]["source"], "uploaded");
}

#[test]
fn it_explains_stickiness_and_passes_over_what_takes_no_requests() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let sticky =
        "balancer = \"first\"\nsticky = { plugin = \"sticky-cookie\", cookie = \"SERVERID\" }";
    let proxy = Proxy::start(
        listener("raw", "mode = \"tcp\"\npool = \"app\"")
            + &listener("web", "pool = \"app\"")
            + &pool("app", sticky, &[&a, &b]),
    );
    let explain = |query: &str| {
        let path = format!("/api/v1/explain?url=http://a.test/{query}");
        proxy.admin("GET", &path, b"").json()
    };
    let fresh = explain("");
    assert_eq!(
        (&fresh["listener"], &fresh["server"]),
        (&"web".into(), &"a".into())
    );
    let stuck = explain("&header=cookie:%20SERVERID=b");
    assert_eq!(stuck["server"], "b", "{stuck}");
    let raw = explain("&listener=raw");
    assert!(
        raw["error"]
            .as_str()
            .is_some_and(|e| e.contains("no requests")),
        "{raw}"
    );
}

#[test]
fn the_configuration_is_shown_without_secrets() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let config = proxy.admin("GET", "/api/v1/config", b"");
    assert_eq!(config.json()["pool"][0]["name"], "app");
    assert!(!config.text().contains(TOKEN), "{}", config.text());
}

#[test]
fn a_server_is_drained_and_used_again() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let mut proxy = Proxy::start(site("round-robin", &[&a, &b]));
    let admin = format!("http://{}", proxy.address("admin"));
    let ctl = |word: &str, server: &str, token: &str| {
        let output = Command::new(tidegate())
            .args(["ctl", "--admin", &admin, "--token", token, word, server])
            .output()
            .expect("the binary runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8(text).expect("text"),
        )
    };
    let state = |proxy: &Proxy| proxy.status()["pools"][0]["servers"][0]["state"].clone();
    assert_eq!(
        ctl("drain", "app/a", TOKEN),
        (true, "app/a: drain\n".to_owned())
    );
    wait_until("it drains", || state(&proxy) == "drain");
    wait_until("every worker knows", || {
        proxy.origins("/", 8).iter().all(|origin| origin == "b")
    });
    proxy.wait_for_log(&["what is wanted of a server has changed", "server=\"a\""]);
    // A reload that says nothing of it leaves it.
    proxy.reconfigure(site("random", &[&a, &b]));
    assert_eq!(state(&proxy), "drain");
    assert!(proxy.origins("/", 8).iter().all(|origin| origin == "b"));
    assert!(ctl("maint", "app/a", TOKEN).0);
    wait_until("it is out", || state(&proxy) == "maint");
    assert!(ctl("ready", "app/a", TOKEN).0);
    wait_until("it is used again", || {
        proxy.origins("/", 8).iter().any(|origin| origin == "a")
    });

    let unknown = ctl("drain", "app/nobody", TOKEN);
    assert!(
        !unknown.0 && unknown.1.contains("there are: app/a, app/b"),
        "{}",
        unknown.1
    );
    assert!(ctl("drain", "a", TOKEN).1.contains("POOL/SERVER"));
    assert!(!ctl("drain", "app/a", "wrong").0);
    let path = "/api/v1/pools/app/servers/a";
    let nonsense = proxy.admin("PATCH", path, b"{\"state\": \"away\"}");
    assert_eq!(nonsense.status(), 400);
    assert!(nonsense.text().contains("maint"), "{}", nonsense.text());
    assert_eq!(state(&proxy), "ready");
}
