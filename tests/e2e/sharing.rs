//! Two proxies with one Redis, and whatever may become of it: limits and sticky tables are shared, and no request suffers when
//! it is slow, hangs, dies or wants another password. And an application whose sessions are in memory, or in Redis.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_tests::{
    Authority, Client, Load, Origin, Port, Process, Proxy, Server, Setup, Signal, curl, guest,
    listener, pool, wait_until,
};

const TABLE: &str = "sticky = { plugin = \"sticky-table\", on = \"query:u\" }";

#[test]
fn two_proxies_bring_users_to_the_same_servers() {
    let (redis, origins) = (Redis::start(&[]), abc());
    let proxies = pair(&redis, &sticky(&origins));
    let users: Vec<String> = (0..9).map(|user| format!("/?u={user}")).collect();
    let first: Vec<String> = users
        .iter()
        .map(|user| proxies[0].get(user).text())
        .collect();
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3, "{first:?}");
    settle(&proxies[0], "tidegate_state_writes_total", "done", 9.0);
    // One request of the second proxy's own, so that its balancer stands elsewhere.
    proxies[1].get("/");
    let ask = |proxy: &Proxy| -> Vec<String> {
        users.iter().map(|user| proxy.get(user).text()).collect()
    };
    assert_eq!(ask(&proxies[1]), first);
    let asked = |proxy: &Proxy, result| {
        let labels = [("result", result)];
        proxy.metrics().sum("tidegate_state_lookups_total", &labels)
    };
    assert_eq!(asked(&proxies[1], "hit"), 9.0);
    assert_eq!(ask(&proxies[1]), first);
    assert_eq!(
        asked(&proxies[1], "hit"),
        9.0,
        "by then they are known here"
    );
    let keys = redis.ask(&["keys", "*"]);
    assert!(keys.contains("tidegate:table:sticky-table@app"), "{keys}");
    let server = redis.any_value();
    assert!(
        ["a", "b", "c"].contains(&server.as_str()),
        "{server}: a name"
    );
}

#[test]
fn users_of_a_dead_server_find_the_same_new_one() {
    let (redis, origins) = (Redis::start(&[]), abc());
    let proxies = pair(&redis, &sticky(&origins));
    let first = proxies[0].get("/?u=ada").text();
    settle(&proxies[0], "tidegate_state_writes_total", "done", 1.0);
    assert_eq!(proxies[1].get("/?u=ada").text(), first);
    let dead = origins.iter().find(|origin| origin.name == first).unwrap();
    dead.stop();
    let second = proxies[0].get("/?u=ada").text();
    assert_ne!(second, first);
    settle(&proxies[0], "tidegate_state_writes_total", "done", 2.0);
    // The second proxy still believes in the first server; what it finds in its place gives way to what is in Redis.
    proxies[1].get("/?u=ada");
    wait_until("the proxies to agree", || {
        proxies
            .iter()
            .all(|proxy| proxy.get("/?u=ada").text() == second)
    });
}

#[test]
fn two_proxies_share_a_rate_limit() {
    let (redis, origin) = (Redis::start(&[]), Origin::named("a"));
    let proxies = pair(&redis, &limited("rate = \"1/h\", burst = 60", &origin));
    for _ in 0..40 {
        assert_eq!(proxies[0].get("/").status(), 200);
    }
    wait_until("what was taken to be told", || {
        redis.any_value().starts_with("20.")
    });
    // The other hears of it behind its first request.
    assert_eq!(proxies[1].get("/").status(), 200);
    settle(&proxies[1], "tidegate_state_settlements_total", "done", 1.0);
    let left = proxies[1].get("/").header("ratelimit").unwrap().to_owned();
    let left: u32 = left.split([';', '=']).nth(2).unwrap().parse().unwrap();
    assert!((16..=19).contains(&left), "60 less 40, 1 and 1: {left}");
    let more = (0..60).filter(|n| proxies[n % 2].get("/").status() == 200);
    // Each may take, before it hears of the other, what it believes to be there.
    let more = more.count() + 42;
    assert!((60..=80).contains(&more), "{more}");
    wait_until("nothing to be left for either", || {
        proxies.iter().all(|proxy| proxy.get("/").status() == 429)
    });
    let keys = redis.ask(&["keys", "*"]);
    assert!(keys.starts_with("tidegate:bucket:rate-limit@web"), "{keys}");
}

