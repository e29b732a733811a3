//! `tidegate ctl tap`: requests as they end, a line each, and one for each decision below it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::super::arguments::Tap;
use super::super::terminal::{Failure, print_on};
use super::remote::{Remote, escaped};
use super::tables::{list, text};

pub fn tap(proxy: &Remote, flags: Tap) -> Result<(), Failure> {
    let json = flags.json;
    let path = path(flags);
    if io::stderr().is_terminal() {
        eprintln!("following requests; Ctrl-C ends");
    }
    let zone = TimeZone::system();
    proxy.follow(&path, |line| match json {
        true => print_on(&format!("{line}\n")),
        false => match serde_json::from_str(line) {
            Ok(told) => print_on(&shown(&told, &zone)),
            Err(_) => Err(Failure::new(
                "a line is no JSON; is this tidegate's admin port? (--admin URL)",
            )),
        },
    })
}

fn path(flags: Tap) -> String {
    let mut pairs = Vec::new();
    let mut add = |key: &str, values: Vec<String>| {
        let values = values.iter();
        pairs.extend(values.map(|value| format!("{key}={}", escaped(value))));
    };
    add("listener", flags.listener);
    add("route", flags.route);
    add("pool", flags.pool);
    add("server", flags.server);
    add("method", flags.method);
    add("host", flags.host);
    add("path", flags.path);
    add("status", flags.status);
    add("client", flags.client);
    add("min-duration", flags.min_duration.into_iter().collect());
    add("plugin", flags.plugin);
    add("decision", flags.decision);
    add("fault", flags.fault);
    add("header", flags.header);
    add("limit", flags.limit.iter().map(u64::to_string).collect());
    add("for", flags.at_most.into_iter().collect());
    format!("/api/v1/tap?{}", pairs.join("&"))
}

fn shown(told: &Value, zone: &TimeZone) -> String {
    if let Some(dropped) = told["dropped"].as_u64() {
        return format!(
            "-- {dropped} requests are left out here: they come faster than this is read\n"
        );
    }
    let mut out = request(told, zone);
    for step in list(&told["steps"]) {
        out += &decision(step);
    }
    if let Some(more) = told["steps_left_out"].as_u64() {
        let _ = writeln!(out, "    and {more} more steps");
    }
    out
}

/// `14:03:22.118 502 GET shop.example/cart from 192.0.2.7, web > shop > app/web1, 35.1 ms, connect-failed`
fn request(told: &Value, zone: &TimeZone) -> String {
    let mut out = time(&told["time"], zone);
    let status = match &told["status"] {
        Value::Null => "---".to_owned(),
        status => text(status),
    };
    let _ = write!(out, " {status} ");
    match &told["method"] {
        Value::Null if told["status"].is_null() => out += "connection",
        Value::Null => out += "unreadable",
        method => {
            let host = match &told["host"] {
                Value::Null => String::new(),
                host => text(host),
            };
            let _ = write!(out, "{} {host}{}", text(method), text(&told["target"]));
        }
    }
    let _ = write!(out, " from {}, {}", text(&told["client"]), way(told));
    let _ = write!(out, ", {}", duration(told["total_us"].as_u64()));
    if !told["fault"].is_null() {
        let _ = write!(out, ", {}", text(&told["fault"]));
    }
    out.push('\n');
    out
}

fn way(told: &Value) -> String {
    let mut way = text(&told["listener"]);
    if !told["route"].is_null() {
        let _ = write!(way, " > {}", text(&told["route"]));
    }
    if !told["pool"].is_null() {
        let _ = write!(way, " > {}", text(&told["pool"]));
    }
    if !told["server"].is_null() {
        let _ = write!(way, "/{}", text(&told["server"]));
    }
    way
}

