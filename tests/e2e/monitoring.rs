//! What `examples/10-monitoring` gives to Prometheus and Grafana: a real Prometheus scrapes a proxy, evaluates the alert rules, and
//! answers what the dashboard asks.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidegate_tests::{
    Authority, Client, Origin, Port, Process, Proxy, Setup, curl, get, listener, reply, root,
    server, tls_connect, wait_for, wait_until,
};

#[test]
fn prometheus_scrapes_and_answers_the_dashboard() {
    let proxy = busy();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let prometheus = Prometheus::start(folder.path(), &proxy.proxy);
    prometheus.wait_for_value("up{job=\"tidegate\"}", "1");
    let before = requests(&proxy.proxy);
    (0..7).for_each(|_| assert_eq!(proxy.proxy.get("/").status(), 200));
    let all = (before + 7.0).to_string();
    prometheus.wait_for_value(
        "sum(tidegate_requests_total{code=\"2xx\",pool=\"app\"})",
        &all,
    );

    let rules = prometheus.ask("rules", &[]);
    let rules = rules["groups"][0]["rules"]
        .as_array()
        .expect("rules")
        .clone();
    assert!(!rules.is_empty());
    wait_until("every rule is evaluated", || {
        let rules = prometheus.ask("rules", &[]);
        let rules = rules["groups"][0]["rules"]
            .as_array()
            .expect("rules")
            .clone();
        rules.iter().all(|rule| rule["health"] == "ok")
    });

    let asked = dashboard_expressions();
    assert!(asked.len() > 30, "{asked:?}");
    for expression in asked {
        let query = expression
            .replace("$instance", ".*")
            .replace("$__rate_interval", "1m");
        // An error of any kind panics in `ask`. Two scrapes make a rate.
        wait_for(&expression, || prometheus.query(&query).first().cloned());
    }
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_and_labels_that_exist() {
    let proxy = busy();
    let text = proxy.proxy.admin("GET", "/metrics", b"").text();
    let exist: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let alerts = fs::read_to_string(folder().join("alerts.yml")).expect("the rules");
    let dashboard = dashboard_expressions();
    let asked = dashboard.iter().chain([&alerts]);
    let mut found = 0;
    for name in asked.flat_map(|text| names(text)) {
        let family = name.strip_suffix("_bucket").unwrap_or(&name);
        assert!(exist.contains(family), "{name} is no metric of the proxy");
        found += 1;
    }
    assert!(found > 40, "only {found} names were found");
    let alerts = alerts.split("- alert:").map(str::to_owned);
    let mut found = 0;
    for expression in dashboard.iter().cloned().chain(alerts) {
        for name in names(&expression) {
            let known = labels_of(&text, &name);
            for label in labels_asked_for(&expression, &name) {
                assert!(
                    known.contains(&label) || label == "instance" || label == "job",
                    "{name} has no label {label}, but {known:?}: {expression}"
                );
                found += 1;
            }
        }
    }
    assert!(found > 60, "only {found} labels were found");
}

#[test]
fn each_alert_has_an_entry_in_the_runbook() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the reference");
    let (_, behind) = readme.split_once("\n## Alerts\n").expect("its section");
    let (section, _) = behind.split_once("\n## ").expect("the next section");
    let explained = section.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| `")?.split(" | ").collect();
        // What it means, and what to do.
        assert!(
            cells.len() == 3 && cells.iter().all(|cell| cell.len() > 3),
            "{line}"
        );
        cells[0].strip_suffix('`').map(str::to_owned)
    });
    let alerts = fs::read_to_string(folder().join("alerts.yml")).expect("the rules");
    let rules = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let explained: BTreeSet<String> = explained.collect();
    let rules: BTreeSet<String> = rules.map(str::to_owned).collect();
    assert_eq!(rules, explained, "left: alerts.yml, right: the README");
    let tests = fs::read_to_string(folder().join("alerts_test.yml")).expect("their tests");
    for rule in rules {
        let expected = tests.split(&format!("alertname: {rule}\n")).nth(1);
        let fires = expected.is_some_and(|test| test.trim_start().starts_with("exp_alerts:\n"));
        assert!(fires, "{rule} is never seen to fire in alerts_test.yml");
    }
}

/// A proxy where all has happened that the dashboard shows.
struct Busy {
    proxy: Proxy,
    _origin: Origin,
}

fn busy() -> Busy {
    let authority = Authority::new("authority");
    let issued = authority.issue(&["a.test"]);
    let origin = Origin::answering("a", |request, stream| {
        let status = if request.target() == "/500" { 500 } else { 200 };
        reply(stream, status, &[], "a")
    });
    let health =
        "health = { interval = \"100ms\" }\npassive = {}\nretries = 0\nbalancer = \"first\"";
    let gone = "{ name = \"gone\", address = \"127.0.0.1:1\", weight = 0 }";
    let config = listener("web", "router = \"router\"\npool = \"app\"")
        + &listener(
            "tls",
            "pool = \"app\"\ntls = { certificates = [\"a.pem\"] }",
        )
        + "[[route]]\nlisteners = [\"web\"]\npath = \"/lost\"\npool = \"lost\"\n"
        + &format!(
            "[[pool]]\nname = \"app\"\n{health}\nservers = [{}, {gone}]\n",
            server(&origin, ", max-connections = 100")
        )
        + "[[pool]]\nname = \"lost\"\nservers = [{ name = \"lost\", address = \"127.0.0.1:1\" }]\n";
    let setup = Setup::new(config).file("a.pem", issued.bundle());
    let proxy = setup.start();
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(proxy.get("/500").status(), 500);
    assert_eq!(proxy.get("/lost").status(), 503);
    let mut client = tls_connect(proxy.address("tls"), &authority, "a.test");
    let request = b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
    client.write_all(request).expect("it reads");
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let dead = [("server", "gone"), ("result", "failed")];
    wait_until("a probe has failed, and a handshake is over", || {
        let metrics = proxy.metrics();
        metrics.sum("tidegate_server_probes_total", &dead) > 0.0
            && metrics.sum("tidegate_tls_handshakes_total", &[]) > 0.0
    });
    Busy {
        proxy,
        _origin: origin,
    }
}

