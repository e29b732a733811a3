//! Good configurations and what becomes of them: defaults, names, references, secrets, plugins made on the spot, the
//! router's settings, the schema. Bad ones are in `golden.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::config::checked::{
    AccessFormat, AccessTarget, OnFailure, PathMatch, PluginSource, ValueMatch,
};
use tidegate::config::{self, Config, Problems, Source};

const SHIPPED: [&str; 9] = [
    "consistent-hash",
    "headers",
    "https-redirect",
    "least-connections",
    "rewrite",
    "round-robin",
    "router",
    "security-headers",
    "weighted-round-robin",
];

/// Every key there is.
const FULL: &str = r#"
[proxy]
workers = 3
drain-timeout = "45s"
watch = true
trusted-proxies = ["10.0.0.0/8", "2001:db8::/32", "192.168.0.1"]

[admin]
bind = "[::1]:9902"
token = "correct-horse"

[log]
level = "info,tidegate::plugin=debug"
access = "logs/access.log"
format = "httplog"

[[plugin]]
name = "by-tenant"
path = "plugins/by_tenant.wasm"
sha256 = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
config = { header = "x-tenant", table = { a = 1, b = [1.5, true] }, since = 2026-01-02 }
on-failure = "reject"
cpu-limit = "500us"
memory = "1MiB"
grants = ["fetch:api", "fetch:app"]

[[plugin]]
name = "strip-api"
shipped = "rewrite"
config = { strip-prefix = "/api" }

[[listener]]
name = "redirect"
bind = "0.0.0.0:80"
filters = ["https-redirect"]
pool = "app"

[[listener]]
name = "web"
bind = ["0.0.0.0:8443", "[::]:8443"]
filters = ["security-headers", { plugin = "by-tenant", header = "x-org" }]
router = "router"
pool = "app"
max-connections = 50000
max-connections-per-client = 200
max-head = "16KiB"
min-body-rate = "500B"
timeouts = { request-head = "5s", idle = "2m", body = "10s", rate-grace = "8s", tunnel = "3h" }

[[route]]
listeners = ["web"]
host = "Example.com"
path = "/api/"
pool = "api"
filters = ["strip-api"]
access-log = false

[[route]]
name = "beta"
listeners = "redirect"
host = "*.example.com"
path-exact = "/x"
method = ["GET", "HEAD"]
headers = { X-Beta = "yes", x-debug = false }
query = { v = true }
split = { app = 95, api = 5 }

[[route]]
path = "/static"
method = "GET"

[[pool]]
name = "app"
balancer = { plugin = "consistent-hash", on = "header:x-user" }
timeouts = { connect = "1s", send = "4s", first-byte = "2s", between-bytes = "3s" }
retries = 0
servers = [
  { name = "web1", address = "192.168.1.101:80", weight = 3, labels = { zone = "a" } },
  { address = "App.internal:80", weight = 0, backup = true },
  { address = "[::1]:81" },
]

[[pool]]
name = "api"
servers = [{ address = "10.0.0.1:80", weight = 5 }, { address = "10.0.0.2:80" }]

[[pool]]
name = "even"
servers = [{ address = "10.0.0.1:80", weight = 5 }, { address = "10.0.0.2:80", weight = 5 }]
"#;

const SMALL: &str = r#"
[[listener]]
name = "web"
bind = "127.0.0.1:0"
pool = "app"

[[pool]]
name = "app"
servers = [{ address = "127.0.0.1:9001" }]
"#;