/// Per second 40, and 20 at once. Both proxies are asked for more than all of it.
#[test]
fn under_load_two_proxies_let_through_one_limit_and_a_burst() {
    let (redis, origin) = (Redis::start(&[]), Origin::named("a"));
    let proxies = pair(&redis, &limited("rate = \"40/s\", burst = 20", &origin));
    let begun = Instant::now();
    let loads = [0, 1].map(|n| Load::start(proxies[n].address("web"), &["/"]));
    wait_until("two seconds of load", || {
        begun.elapsed() > Duration::from_secs(2)
    });
    let tallies = loads.map(Load::finish);
    let took = begun.elapsed().as_secs_f64();
    let passed: u64 = tallies
        .iter()
        .filter_map(|tally| tally.statuses.get(&200))
        .sum();
    let refused: u64 = tallies
        .iter()
        .filter_map(|tally| tally.statuses.get(&429))
        .sum();
    // The rate, the burst; and for the second proxy a burst and what comes until it hears of the first, here at most 250 ms.
    let most = 40.0 * took + 20.0 + 20.0 + 10.0;
    assert!((passed as f64) <= most, "{passed} of {most} in {took} s");
    assert!(passed as f64 >= 40.0 * took * 0.8, "{passed} in {took} s");
    assert!(refused > 0);
    assert!(
        tallies.iter().all(|tally| tally.failures.is_empty()),
        "{tallies:?}"
    );
}

#[test]
fn what_one_proxys_service_has_allowed_the_other_does_not_ask_again() {
    let (redis, origin, service) = (Redis::start(&[]), Origin::named("a"), Origin::named("auth"));
    let config = "[[plugin]]\nname = \"sso\"\nshipped = \"ext-auth\"\ngrants = [\"fetch:auth\"]\nconfig = { pool = \"auth\", keep = \"1m\", shared = true }\n"
        .to_owned()
        + &listener("web", "pool = \"app\"\nfilters = [\"sso\"]")
        + &pool("app", "", &[&origin])
        + &pool("auth", "", &[&service]);
    let proxies = pair(&redis, &config);
    let ask = |proxy: &Proxy, user: &str| {
        let request = format!("GET / HTTP/1.1\nhost: x\nauthorization: {user}");
        assert_eq!(proxy.send(&request).status(), 200);
    };
    ask(&proxies[0], "ada");
    settle(&proxies[0], "tidegate_state_writes_total", "done", 1.0);
    ask(&proxies[1], "ada");
    assert_eq!(service.served(), 1, "the second proxy found it in Redis");
    ask(&proxies[1], "bob");
    assert_eq!(service.served(), 2, "nobody had allowed this one");
}

#[test]
fn plugins_of_ones_own_share_sums_and_values() {
    let redis = Redis::start(&[]);
    let state = format!("[state]\nredis = \"redis://{}/2\"\n", redis.port.address());
    let config = "[[plugin]]\nname = \"guest\"\npath = \"guest.wasm\"\n".to_owned()
        + &listener("web", "filters = [\"guest\"]");
    let start = |config: String| {
        Setup::new(config)
            .file("guest.wasm", guest("sharer"))
            .start()
    };
    let proxies = [0, 1].map(|_| start(format!("{state}timeout = \"1s\"\n{config}")));
    proxies
        .iter()
        .for_each(|proxy| wait_for_breaker(proxy, 0.0));
    let ask = |proxy: &Proxy, path: &str| {
        let answer = proxy.get(path);
        (answer.status(), answer.text().trim().to_owned())
    };
    let ok = |text: &str| (200, text.to_owned());
    for proxy in [0, 1, 0, 0, 1] {
        ask(&proxies[proxy], "/add");
    }
    wait_until("both to know of five", || {
        proxies.iter().all(|proxy| ask(proxy, "/peek") == ok("5"))
    });
    assert_eq!(ask(&proxies[0], "/look"), (404, String::new()));
    assert_eq!(ask(&proxies[0], "/set"), ok("true"));
    settle(&proxies[0], "tidegate_state_writes_total", "done", 1.0);
    assert_eq!(ask(&proxies[1], "/get"), ok("false"), "not known here yet");
    assert_eq!(ask(&proxies[1], "/look"), ok("a value"));
    assert_eq!(ask(&proxies[1], "/get"), ok("true"));
    assert_eq!(ask(&proxies[1], "/delete"), ok("deleted"));
    settle(&proxies[1], "tidegate_state_writes_total", "done", 1.0);
    assert_eq!(ask(&proxies[1], "/look").0, 404);
    for never in ["/loop", "/long"] {
        assert_eq!(ask(&proxies[0], never).0, 503, "{never}");
    }
    // Where nothing is shared it is a store as any.
    let alone = start(config);
    assert_eq!(ask(&alone, "/look").0, 404);
    assert_eq!(ask(&alone, "/set"), ok("true"));
    assert_eq!(ask(&alone, "/look"), ok("a value"));
    assert_eq!(ask(&alone, "/add"), ok("1"));
}

