//! Servers that come and go by themselves: names that DNS resolves, and servers files. DNS is a real server of the test's own; the
//! servers of one name have one port and addresses of their own, so they listen on 127.0.0.2 and further.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tidegate_tests::{
    Authority, Dns, Front, Load, Origin, Port, Proxy, SERVFAIL, Setup, listener, reply, server,
    wait_until,
};

/// Answers are asked for again at once, within reason.
const QUICK: &str = "min-ttl = \"30ms\"\ntimeout = \"200ms\"";

#[test]
fn addresses_come_and_go_under_load_without_a_failed_request() {
    let hosts = Hosts::new();
    let all = ["a", "b", "c"].map(|name| hosts.origin(name));
    let dns = Dns::start();
    dns.host("app.test", 0, &[ip(2), ip(3)]);
    let health =
        "health = { path = \"/health\", interval = \"30ms\" }\nbalancer = \"least-connections\"";
    let proxy = Proxy::start(dns.section(QUICK) + &hosts.site(health));
    assert_eq!(
        proxy.get("/").status(),
        200,
        "the start waits for the first answer"
    );
    assert_eq!(servers(&proxy), ["web@127.0.0.2", "web@127.0.0.3"]);
    let load = Load::start(proxy.address("web"), &["/"]);
    wait_until("both are used", || all[..2].iter().all(|o| users(o) > 20));
    wait_until("both were probed", || {
        let metrics = proxy.metrics();
        ["web@127.0.0.2", "web@127.0.0.3"]
            .iter()
            .all(|name| probes(&metrics, name) > 3.0)
    });
    let before = probes(&proxy.metrics(), "web@127.0.0.3");
    dns.host("app.test", 0, &[ip(3), ip(4)]);
    wait_until("the new one is used", || users(&all[2]) > 20);
    let left = users(&all[0]);
    load.wait_for_more(100);
    assert_eq!(users(&all[0]), left, "the old one is not");
    load.finish().expect_only(200);
    assert_eq!(servers(&proxy), ["web@127.0.0.3", "web@127.0.0.4"]);
    assert!(
        probes(&proxy.metrics(), "web@127.0.0.3") >= before,
        "what is known of one that stays stays"
    );
    let status = proxy.status();
    let plugins = status["plugins"].as_array().unwrap();
    assert!(!plugins.is_empty());
    for plugin in plugins {
        assert_eq!(plugin["since_generation"], 1, "{plugin}");
        assert_eq!(plugin["failures"], 0, "{plugin}");
    }
    let probed = all[1].requests();
    let probe = probed.iter().find(|request| request.target() == "/health");
    let host = format!("app.test:{}", hosts.port.number());
    assert_eq!(probe.unwrap().header("host"), Some(host.as_str()));
}

#[test]
fn users_stay_with_a_server_that_stays() {
    let hosts = Hosts::new();
    let _all = ["a", "b", "c"].map(|name| hosts.origin(name));
    let dns = Dns::start();
    dns.host("app.test", 0, &[ip(2), ip(3)]);
    let sticky = "sticky = { plugin = \"sticky-cookie\", cookie = \"SERVERID\" }";
    let proxy = Proxy::start(dns.section(QUICK) + &hosts.site(sticky));
    let stuck_to = |name: &str| {
        let cookie = format!("GET / HTTP/1.1\nhost: x\ncookie: SERVERID={name}");
        proxy.send(&cookie).text()
    };
    for _ in 0..4 {
        assert_eq!(stuck_to("web@127.0.0.3"), "b");
    }
    dns.host("app.test", 0, &[ip(3), ip(4)]);
    wait_until("the other is gone", || {
        servers(&proxy) == ["web@127.0.0.3", "web@127.0.0.4"]
    });
    for _ in 0..4 {
        assert_eq!(stuck_to("web@127.0.0.3"), "b", "as before");
    }
    assert_ne!(
        stuck_to("web@127.0.0.2"),
        "a",
        "one that is gone loses its users"
    );
}