#[test]
fn what_is_absent_has_its_default() {
    let config = parse(SMALL);
    assert!(config.proxy.workers >= 1);
    assert_eq!(config.proxy.drain_timeout, Duration::from_secs(30));
    assert!(!config.proxy.watch);
    assert!(config.proxy.trusted_proxies.is_empty());
    assert!(config.admin.is_none());
    assert_eq!(config.log.level, "info");
    assert_eq!(config.log.access.value, AccessTarget::Stdout);
    assert_eq!(config.log.format, AccessFormat::Json);
    let listener = &config.listeners[0];
    assert_eq!(listener.timeouts.request_head, Duration::from_secs(10));
    assert_eq!(listener.timeouts.idle, Duration::from_secs(60));
    assert_eq!(listener.timeouts.body, Duration::from_secs(30));
    assert_eq!(listener.timeouts.tunnel, Duration::from_secs(3600));
    assert!(listener.router.is_none(), "no route, no router");
    assert_eq!(listener.max_connections, None);
    assert_eq!(listener.max_connections_per_client, 0);
    assert_eq!((listener.max_head, listener.min_body_rate), (32 << 10, 0));
    assert_eq!(listener.timeouts.rate_grace, Duration::from_secs(5));
    let pool = &config.pools[0];
    assert_eq!(pool.timeouts.connect, Duration::from_secs(5));
    assert_eq!(pool.timeouts.send, Duration::from_secs(60));
    assert_eq!(pool.timeouts.first_byte, Duration::from_secs(60));
    assert_eq!(pool.timeouts.between_bytes, Duration::from_secs(60));
    assert_eq!(pool.retries, 2);
    let server = &pool.servers[0];
    assert_eq!(
        (server.name.as_str(), server.weight, server.backup),
        ("127.0.0.1:9001", 1, false)
    );
    assert_eq!(names(&config), ["round-robin"]);
    let balancer = &config.plugins[0];
    assert_eq!(balancer.cpu_limit, Duration::from_millis(2));
    assert_eq!(balancer.memory, 16 << 20);
    assert_eq!(balancer.on_failure, None);
    assert_eq!(balancer.config, json!({}));
}

#[test]
fn the_process_sections_are_taken_over() {
    let config = parse(FULL);
    assert_eq!(config.proxy.workers, 3);
    assert_eq!(config.proxy.drain_timeout, Duration::from_secs(45));
    assert!(config.proxy.watch);
    let networks = config.proxy.trusted_proxies.iter();
    let networks: Vec<String> = networks
        .map(|n| format!("{}/{}", n.address, n.prefix))
        .collect();
    assert_eq!(networks, ["10.0.0.0/8", "2001:db8::/32", "192.168.0.1/32"]);
    let admin = config.admin.unwrap();
    assert_eq!(admin.bind, "[::1]:9902".parse().unwrap());
    assert_eq!(admin.token.unwrap().0, "correct-horse");
    assert_eq!(
        config.log.access.value,
        AccessTarget::File("etc/logs/access.log".into())
    );
    assert_eq!(config.log.format, AccessFormat::Httplog);
}

#[test]
fn plugins_come_from_sections_names_and_places() {
    let config = parse(FULL);
    let expected = [
        "by-tenant",
        "strip-api",
        "consistent-hash@app",
        "weighted-round-robin",
        "round-robin",
        "https-redirect",
        "router",
        "security-headers",
        "by-tenant@web",
    ];
    let mut found = names(&config);
    assert_eq!(found[..2], expected[..2], "sections keep their order");
    found.sort_unstable();
    let mut sorted = expected;
    sorted.sort_unstable();
    assert_eq!(found, sorted);

    let own = plugin(&config, "by-tenant");
    let mut hash = [0; 32];
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = 0x11 * (place % 16) as u8;
    }
    let path = PathBuf::from("etc/plugins/by_tenant.wasm");
    let sha256 = Some(hash);
    assert_eq!(own.source, PluginSource::File { path, sha256 });
    let settings = json!({ "header": "x-tenant", "table": { "a": 1, "b": [1.5, true] }, "since": "2026-01-02" });
    assert_eq!(own.config, settings);
    assert_eq!(own.on_failure, Some(OnFailure::Reject));
    assert_eq!(
        (own.cpu_limit, own.memory),
        (Duration::from_micros(500), 1 << 20)
    );
    let grants: Vec<u32> = own.fetch_grants.iter().map(|pool| pool.0).collect();
    assert_eq!(grants, [1, 0]);

    let made = plugin(&config, "by-tenant@web");
    assert_eq!(made.source, own.source, "the artifact stays");
    assert_eq!(made.cpu_limit, own.cpu_limit, "the limits stay");
    assert_eq!(made.fetch_grants, own.fetch_grants, "the grants stay");
    assert_eq!(
        made.config,
        json!({ "header": "x-org" }),
        "the settings are those given here"
    );
    assert_eq!(
        &FULL[made.config_span.clone()],
        r#"{ plugin = "by-tenant", header = "x-org" }"#
    );
    let hash = plugin(&config, "consistent-hash@app");
    assert_eq!(
        hash.source,
        PluginSource::Shipped("consistent-hash".to_owned())
    );
    assert_eq!(hash.config, json!({ "on": "header:x-user" }));
}