#[test]
fn a_redis_that_dies_and_comes_back_costs_no_request() {
    let origins = abc();
    let mut redis = Redis::start(&[]);
    let config = listener(
        "web",
        "pool = \"app\"\nfilters = [{ plugin = \"rate-limit\", rate = \"1000000/s\", by = \"query:u\" }]",
    ) + &sticky_pool(&origins);
    let proxies = pair(&redis, &config);
    let paths: Vec<String> = (0..40).map(|user| format!("/?u={user}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let loads: Vec<Load> = proxies
        .iter()
        .map(|proxy| Load::start(proxy.address("web"), &paths))
        .collect();
    let more = || loads.iter().for_each(|load| load.wait_for_more(300));
    more();
    for _ in 0..2 {
        redis.kill();
        proxies
            .iter()
            .for_each(|proxy| wait_for_breaker(proxy, 1.0));
        more();
        redis.restart();
        proxies
            .iter()
            .for_each(|proxy| wait_for_breaker(proxy, 0.0));
        more();
    }
    for load in loads {
        let tally = load.finish();
        tally.expect_only(200);
    }
    shares_again(&proxies);
}

#[test]
fn a_redis_that_hangs_is_waited_for_no_longer_than_told_and_soon_not_at_all() {
    let (redis, origins) = (Redis::start(&[]), abc());
    let more = "timeout = \"400ms\"";
    let proxies = pair_with(&redis, more, &sticky(&origins));
    proxies[0].get("/?u=known");
    redis.process().signal(Signal::STOP);
    let ask = |user: &str| {
        let begun = Instant::now();
        assert_eq!(proxies[0].get(&format!("/?u={user}")).status(), 200);
        begun.elapsed()
    };
    assert!(
        ask("known") < Duration::from_millis(300),
        "a user that is known here waits for nobody"
    );
    let mut slowest = Duration::ZERO;
    let mut user = 0;
    wait_until("the breaker to open", || {
        user += 1;
        slowest = slowest.max(ask(&format!("new-{user}")));
        breaker(&proxies[0]) == 1.0
    });
    let bounds = Duration::from_millis(350)..Duration::from_millis(900);
    assert!(bounds.contains(&slowest), "{slowest:?}");
    assert!(user <= 4, "{user} requests waited");
    let timeouts = [("result", "timeout")];
    let timeouts = || {
        proxies[0]
            .metrics()
            .sum("tidegate_state_lookups_total", &timeouts)
    };
    let before = timeouts();
    for user in 0..20 {
        let took = ask(&format!("later-{user}"));
        assert!(took < Duration::from_millis(300), "{took:?}");
    }
    assert_eq!(timeouts(), before, "nobody asked");
    redis.process().signal(Signal::CONT);
    proxies
        .iter()
        .for_each(|proxy| wait_for_breaker(proxy, 0.0));
    shares_again(&proxies);
}

#[test]
fn a_wrong_password_is_told_and_refuses_no_start() {
    let (redis, origins) = (Redis::start(&["--requirepass", "right-1"]), abc());
    let url = |password: &str| format!("redis = \"redis://:{password}@{}\"", redis.port.address());
    let config = |password: &str| format!("[state]\n{}\n{}", url(password), sticky(&origins));
    let mut proxies = [0, 1].map(|_| Proxy::start(config("wrong-1")));
    for proxy in &proxies {
        assert_eq!(proxy.get("/?u=1").status(), 200);
        proxy.wait_for_log(&["redis is not asked", "refuses the user or the password"]);
        let labels = [("result", "password")];
        assert!(
            proxy
                .metrics()
                .sum("tidegate_state_connects_total", &labels)
                > 0.0
        );
        let shown = proxy.admin("GET", "/api/v1/config", b"").text();
        assert!(shown.contains("redis://<redacted>@127.0.0.1"), "{shown}");
        let told = [shown, proxy.status().to_string(), proxy.stderr().join("\n")];
        assert!(
            told.iter().all(|text| !text.contains("wrong-1")),
            "{told:?}"
        );
    }
    let refused = config("wrong-1").replace("redis://", "http://");
    let (code, _, said) = Setup::new(refused).run("check");
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("does not begin with redis://") && !said.contains("wrong-1"),
        "{said}"
    );
    for proxy in &mut proxies {
        proxy.reconfigure(config("right-1"));
        wait_for_breaker(proxy, 0.0);
        proxy.wait_for_log(&["redis answers"]);
    }
    shares_again(&proxies);
    // And without `[state]` again each is on its own.
    proxies[0].reconfigure(sticky(&origins));
    let done = || proxies[0].metrics().sum("tidegate_state_writes_total", &[]);
    let before = done();
    proxies[0].get("/?u=alone");
    assert_eq!(done(), before);
}

#[test]
fn redis_is_spoken_to_over_tls() {
    let authority = Authority::new("redis");
    let issued = authority.issue(&["127.0.0.1", "localhost"]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (ca, chain) = (
        file("ca.pem", &authority.pem()),
        file("chain.pem", &issued.chain),
    );
    let key = file("key.pem", &issued.key);
    let port = Port::free();
    let tls = port.number().to_string();
    let redis = Redis::start(&[
        "--tls-port",
        &tls,
        "--tls-cert-file",
        &chain,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ]);
    let origins = abc();
    let config = |ca: &str| {
        format!(
            "[state]\nredis = \"rediss://localhost:{tls}\"\n{ca}\n{}",
            sticky(&origins)
        )
    };
    let trusting = config(&format!("ca = \"{ca}\""));
    let proxies = [0, 1].map(|_| Proxy::start(&trusting));
    proxies
        .iter()
        .for_each(|proxy| wait_for_breaker(proxy, 0.0));
    shares_again(&proxies);
    assert!(redis.ask(&["dbsize"]).parse::<u32>().unwrap() > 0);
    let stranger = Proxy::start(config(""));
    stranger.wait_for_log(&["redis is not asked", "certificate"]);
    assert_eq!(stranger.get("/?u=1").status(), 200);
}

#[test]
fn flask_keeps_its_sessions_in_memory_behind_a_sticky_cookie() {
    let shops = SHOPS.map(|name| Server::start(&format!("import shop; shop.serve({name:?})")));
    let site = |sticky| listener("web", "pool = \"shop\"") + &shop(sticky, &shops);
    let proxy = Proxy::start(site(
        "sticky = { plugin = \"sticky-cookie\", cookie = \"AT\" }",
    ));
    let visitors: Vec<Visitor> = (0..6).map(|_| Visitor::default()).collect();
    let mut seen = BTreeSet::new();
    for visitor in &visitors {
        let (at, first) = visitor.goes_to(&proxy);
        assert_eq!(first, 1);
        for count in 2..6 {
            assert_eq!(visitor.goes_to(&proxy), (at.clone(), count));
        }
        seen.insert(at);
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    // Without it a visitor is a stranger at the next server.
    let proxy = Proxy::start(site(""));
    let stranger = Visitor::default();
    let counts: Vec<u32> = (0..6).map(|_| stranger.goes_to(&proxy).1).collect();
    assert_ne!(counts, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn flask_keeps_its_sessions_in_redis_wherever_a_visitor_comes() {
    let redis = Redis::start(&[]);
    let port = redis.port.number();
    let shops =
        SHOPS.map(|name| Server::start(&format!("import shop; shop.serve({name:?}, {port})")));
    let proxy = Proxy::start(listener("web", "pool = \"shop\"") + &shop("", &shops));
    for visitor in (0..3).map(|_| Visitor::default()) {
        let visits: Vec<(String, u32)> = (0..9).map(|_| visitor.goes_to(&proxy)).collect();
        let counts: Vec<u32> = visits.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, (1..10).collect::<Vec<u32>>());
        let seen: BTreeSet<&String> = visits.iter().map(|(at, _)| at).collect();
        assert_eq!(seen.len(), 3, "{visits:?}");
    }
}

const SHOPS: [&str; 3] = ["a", "b", "c"];

fn shop(lines: &str, shops: &[Server; 3]) -> String {
    let servers = SHOPS.iter().zip(shops).map(|(name, shop)| {
        let address = shop.address();
        format!("{{ name = \"{name}\", address = \"{address}\" }}")
    });
    let servers = servers.collect::<Vec<_>>().join(", ");
    format!("\n[[pool]]\nname = \"shop\"\n{lines}\nservers = [{servers}]\n")
}

/// With a cookie jar, as curl keeps it.
struct Visitor(tempfile::NamedTempFile);

impl Default for Visitor {
    fn default() -> Visitor {
        Visitor(tempfile::NamedTempFile::new().unwrap())
    }
}

impl Visitor {
    /// Which server answers, and how many visits it knows of.
    #[track_caller]
    fn goes_to(&self, proxy: &Proxy) -> (String, u32) {
        let jar = self.0.path().display().to_string();
        let said = curl(&["-b", &jar, "-c", &jar, &proxy.url("/")]);
        let told = said.trim().split_once(' ');
        let (at, count) = told.unwrap_or_else(|| panic!("{said:?}"));
        (at.to_owned(), count.parse().unwrap())
    }
}

/// Sets no more in motion than one user: what one proxy has remembered the other knows.
#[track_caller]
fn shares_again(proxies: &[Proxy; 2]) {
    let before = proxies[0]
        .metrics()
        .sum("tidegate_state_writes_total", &[("result", "done")]);
    let server = proxies[0].get("/?u=once-more").text();
    settle(
        &proxies[0],
        "tidegate_state_writes_total",
        "done",
        before + 1.0,
    );
    // Wherever its balancer stands.
    for _ in 0..2 {
        assert_eq!(proxies[1].get("/?u=once-more").text(), server);
        proxies[1].get("/");
    }
    let hits = [("result", "hit")];
    assert!(
        proxies[1]
            .metrics()
            .sum("tidegate_state_lookups_total", &hits)
            > 0.0
    );
}

#[track_caller]
fn settle(proxy: &Proxy, metric: &str, result: &str, count: f64) {
    wait_until(&format!("{metric} {result} to be {count}"), || {
        proxy.metrics().sum(metric, &[("result", result)]) >= count
    });
}

fn breaker(proxy: &Proxy) -> f64 {
    proxy.metrics().sum("tidegate_state_breaker_open", &[])
}

#[track_caller]
fn wait_for_breaker(proxy: &Proxy, open: f64) {
    wait_until(&format!("the breaker to be {open}"), || {
        breaker(proxy) == open
    });
}

/// Two proxies that share this, connected.
fn pair(redis: &Redis, config: &str) -> [Proxy; 2] {
    pair_with(redis, "timeout = \"1s\"", config)
}

fn pair_with(redis: &Redis, more: &str, config: &str) -> [Proxy; 2] {
    let state = format!(
        "[state]\nredis = \"redis://{}\"\n{more}\n",
        redis.port.address()
    );
    let proxies = [0, 1].map(|_| Proxy::start(format!("{state}{config}")));
    proxies
        .iter()
        .for_each(|proxy| wait_for_breaker(proxy, 0.0));
    proxies
}

fn abc() -> [Origin; 3] {
    ["a", "b", "c"].map(Origin::named)
}

fn sticky(origins: &[Origin; 3]) -> String {
    listener("web", "pool = \"app\"") + &sticky_pool(origins)
}

fn sticky_pool(origins: &[Origin; 3]) -> String {
    pool("app", &format!("{TABLE}\nretries = 2"), &origins.each_ref())
}

fn limited(settings: &str, origin: &Origin) -> String {
    let filter = format!("{{ plugin = \"rate-limit\", by = [], {settings} }}");
    listener("web", &format!("pool = \"app\"\nfilters = [{filter}]")) + &pool("app", "", &[origin])
}

/// A server of the test's own.
struct Redis {
    port: Port,
    arguments: Vec<String>,
    folder: tempfile::TempDir,
    process: Option<Process>,
}

impl Redis {
    fn start(arguments: &[&str]) -> Redis {
        let mut redis = Redis {
            port: Port::free(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            folder: tempfile::tempdir().unwrap(),
            process: None,
        };
        redis.restart();
        redis
    }

    fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--port"])
            .arg(self.port.number().to_string())
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.arguments);
        self.process = Some(Process::start(&mut command));
        let address = self.port.address();
        wait_until("Redis to serve", || Client::try_connect(address).is_ok());
    }

    /// As a crash does.
    fn kill(&mut self) {
        self.process = None;
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// Of one key; keys have line breaks.
    fn any_value(&self) -> String {
        let script = "local k = redis.call('KEYS', '*')[1]; return k and redis.call('GET', k)";
        self.ask(&["eval", script, "0"])
    }

    fn ask(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.port.number().to_string()])
            .args(words)
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