#[test]
fn a_name_is_asked_for_again_as_its_ttl_ends() {
    let dns = Dns::start();
    let ttls = [("short", 0), ("second", 1), ("long", 3_600)];
    let mut config = dns.section("min-ttl = \"100ms\"\nmax-ttl = \"1500ms\"");
    config += &listener("web", "pool = \"short\"");
    for (name, ttl) in ttls {
        dns.host(&format!("{name}.test"), ttl, &[ip(2)]);
        config += &format!(
            "[[pool]]\nname = \"{name}\"\nservers = [{{ address = \"{name}.test:80\" }}]\n"
        );
    }
    let _proxy = Proxy::start(config);
    for (name, ttl) in [("short", 100), ("second", 1_000), ("long", 1_500)] {
        let name = format!("{name}.test");
        wait_until(&format!("three questions for {name}"), || {
            dns.questions(&name).len() >= 3
        });
        let asked = dns.questions(&name);
        for pair in asked.windows(2) {
            let apart = pair[1] - pair[0];
            assert!(apart >= Duration::from_millis(ttl - 5), "{name}: {apart:?}");
        }
    }
}

#[test]
fn a_service_tells_ports_and_weights_and_who_is_a_backup() {
    let all = ["a", "b", "spare"].map(Origin::named);
    let dns = Dns::start();
    dns.host("h.test", 0, &[Ipv4Addr::LOCALHOST.into()]);
    let [a, b, spare] = all.each_ref().map(|origin| origin.address().port());
    let service = "_http._tcp.app.test";
    let records = [
        (1, 3, a, "h.test"),
        (1, 1, b, "h.test"),
        (2, 9, spare, "h.test"),
    ];
    dns.service(service, 0, &records);
    let pool = format!(
        "[[pool]]\nname = \"app\"\nservers = [{{ name = \"web\", address = \"srv:{service}\" }}]\n"
    );
    let config = dns.section(QUICK) + &listener("web", "pool = \"app\"") + &pool;
    let proxy = Proxy::start(format!("[proxy]\nworkers = 1\n{config}"));
    let seen = proxy.origins("/", 40);
    let count = |name: &str| seen.iter().filter(|seen| *seen == name).count();
    assert_eq!([count("a"), count("b"), count("spare")], [30, 10, 0]);
    assert!(servers(&proxy).contains(&format!("web@127.0.0.1:{a}")));
    dns.service(service, 0, &records[2..]);
    wait_until("it is alone now", || servers(&proxy).len() == 1);
    assert_eq!(proxy.get("/").text(), "spare");
    dns.service(service, 0, &[(1, 0, b, "h.test"), (1, 0, a, "h.test")]);
    wait_until("others came", || servers(&proxy).len() == 2);
    let seen = proxy.origins("/", 10);
    assert_eq!(
        seen.iter().filter(|seen| *seen == "a").count(),
        5,
        "{seen:?}"
    );
}

#[test]
fn the_last_good_answer_outlives_a_dns_that_fails() {
    let hosts = Hosts::new();
    let _a = hosts.origin("a");
    let dns = Dns::start();
    dns.host("app.test", 0, &[ip(2)]);
    let proxy = Proxy::start(dns.section(QUICK) + &hosts.site(""));
    let failed = || {
        let result = [("result", "failed")];
        proxy.metrics().sum("tidegate_dns_lookups_total", &result)
    };
    for how in ["silence", "SERVFAIL"] {
        match how {
            "silence" => dns.fall_silent(),
            _ => dns.fail(SERVFAIL),
        }
        let before = failed();
        wait_until(how, || failed() >= before + 2.0);
        assert_eq!(proxy.get("/").text(), "a", "{how}");
        assert_eq!(proxy.metrics().sum("tidegate_dns_names_failing", &[]), 1.0);
        let status = proxy.status();
        let name = &status["pools"][0]["names"][0];
        assert!(
            name["problem"].is_string() && name["servers"] == 1,
            "{name}"
        );
    }
    proxy.wait_for_log(&["WARN", "name can't be resolved", "app.test"]);
    dns.host("app.test", 0, &[]);
    dns.recover();
    dns.host("app.test", 0, &[ip(2)]);
    wait_until("all is well", || {
        proxy.metrics().sum("tidegate_dns_names_failing", &[]) == 0.0
    });
    proxy.wait_for_log(&["INFO", "name is resolved again", "app.test"]);
}

