//! The status as tables. Whatever came over the wire is made safe for a terminal.

use std::fmt::Write as _;

use serde_json::Value;

use super::super::terminal::{shown, table};

pub fn status(proxy: &Value) -> String {
    let mut out = String::new();
    let state = if proxy["draining"] == true {
        "draining"
    } else {
        "running"
    };
    let _ = writeln!(
        out,
        "tidegate {} {state}, generation {}, {} workers, since {}, {}",
        text(&proxy["version"]),
        proxy["generation"],
        proxy["workers"],
        text(&proxy["started"]),
        text(&proxy["config"]),
    );
    last_change(&mut out, &proxy["last_change"]);
    let columns = ["name", "addresses", "filters", "router", "pool"];
    out += &format!("\n{}", rows("listener", &columns, &proxy["listeners"]));
    let columns = [
        "name",
        "address",
        "weight",
        "state",
        "health",
        "last_probe",
        "in_flight",
        "ewma_us",
    ];
    for pool in list(&proxy["pools"]) {
        let (name, balancer) = (text(&pool["name"]), text(&pool["balancer"]));
        let _ = write!(
            out,
            "\npool {name}, by {balancer}\n{}",
            rows("server", &columns, &pool["servers"])
        );
    }
    let columns = [
        "name",
        "source",
        "roles",
        "state",
        "instances",
        "calls",
        "failures",
        "mean_call_ns",
    ];
    out += &format!("\n{}", rows("plugin", &columns, &proxy["plugins"]));
    out
}

/// One line a thing, those left out that there are not.
pub fn explained(explained: &Value) -> String {
    let mut out = String::new();
    for key in [
        "listener", "route", "filters", "pool", "server", "status", "fault",
    ] {
        let value = match &explained[key] {
            Value::Null => continue,
            Value::Array(names) if names.is_empty() => continue,
            Value::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(", "),
            other => text(other),
        };
        let _ = writeln!(out, "{key:<9} {value}");
    }
    for reason in list(&explained["reasons"]) {
        let (plugin, why) = (text(&reason["plugin"]), text(&reason["reason"]));
        let _ = writeln!(out, "{:<9} {plugin}: {why}", "because");
    }
    out
}

pub fn history(generations: &Value) -> String {
    let columns = ["generation", "at", "what", "by", "running"];
    rows("generation", &columns, generations)
}

fn last_change(out: &mut String, change: &Value) {
    if change.is_null() {
        return;
    }
    let (what, result, at) = (
        text(&change["what"]),
        text(&change["result"]),
        text(&change["at"]),
    );
    let _ = writeln!(out, "last change: {what}, {result} at {at}");
    for problem in list(&change["problems"]) {
        let _ = writeln!(out, "{}", lines(problem.as_str().unwrap_or_default()));
    }
}

fn rows(noun: &str, columns: &[&str], items: &Value) -> String {
    let mut heading = columns.to_vec();
    heading[0] = noun;
    let row = |item: &Value| columns.iter().map(|column| text(&item[*column])).collect();
    table(&heading, &list(items).iter().map(row).collect::<Vec<_>>())
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value in a cell.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => shown(text),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Text of several lines, each safe for a terminal.
pub fn lines(text: &str) -> String {
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_status_is_shown_as_tables() {
        let status = serde_json::json!({
            "version": "0.1.0", "generation": 3, "workers": 2, "started": "x", "config": "t.toml", "draining": false,
            "last_change": {"at": "y", "what": "reload", "result": "rejected", "problems": ["bad\u{1b}[2J\nline"]},
            "listeners": [{"name": "web", "addresses": ["127.0.0.1:80"], "filters": [], "router": null, "pool": "app"}],
            "pools": [{"name": "app", "balancer": "round-robin", "servers": [{"name": "a", "address": "h:1", "weight": 1,
                "state": "ready", "health": "up", "last_probe": "status 200", "in_flight": 2, "ewma_us": 30}]}],
            "plugins": [],
        });
        let shown = super::status(&status);
        assert!(shown.contains("generation 3"), "{shown}");
        assert!(shown.contains("bad\\u{1b}[2J\nline"), "{shown}");
        assert!(shown.contains("listener  addresses     filters  router  pool\nweb       127.0.0.1:80  -        -       app"), "{shown}");
        assert!(
            shown.contains("a       h:1      1       ready  up      status 200  2          30"),
            "{shown}"
        );
    }
}
