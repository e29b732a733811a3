//! `tidegate ctl`: talks to a running proxy over the admin port's HTTP.

mod remote;
mod tables;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

use super::arguments::{Ctl, CtlCommand};
use super::terminal::{Failure, Progress, failed, print, shown};
use remote::{Remote, escaped};
use tables::{list, text};

/// A plain question; short, so that a health check tells in time.
const PATIENCE: Duration = Duration::from_secs(5);
/// A change waits for compilation and for every worker.
const LONG_PATIENCE: Duration = Duration::from_secs(120);

pub fn ctl(flags: Ctl) -> Result<(), Failure> {
    let proxy = Remote::new(flags.admin, flags.token)?;
    match flags.command {
        CtlCommand::Health { pool } => health(&proxy, pool.as_deref()),
        CtlCommand::Status { json } => status(&proxy, json),
        CtlCommand::Swap { name, file } => swap(&proxy, &name, &file),
        CtlCommand::Reload => reload(&proxy),
        CtlCommand::Explain {
            url,
            method,
            header,
            listener,
            client,
        } => {
            let mut asked = vec![("url", url), ("method", method)];
            asked.extend(header.into_iter().map(|header| ("header", header)));
            asked.extend(listener.map(|listener| ("listener", listener)));
            asked.extend(client.map(|client| ("client", client)));
            explain(&proxy, &asked)
        }
        CtlCommand::Drain { server } => want(&proxy, &server, "drain"),
        CtlCommand::Maint { server } => want(&proxy, &server, "maint"),
        CtlCommand::Ready { server } => want(&proxy, &server, "ready"),
        CtlCommand::History => history(&proxy),
        CtlCommand::Rollback { generation } => rollback(&proxy, generation),
    }
}

fn health(proxy: &Remote, pool: Option<&str>) -> Result<(), Failure> {
    let query = pool.map(|pool| format!("?pool={}", escaped(pool)));
    let path = format!("/healthz{}", query.unwrap_or_default());
    let answer = proxy.ask(Method::GET, &path, Bytes::new(), PATIENCE)?;
    match answer.status {
        StatusCode::OK => print("ok\n"),
        StatusCode::SERVICE_UNAVAILABLE => Err(Failure::new(shown(answer.text().trim()))),
        _ => Err(answer.refusal()),
    }
}

fn status(proxy: &Remote, json: bool) -> Result<(), Failure> {
    let answer = proxy.ask(Method::GET, "/api/v1/status", Bytes::new(), PATIENCE)?;
    let status = answer.json()?;
    if json {
        let text = serde_json::to_string_pretty(&status).expect("it was JSON");
        return print(&format!("{text}\n"));
    }
    print(&tables::status(&status))
}

fn swap(proxy: &Remote, name: &str, file: &Path) -> Result<(), Failure> {
    let wasm = std::fs::read(file).map_err(failed(format_args!("read {}", file.display())))?;
    let path = format!("/api/v1/plugins/{}", escaped(name));
    let progress = Progress::new("compiling, configuring and warming up");
    let answer = proxy.ask(Method::PUT, &path, wasm.into(), LONG_PATIENCE)?;
    drop(progress);
    print(&applied(&answer.json()?))
}

fn reload(proxy: &Remote) -> Result<(), Failure> {
    let progress = Progress::new("reloading");
    let answer = proxy.ask(Method::POST, "/api/v1/reload", Bytes::new(), LONG_PATIENCE)?;
    drop(progress);
    print(&applied(&answer.json()?))
}

fn explain(proxy: &Remote, asked: &[(&str, String)]) -> Result<(), Failure> {
    let pairs = asked
        .iter()
        .map(|(key, value)| format!("{key}={}", escaped(value)));
    let query = pairs.collect::<Vec<_>>().join("&");
    let path = format!("/api/v1/explain?{query}");
    let answer = proxy.ask(Method::GET, &path, Bytes::new(), PATIENCE)?;
    print(&tables::explained(&answer.json()?))
}

fn want(proxy: &Remote, server: &str, state: &str) -> Result<(), Failure> {
    let Some((pool, name)) = server.split_once('/') else {
        return Err(Failure::new(format!(
            "{:?} is no server; write POOL/SERVER, as `tidegate ctl status` shows them",
            shown(server)
        )));
    };
    let path = format!("/api/v1/pools/{}/servers/{}", escaped(pool), escaped(name));
    let body = serde_json::json!({ "state": state }).to_string();
    let answer = proxy.ask(Method::PATCH, &path, body.into(), PATIENCE)?;
    answer.json()?;
    print(&format!("{}: {state}\n", shown(server)))
}

fn history(proxy: &Remote) -> Result<(), Failure> {
    let answer = proxy.ask(Method::GET, "/api/v1/history", Bytes::new(), PATIENCE)?;
    print(&tables::history(&answer.json()?))
}

fn rollback(proxy: &Remote, generation: u64) -> Result<(), Failure> {
    let path = format!("/api/v1/rollback/{generation}");
    let progress = Progress::new("going back");
    let answer = proxy.ask(Method::POST, &path, Bytes::new(), LONG_PATIENCE)?;
    drop(progress);
    print(&applied(&answer.json()?))
}

fn applied(answer: &Value) -> String {
    let plugins: Vec<String> = list(&answer["plugins"]).iter().map(text).collect();
    let plugins = match &plugins[..] {
        [] => "no plugin is new".to_owned(),
        names => format!("new: {}", names.join(", ")),
    };
    format!(
        "every worker runs generation {} (took {:.1} ms; {plugins})\n",
        answer["generation"],
        answer["took_ms"].as_f64().unwrap_or_default()
    )
}