/// `    router           router             pool app, route shop: path /cart`
fn decision(step: &Value) -> String {
    let is_attempt = step["role"] == "attempt";
    let who = if is_attempt {
        &step["server"]
    } else {
        &step["plugin"]
    };
    let mut said = text(&step["decision"]);
    let named = step["decision"].as_str().unwrap_or_default();
    // `pool app` rather than `pool, pool app`; the status of an answer needs no name.
    let first = ["status", "fault", named];
    for key in first.iter().filter(|key| !step[**key].is_null()) {
        let _ = write!(said, " {}", text(&step[*key]));
    }
    for key in ["route", "pool", "server", "path"] {
        let told = first.contains(&key) || is_attempt && key == "server";
        if !told && !step[key].is_null() {
            let _ = write!(said, ", {key} {}", text(&step[key]));
        }
    }
    for edit in list(&step["edits"]) {
        let _ = write!(said, ", {}", text(edit));
    }
    for (name, value) in step["notes"].as_object().into_iter().flatten() {
        let name = text(&Value::from(name.as_str()));
        let _ = write!(said, ", {name}={}", text(value));
    }
    if !step["reason"].is_null() {
        let _ = write!(said, ": {}", text(&step["reason"]));
    }
    format!("    {:<15} {:<18} {said}\n", text(&step["role"]), text(who))
}

/// Of the day, here.
fn time(value: &Value, zone: &TimeZone) -> String {
    let moment = value
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok());
    match moment {
        Some(moment) => {
            let local = moment.to_zoned(zone.clone());
            local.strftime("%H:%M:%S%.3f").to_string()
        }
        None => text(value),
    }
}

fn duration(micros: Option<u64>) -> String {
    match micros {
        None => "-".to_owned(),
        Some(micros @ 0..1_000) => format!("{micros} us"),
        Some(micros @ 1_000..1_000_000) => format!("{:.1} ms", micros as f64 / 1e3),
        Some(micros) => format!("{:.2} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(told: Value) -> Vec<String> {
        let text = shown(&told, &TimeZone::UTC);
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_request_is_shown_with_its_decisions() {
        let told = json!({
            "time": "2026-11-22T17:31:47.613Z", "client": "192.0.2.7", "listener": "web", "route": "shop", "pool": "app",
            "server": "web1", "method": "GET", "target": "/cart?x=\u{1b}[2J", "host": "shop.example", "status": 502,
            "total_us": 35_100, "fault": "connect-failed",
            "steps": [
                {"at_us": 3, "role": "listener-filter", "plugin": "strip", "decision": "continue", "path": "/x",
                    "edits": ["set x-a", "remove cookie"], "notes": {"tenant": "acme"}},
                {"at_us": 5, "role": "router", "plugin": "router", "decision": "pool", "pool": "app", "route": "shop",
                    "reason": "path /cart"},
                {"at_us": 6, "role": "balancer", "plugin": "first", "decision": "server", "pool": "app", "server": "web1"},
                {"at_us": 9, "role": "attempt", "decision": "failed", "server": "web1", "fault": "connect-failed"},
            ],
            "steps_left_out": 2,
        });
        assert_eq!(
            lines(told),
            [
                "17:31:47.613 502 GET shop.example/cart?x=\\u{1b}[2J from 192.0.2.7, web > shop > app/web1, 35.1 ms, connect-failed",
                "    listener-filter strip              continue, path /x, set x-a, remove cookie, tenant=acme",
                "    router          router             pool app, route shop: path /cart",
                "    balancer        first              server web1, pool app",
                "    attempt         web1               failed connect-failed",
                "    and 2 more steps",
            ]
        );
    }

    #[test]
    fn what_is_no_request_is_shown_too() {
        let connection =
            json!({"time": "x", "client": "192.0.2.7", "listener": "db", "total_us": 71_250_000});
        assert_eq!(
            lines(connection),
            ["x --- connection from 192.0.2.7, db, 71.25 s"]
        );
        assert_eq!(
            lines(json!({"dropped": 12})),
            ["-- 12 requests are left out here: they come faster than this is read"]
        );
    }
}