#[test]
fn a_name_that_does_not_exist_is_given_up_after_a_while() {
    let hosts = Hosts::new();
    let (_a, b) = (hosts.origin("a"), hosts.origin("b"));
    let dns = Dns::start();
    dns.host("app.test", 0, &[ip(2)]);
    let held = format!("{QUICK}\nhold-missing = \"600ms\"");
    let proxy = Proxy::start(dns.section(&held) + &hosts.site(""));
    dns.remove("app.test");
    let missing = [("result", "missing")];
    wait_until("it is missed", || {
        proxy.metrics().sum("tidegate_dns_lookups_total", &missing) > 0.0
    });
    assert_eq!(proxy.get("/").text(), "a", "for now");
    wait_until("it is given up", || proxy.get("/").status() == 503);
    proxy.wait_for_log(&["ERROR", "name is given up", "NXDOMAIN"]);
    dns.host("app.test", 0, &[ip(3)]);
    wait_until("another comes", || proxy.get("/").status() == 200);
    assert_eq!(b.served(), 1);
}

#[test]
fn a_start_does_not_need_dns() {
    let hosts = Hosts::new();
    let _a = hosts.origin("a");
    let dns = Dns::start();
    dns.fall_silent();
    let hasty = format!("{QUICK}\nwait = \"100ms\"");
    let proxy = Proxy::start(dns.section(&hasty) + &hosts.site(""));
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 503);
    assert_eq!(proxy.logged("/")["fault"], "no-server");
    dns.host("app.test", 0, &[ip(2)]);
    dns.recover();
    wait_until("it is resolved", || proxy.get("/").status() == 200);
}

#[test]
fn a_name_brings_no_more_servers_than_it_may() {
    let hosts = Hosts::new();
    let _a = hosts.origin("a");
    let dns = Dns::start();
    dns.host("app.test", 0, &[ip(2), ip(3), ip(4), ip(5), ip(2)]);
    let proxy = Proxy::start(dns.section(QUICK) + &hosts.site("max-addresses = 2"));
    assert_eq!(servers(&proxy), ["web@127.0.0.2", "web@127.0.0.3"]);
    proxy.wait_for_log(&["WARN", "more addresses than may be used", "addresses=4"]);
}

#[test]
fn the_hosts_file_comes_before_dns_and_ipv4_before_ipv6() {
    let (v4, v6) = (Origin::named("v4"), Origin::named("v6"));
    let dns = Dns::start();
    dns.host(
        "both.test",
        0,
        &["::1".parse().unwrap(), Ipv4Addr::LOCALHOST.into()],
    );
    let port = v4.address().port();
    let pools = [("app", "localhost"), ("other", "both.test")].map(|(name, host)| {
        format!("[[pool]]\nname = \"{name}\"\nservers = [{{ name = \"s\", address = \"{host}:{port}\" }}]\n")
    });
    let config = dns.section(QUICK) + &listener("web", "pool = \"app\"") + &pools.concat();
    let proxy = Proxy::start(config);
    assert_eq!(proxy.get("/").text(), "v4");
    assert!(dns.questions("localhost").is_empty());
    let status = proxy.status();
    for pool in status["pools"].as_array().unwrap() {
        assert_eq!(pool["servers"].as_array().unwrap().len(), 1, "{pool}");
        assert_eq!(pool["servers"][0]["name"], "s@127.0.0.1");
    }
    drop(v6);
}