#[test]
fn uses_point_at_their_plugins() {
    let config = parse(FULL);
    let name =
        |plugin: &config::checked::PluginUse| config.plugins[plugin.value.0 as usize].name.as_str();
    let filters =
        |list: &[config::checked::PluginUse]| list.iter().map(name).collect::<Vec<_>>().join(" ");
    assert_eq!(filters(&config.listeners[0].filters), "https-redirect");
    assert_eq!(
        filters(&config.listeners[1].filters),
        "security-headers by-tenant@web"
    );
    assert_eq!(filters(&config.routes[0].filters), "strip-api");
    assert_eq!(name(&config.pools[0].balancer), "consistent-hash@app");
    assert_eq!(
        name(&config.pools[1].balancer),
        "weighted-round-robin",
        "weights differ"
    );
    assert_eq!(
        name(&config.pools[2].balancer),
        "round-robin",
        "weights are equal"
    );
    let routers = config
        .listeners
        .iter()
        .map(|l| name(l.router.as_ref().unwrap()));
    assert_eq!(
        routers.collect::<Vec<_>>(),
        ["router", "router"],
        "routes make the router the default"
    );
}

#[test]
fn a_listeners_limits_are_taken_over() {
    let web = &parse(FULL).listeners[1];
    assert_eq!(web.max_connections, Some(50_000));
    assert_eq!(web.max_connections_per_client, 200);
    assert_eq!((web.max_head, web.min_body_rate), (16 << 10, 500));
    assert_eq!(web.timeouts.rate_grace, Duration::from_secs(8));
}

#[test]
fn a_section_hides_the_shipped_plugin_of_its_name() {
    let text = format!("[[plugin]]\nname = \"round-robin\"\npath = \"mine.wasm\"\n{SMALL}");
    let config = parse(&text);
    assert_eq!(names(&config), ["round-robin"]);
    assert!(matches!(
        config.plugins[0].source,
        PluginSource::File { .. }
    ));
}

#[test]
fn the_same_plugin_twice_in_a_place_has_two_names() {
    let filters = r#"filters = [{ plugin = "headers", set = 1 }, { plugin = "headers", set = 2 }]"#;
    let config = parse(&SMALL.replacen("pool = \"app\"", &format!("pool = \"app\"\n{filters}"), 1));
    assert_eq!(
        names(&config),
        ["round-robin", "headers@web", "headers@web#2"]
    );
}

#[test]
fn servers_and_routes_are_taken_over() {
    let config = parse(FULL);
    let [web1, app, v6] = &config.pools[0].servers[..] else {
        panic!("three servers");
    };
    assert_eq!((web1.name.as_str(), web1.weight), ("web1", 3));
    assert_eq!(web1.labels, [("zone".to_owned(), "a".to_owned())]);
    assert_eq!(
        (app.address.as_str(), app.weight, app.backup),
        ("app.internal:80", 0, true)
    );
    assert_eq!(v6.name, "[::1]:81");
    let pool = &config.pools[0];
    assert_eq!(
        (pool.retries, pool.timeouts.send),
        (0, Duration::from_secs(4))
    );

    let [api, beta, fixed] = &config.routes[..] else {
        panic!("three routes");
    };
    assert_eq!(api.name, "example.com/api/");
    assert_eq!(api.path, Some(PathMatch::Prefix("/api".to_owned())));
    assert!(!api.access_log);
    assert_eq!(beta.path, Some(PathMatch::Exact("/x".to_owned())));
    assert_eq!(beta.headers["x-beta"], ValueMatch::Exact("yes".to_owned()));
    assert_eq!(beta.headers["x-debug"], ValueMatch::Absent);
    assert_eq!(beta.query["v"], ValueMatch::Present);
    assert_eq!(fixed.name, "/static");
    assert!(fixed.pools.is_empty(), "the listener's pool");
}

