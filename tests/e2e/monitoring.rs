//! What `examples/10-monitoring` gives to Prometheus and Grafana: a real Prometheus scrapes a proxy, evaluates the alert rules, and
//! answers what the dashboard asks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tidegate_tests::{
    Client, Origin, Port, Process, Proxy, curl, get, root, site, wait_for, wait_until,
};

#[test]
fn prometheus_scrapes_and_answers_the_dashboard() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let prometheus = Prometheus::start(folder.path(), &proxy);
    prometheus.wait_for_value("up{job=\"tidegate\"}", "1");
    (0..7).for_each(|_| assert_eq!(proxy.get("/").status(), 200));
    prometheus.wait_for_value("sum(tidegate_requests_total{code=\"2xx\"})", "7");

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
    assert!(asked.len() > 20, "{asked:?}");
    for expression in asked {
        let expression = expression
            .replace("$instance", ".*")
            .replace("$__rate_interval", "1m");
        // An error of any kind panics in `ask`.
        prometheus.query(&expression);
    }
    // Two scrapes make a rate.
    wait_for("the rate of requests is known", || {
        let rate = "sum(rate(tidegate_requests_total{instance=~\".*\"}[1m]))";
        prometheus.query(rate).first().cloned()
    });
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_exist() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    assert_eq!(proxy.get("/").status(), 200);
    let text = proxy.admin("GET", "/metrics", b"").text();
    let exist: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let alerts = fs::read_to_string(folder().join("alerts.yml")).expect("the rules");
    let asked = dashboard_expressions().into_iter().chain([alerts]);
    let mut found = 0;
    for name in asked.flat_map(|text| names(&text)) {
        let family = name.strip_suffix("_bucket").unwrap_or(&name);
        assert!(exist.contains(family), "{name} is no metric of the proxy");
        found += 1;
    }
    assert!(found > 30, "only {found} names were found");
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    assert_eq!(proxy.get("/").status(), 200);
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