#[test]
fn a_servers_file_is_followed_and_a_broken_one_changes_nothing() {
    let all = ["a", "b"].map(Origin::named);
    let listed = |origins: &[&Origin]| {
        let servers: Vec<_> = origins.iter().map(|origin| server(origin, "")).collect();
        format!("servers = [\n  {}\n]\n", servers.join(",\n  "))
    };
    let config = listener("web", "pool = \"app\"")
        + "[[pool]]\nname = \"app\"\nservers-file = \"servers.toml\"\n";
    let setup = Setup::new(config).file("servers.toml", listed(&[&all[0]]));
    assert_eq!(setup.run("check").0, 0);
    let proxy = setup.start();
    assert_eq!(proxy.get("/").text(), "a");
    let load = Load::start(proxy.address("web"), &["/"]);
    proxy.write_file("servers.toml", listed(&[&all[0], &all[1]]));
    wait_until("b is used", || all[1].served() > 10);
    proxy.write_file("servers.toml", "servers = [\n  { adress = \"a:1\" },\n]\n");
    let problem = || proxy.status()["pools"][0]["servers_file"]["problems"][0].clone();
    wait_until("the status tells", || problem().is_string());
    let told = problem().to_string();
    assert!(
        told.contains("servers.toml:2:5") && told.contains("adress"),
        "{told}"
    );
    proxy.wait_for_log(&["ERROR", "servers file rejected"]);
    assert_eq!(servers(&proxy), ["a", "b"], "as they were");
    assert_eq!(proxy.reload().status(), 422, "nor does a reload take it");
    proxy.write_file("servers.toml", listed(&[&all[1]]));
    wait_until("a is gone", || servers(&proxy) == ["b"]);
    assert!(problem().is_null());
    load.finish().expect_only(200);
    assert_eq!(proxy.status()["plugins"][0]["since_generation"], 1);
}

#[test]
fn a_servers_file_may_be_json_with_names_and_is_checked() {
    let hosts = Hosts::new();
    let _all = ["a", "b"].map(|name| hosts.origin(name));
    let dns = Dns::start();
    dns.host("app.test", 0, &[ip(2)]);
    let own = Origin::named("own");
    let config = dns.section(QUICK)
        + &listener("web", "pool = \"app\"")
        + &format!(
            "[[pool]]\nname = \"app\"\nservers = [{}]\nservers-file = \"list/servers.json\"\n",
            server(&own, "")
        );
    let setup = Setup::new(config);
    std::fs::create_dir(setup.path().join("list")).unwrap();
    let file = setup.path().join("list/servers.json");
    std::fs::write(&file, "[\n  { \"name\": \"own\", \"address\": \"x:1\" }\n]").unwrap();
    let (code, out, err) = setup.run("check");
    let told = out + &err;
    assert!(
        code == 1 && told.contains("servers.json:2:13") && told.contains("is taken"),
        "{told}"
    );
    let entry = format!(
        "[{{ \"name\": \"web\", \"address\": \"app.test:{}\" }}]",
        hosts.port.number()
    );
    std::fs::write(&file, entry).unwrap();
    let proxy = setup.start();
    assert_eq!(servers(&proxy), ["own", "web@127.0.0.2"]);
    dns.host("app.test", 0, &[ip(3)]);
    wait_until("names are followed", || {
        servers(&proxy) == ["own", "web@127.0.0.3"]
    });
}

#[test]
fn sessions_end_with_a_server_that_is_gone_where_they_are_to() {
    let hosts = Hosts::new();
    let origins = ["a", "b"].map(|name| hosts.origin(name));
    let dns = Dns::start();
    dns.host("app.test", 0, &[ip(2)]);
    let lines = "on-marked-down = \"close\"";
    let config = dns.section(QUICK)
        + &hosts
            .site(lines)
            .replacen("pool = \"app\"", "pool = \"app\"\nmode = \"tcp\"", 1);
    let proxy = Proxy::start(config);
    let mut session = tidegate_tests::Client::connect(proxy.address("web"));
    assert_eq!(session.get("/").text(), "a");
    dns.host("app.test", 0, &[ip(3)]);
    wait_until("it is gone", || servers(&proxy) == ["web@127.0.0.3"]);
    assert!(session.closed(), "a session with it ends");
    assert_eq!(proxy.get("/").text(), "b");
    drop(origins);
}