fn requests(proxy: &Proxy) -> f64 {
    let of = [("code", "2xx"), ("pool", "app")];
    proxy.metrics().sum("tidegate_requests_total", &of)
}

/// Of a metric as it is told.
fn labels_of(text: &str, name: &str) -> BTreeSet<String> {
    let begins = format!("{name}{{");
    let sample = text.lines().find_map(|line| line.strip_prefix(&begins));
    let labels = sample
        .unwrap_or_default()
        .split('}')
        .next()
        .unwrap_or_default();
    let labels = labels.split(',').filter_map(|label| label.split_once('='));
    labels.map(|(name, _)| name.to_owned()).collect()
}

/// Those that a selector of this metric names, and those that anything in the expression is grouped by.
fn labels_asked_for(expression: &str, name: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for behind in expression.split(&format!("{name}{{")).skip(1) {
        let selector = behind.split('}').next().unwrap_or_default();
        let matchers = selector.split('"').step_by(2).map(|part| {
            let part = part.trim_matches([',', ' ']);
            part.trim_end_matches(['=', '!', '~'])
        });
        labels.extend(
            matchers
                .filter(|label| !label.is_empty())
                .map(str::to_owned),
        );
    }
    for behind in expression.split(" by (").skip(1) {
        let group = behind.split(')').next().unwrap_or_default();
        labels.extend(group.split(", ").map(str::to_owned));
    }
    labels
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let Busy { proxy, _origin } = busy();
    let text = proxy.path().join("metrics.txt");
    let url = format!("http://{}/metrics", proxy.address("admin"));
    fs::write(&text, curl(&["-s", &url])).expect("a file can be written");
    let checked = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(fs::File::open(&text).expect("it was written"))
        .output()
        .expect("promtool runs");
    let said = String::from_utf8_lossy(&checked.stderr) + String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.trim().is_empty(), "{said}");
}

struct Prometheus {
    port: Port,
    _process: Process,
}

impl Prometheus {
    /// With the example's configuration, in a hurry.
    fn start(home: &Path, proxy: &Proxy) -> Prometheus {
        let config =
            fs::read_to_string(folder().join("prometheus.yml")).expect("its configuration");
        let (target, hurry) = ("127.0.0.1:9901", "_interval: 15s");
        assert!(config.contains(target) && config.contains(hurry));
        let config = config
            .replace(target, &proxy.address("admin").to_string())
            .replace(hurry, "_interval: 1s");
        fs::write(home.join("prometheus.yml"), config).expect("a file can be written");
        fs::copy(folder().join("alerts.yml"), home.join("alerts.yml")).expect("it can be copied");
        let port = Port::free();
        let mut command = Command::new("prometheus");
        command
            .current_dir(home)
            .args([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--log.level=warn",
            ])
            .arg(format!("--web.listen-address={}", port.address()));
        Prometheus {
            port,
            _process: Process::start(&mut command),
        }
    }

    /// The `data` of its answer.
    #[track_caller]
    fn ask(&self, what: &str, arguments: &[&str]) -> Value {
        let url = format!("http://{}/api/v1/{what}", self.port.address());
        let answer = curl(&[&["-s", "-G", &url], arguments].concat());
        let answer: Value = serde_json::from_str(&answer)
            .unwrap_or_else(|e| panic!("{arguments:?}: {e}: {answer}"));
        assert_eq!(answer["status"], "success", "{arguments:?}: {answer}");
        answer["data"].clone()
    }

    #[track_caller]
    fn query(&self, expression: &str) -> Vec<Value> {
        let query = format!("query={expression}");
        let data = self.ask("query", &["--data-urlencode", &query]);
        data["result"].as_array().expect("a vector").clone()
    }

    #[track_caller]
    fn wait_for_value(&self, expression: &str, value: &str) {
        wait_until("Prometheus is up", || {
            Client::try_connect(self.port.address()).is_ok()
                && get(self.port.address(), "/-/ready").status() == 200
        });
        wait_until(expression, || {
            let result = self.query(expression);
            result
                .first()
                .is_some_and(|found| found["value"][1] == value)
        });
    }
}

fn folder() -> std::path::PathBuf {
    root().join("examples/10-monitoring")
}

fn dashboard_expressions() -> Vec<String> {
    let text = fs::read_to_string(folder().join("grafana.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    targets
        .map(|target| target["expr"].as_str().expect("an expression").to_owned())
        .collect()
}

/// The names of metrics in a text.
fn names(text: &str) -> Vec<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let words = text
        .split(word)
        .filter(|word| word.starts_with("tidegate_"));
    words.map(str::to_owned).collect()
}