#[test]
fn the_router_is_told_the_routes_by_name() {
    let expected = json!({ "routes": [
        { "name": "example.com/api/", "listeners": ["web"], "host": "example.com", "path": "/api", "pools": [["api", 1]] },
        {
            "name": "beta", "listeners": ["redirect"], "host": "*.example.com", "path-exact": "/x",
            "methods": ["GET", "HEAD"], "headers": { "x-beta": "yes", "x-debug": false }, "query": { "v": true },
            "pools": [["app", 95], ["api", 5]],
        },
        { "name": "/static", "path": "/static", "methods": ["GET"] },
    ] });
    assert_eq!(config::router_settings(&parse(FULL)), expected);
}

#[test]
fn routes_without_a_name_get_one_each() {
    let routes = r#"
[[route]]
path = "/a"
method = "GET"
[[route]]
path = "/a"
method = "POST"
[[route]]
host = "example.com"
[[route]]
name = "example.com"
path = "/b"
[[route]]
"#;
    let config = parse(&format!("{SMALL}{routes}"));
    let names: Vec<&str> = config
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(names, ["/a", "/a#2", "example.com#2", "example.com", "/"]);
}

#[test]
fn a_string_may_stand_in_a_file_or_a_variable() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "s3cret-token\r\n").unwrap();
    let text = format!(
        "[admin]\ntoken = {{ file = \"token\" }}\n[log]\nlevel = {{ file = \"level\" }}\n{}",
        SMALL.replace(
            "\"127.0.0.1:9001\"",
            "\"127.0.0.1:9001\", name = { env = \"CARGO_PKG_NAME\" }"
        )
    );
    fs::write(folder.path().join("level"), "debug").unwrap();
    let path = folder.path().join("tidegate.toml");
    fs::write(&path, text).unwrap();
    let config = config::load(&path, &SHIPPED).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        config.admin.as_ref().unwrap().token.as_ref().unwrap().0,
        "s3cret-token"
    );
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.pools[0].servers[0].name, "tidegate");
    assert_eq!(config.shown["admin"]["token"], json!({ "file": "token" }));
    assert!(
        !format!("{config:?}").contains("s3cret"),
        "Debug shows no secret"
    );
}

#[test]
fn settings_of_a_plugin_may_hold_secrets() {
    let text = format!(
        "[[plugin]]\nname = \"jwt\"\npath = \"jwt.wasm\"\nconfig = {{ key = {{ env = \"CARGO_PKG_NAME\" }} }}\n{SMALL}"
    );
    let config = parse(&text);
    assert_eq!(plugin(&config, "jwt").config, json!({ "key": "tidegate" }));
    assert_eq!(
        config.shown["plugin"][0]["config"],
        json!({ "key": { "env": "CARGO_PKG_NAME" } })
    );
}

#[test]
fn a_token_that_is_written_out_is_not_shown() {
    let config = parse(FULL);
    assert_eq!(config.shown["admin"]["token"], "<redacted>");
    assert_eq!(config.shown["pool"][0]["name"], "app");
    assert!(
        !config.source.text.contains("correct-horse"),
        "nor quoted in a later message"
    );
    assert_eq!(config.source.text.len(), FULL.len(), "and all places stay");
}

#[test]
fn what_cannot_be_read_is_one_problem() {
    let folder = tempfile::tempdir().unwrap();
    let missing = config::load(&folder.path().join("tidegate.toml"), &SHIPPED).unwrap_err();
    assert_eq!(missing.list.len(), 1);
    assert!(
        missing.to_string().contains("No such file or directory"),
        "{missing}"
    );
    assert!(missing.to_string().contains("-c"), "{missing}");
    let directory = config::load(folder.path(), &SHIPPED).unwrap_err();
    assert!(directory.to_string().contains("directory"), "{directory}");
    let latin = folder.path().join("latin.toml");
    fs::write(&latin, b"[log]\nlevel = \"inf\xf6\"\n").unwrap();
    let latin = config::load(&latin, &SHIPPED).unwrap_err().to_string();
    assert!(
        latin.contains("latin.toml:2:13") && latin.contains("UTF-8"),
        "{latin}"
    );
}

#[test]
fn colour_is_for_those_who_ask() {
    let problems = try_parse("[prxy]\n").unwrap_err();
    assert!(!problems.render(false).join("").contains('\x1b'));
    assert!(problems.render(true).join("").contains('\x1b'));
}