#[test]
fn a_certificate_bears_the_name_as_it_is_written() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let front = Front::of(origin.address(), &ca.issue(&["app.test"]));
    let dns = Dns::start();
    dns.host("app.test", 0, &[Ipv4Addr::LOCALHOST.into()]);
    let port = front.address().port();
    dns.service("_https._tcp.app.test", 0, &[(0, 0, port, "app.test")]);
    for address in [
        format!("app.test:{port}"),
        "srv:_https._tcp.app.test".to_owned(),
    ] {
        let pool = format!(
            "[[pool]]\nname = \"app\"\ntls = {{ ca = \"ca.pem\" }}\nservers = [{{ address = \"{address}\" }}]\n"
        );
        let config = dns.section(QUICK) + &listener("web", "pool = \"app\"") + &pool;
        let proxy = Setup::new(config).file("ca.pem", ca.pem()).start();
        assert_eq!(proxy.get("/").text(), "app", "{address}");
    }
    let names: Vec<_> = front.met().into_iter().map(|met| met.server_name).collect();
    assert_eq!(
        names,
        [Some("app.test".to_owned()), Some("app.test".to_owned())]
    );
}

#[test]
fn a_thousand_names_are_looked_up_and_followed() {
    let hosts = Hosts::new();
    let all = ["a", "b"].map(|name| hosts.origin(name));
    let dns = Dns::start();
    let names: Vec<_> = (0..1_000).map(|n| format!("n{n}.test")).collect();
    names.iter().for_each(|name| dns.host(name, 0, &[ip(2)]));
    let port = hosts.port.number();
    let servers: Vec<_> = names
        .iter()
        .map(|name| format!("{{ address = \"{name}:{port}\" }}"))
        .collect();
    let pool = format!(
        "[[pool]]\nname = \"app\"\nservers = [{}]\n",
        servers.join(", ")
    );
    let slow = "min-ttl = \"1s\"\nwait = \"30s\"";
    let proxy = Proxy::start(dns.section(slow) + &listener("web", "pool = \"app\"") + &pool);
    let known = || proxy.metrics().sum("tidegate_dns_names", &[]);
    assert_eq!((known(), self::servers(&proxy).len()), (1_000.0, 1_000));
    assert_eq!(proxy.get("/").text(), "a");
    let load = Load::start(proxy.address("web"), &["/"]);
    names.iter().for_each(|name| dns.host(name, 0, &[ip(3)]));
    let gone = |name: &String| name.ends_with("@127.0.0.3");
    wait_until("all have moved", || self::servers(&proxy).iter().all(gone));
    load.finish().expect_only(200);
    assert!(all[1].served() > 0);
}

/// Servers of one name: one port on several addresses.
struct Hosts {
    port: Port,
    next: std::cell::Cell<u8>,
}

impl Hosts {
    fn new() -> Hosts {
        Hosts {
            port: Port::free(),
            next: std::cell::Cell::new(2),
        }
    }

    /// On 127.0.0.2, then 127.0.0.3 and so on.
    fn origin(&self, name: &str) -> Origin {
        let own = name.to_owned();
        let last = self.next.replace(self.next.get() + 1);
        Origin::on(
            (ip(last), self.port.number()).into(),
            name,
            move |_, stream| reply(stream, 200, &[("x-origin", &own)], &format!("{own}\n")),
        )
    }

    fn site(&self, lines: &str) -> String {
        let address = format!("app.test:{}", self.port.number());
        listener("web", "pool = \"app\"")
            + &format!(
                "[[pool]]\nname = \"app\"\n{lines}\nservers = [{{ name = \"web\", address = \"{address}\" }}]\n"
            )
    }
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

fn servers(proxy: &Proxy) -> Vec<String> {
    let status = proxy.status();
    let servers = status["pools"][0]["servers"].as_array().unwrap();
    let names = servers
        .iter()
        .map(|server| server["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

/// Requests that were no probes.
fn users(origin: &Origin) -> usize {
    let requests = origin.requests();
    requests.iter().filter(|r| r.target() != "/health").count()
}

fn probes(metrics: &tidegate_tests::Metrics, server: &str) -> f64 {
    metrics.sum("tidegate_server_probes_total", &[("server", server)])
}