/// What is cut off or garbled anywhere is refused or accepted, never a panic, and every message can be rendered.
#[test]
fn no_text_makes_it_panic() {
    let try_one = |text: &str| {
        if let Err(problems) = try_parse(text) {
            assert!(!problems.render(false).is_empty());
        }
    };
    assert!(FULL.is_ascii(), "so that it can be cut anywhere");
    for end in 0..FULL.len() {
        try_one(&FULL[..end]);
    }
    // Not each place, to keep this to a second.
    for place in (0..FULL.len()).step_by(4) {
        for odd in ["", "\"", "[", "=", "9", "\u{0}", "é"] {
            try_one(&format!("{}{odd}{}", &FULL[..place], &FULL[place + 1..]));
        }
    }
    try_one(&"[".repeat(100_000));
    try_one(&format!("a = {}", "[".repeat(100_000)));
    try_one(&format!("[log]\nlevel = \"{}\"", "x".repeat(1_000_000)));
}

#[test]
fn ten_thousand_servers_are_checked_at_once() {
    let servers: Vec<String> = (0..10_000)
        .map(|n| {
            format!(
                "{{ name = \"s{n}\", address = \"10.0.{}.{}:80\" }}",
                n / 250,
                n % 250
            )
        })
        .collect();
    let text = format!(
        "{SMALL}\n[[pool]]\nname = \"big\"\nservers = [{}]\n",
        servers.join(",\n")
    );
    assert_eq!(parse(&text).pools[1].servers.len(), 10_000);
}

#[test]
fn a_route_of_all_listeners_leaves_tcp_ones_alone() {
    let config = parse(
        r#"
[[listener]]
name = "web"
bind = "127.0.0.1:80"
pool = "app"

[[listener]]
name = "db"
bind = ["127.0.0.1:5432", "unix:db.sock"]
mode = "tcp"
connect = ["https-redirect"]

[[route]]
path = "/api"

[[pool]]
name = "app"
proxy-protocol = "v2"
servers = [{ address = "unix:app.sock" }]
"#,
    );
    let [web, db] = &config.listeners[..] else {
        panic!("{:?}", config.listeners);
    };
    assert!(web.router.is_some() && db.router.is_none());
    let folder = config.source.folder();
    let sockets: Vec<String> = db.bind.iter().map(|bind| bind.value.to_string()).collect();
    let own = format!("unix:{}", folder.join("db.sock").display());
    assert_eq!(sockets, ["127.0.0.1:5432".to_owned(), own]);
    let server = format!("unix:{}", folder.join("app.sock").display());
    assert_eq!(config.pools[0].servers[0].address, server);
}

#[test]
fn each_key_of_the_schema_is_described() {
    let schema = config::schema();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let mut tables: Vec<&Value> = schema["$defs"].as_object().unwrap().values().collect();
    tables.push(&schema);
    let mut keys = 0;
    for table in tables {
        assert!(table["description"].is_string(), "{table}");
        let Some(properties) = table["properties"].as_object() else {
            continue;
        };
        assert_eq!(table["additionalProperties"], false, "{table}");
        for (key, property) in properties {
            assert!(
                property["description"].is_string(),
                "{key} has no description"
            );
            keys += 1;
        }
    }
    assert!(keys > 50, "{keys}");
    assert_eq!(
        schema["$defs"]["Pool"]["properties"]["retries"]["default"],
        2
    );
    assert_eq!(schema["$defs"]["Pool"]["required"], json!(["name"]));
}

fn parse(text: &str) -> Config {
    try_parse(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn try_parse(text: &str) -> Result<Config, Problems> {
    let source = Source {
        path: Path::new("etc/tidegate.toml").to_owned(),
        text: text.to_owned(),
    };
    config::parse(source, &SHIPPED)
}

fn names(config: &Config) -> Vec<&str> {
    config
        .plugins
        .iter()
        .map(|plugin| plugin.name.as_str())
        .collect()
}

fn plugin<'a>(config: &'a Config, name: &str) -> &'a config::checked::Plugin {
    let mut plugins = config.plugins.iter();
    plugins
        .find(|plugin| plugin.name == name)
        .unwrap_or_else(|| panic!("no plugin {name}"))
}
