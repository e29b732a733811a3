//! `tidegate ctl`: talks to a running proxy over the admin port's HTTP, or over the admin socket.

mod remote;
mod tables;
mod tap;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

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
        CtlCommand::Weight { server, weight } => weigh(&proxy, &server, &weight),
        CtlCommand::Add {
            server,
            address,
            weight,
            max_connections,
            backup,
            label,
            state,
        } => {
            let mut written = json!({ "address": address, "backup": backup, "state": state });
            written["labels"] = labels(&label)?;
            if let Some(weight) = weight {
                written["weight"] = weight.into();
            }
            if let Some(most) = max_connections {
                written["max-connections"] = most.into();
            }
            add(&proxy, &server, written)
        }
        CtlCommand::Remove { server } => remove(&proxy, &server),
        CtlCommand::Tap(flags) => tap::tap(&proxy, *flags),
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
    let body = json!({ "state": state }).to_string();
    let answer = proxy.ask(Method::PATCH, &path_of(server)?, body.into(), LONG_PATIENCE)?;
    answer.json()?;
    print(&format!("{}: {state}\n", shown(server)))
}

fn weigh(proxy: &Remote, server: &str, weight: &str) -> Result<(), Failure> {
    let given = weight.parse::<u32>().map_or(json!(weight), Value::from);
    let body = json!({ "weight": given }).to_string();
    let answer = proxy.ask(Method::PATCH, &path_of(server)?, body.into(), LONG_PATIENCE)?;
    print(&applied(&answer.json()?))
}

fn add(proxy: &Remote, server: &str, mut written: Value) -> Result<(), Failure> {
    let (pool, name) = parts(server)?;
    written["name"] = name.into();
    let path = format!("/api/v1/pools/{}/servers", escaped(pool));
    let body = written.to_string();
    let answer = proxy.ask(Method::POST, &path, body.into(), LONG_PATIENCE)?;
    print(&applied(&answer.json()?))
}

fn remove(proxy: &Remote, server: &str) -> Result<(), Failure> {
    let path = path_of(server)?;
    let answer = proxy.ask(Method::DELETE, &path, Bytes::new(), LONG_PATIENCE)?;
    print(&applied(&answer.json()?))
}

fn labels(given: &[String]) -> Result<Value, Failure> {
    let pair = |label: &String| {
        let pair = label.split_once('=');
        let pair = pair.map(|(key, value)| (key.to_owned(), Value::from(value)));
        pair.ok_or_else(|| {
            let label = shown(label);
            Failure::new(format!("{label:?} is no label; write KEY=VALUE"))
        })
    };
    let pairs: serde_json::Map<_, _> = given.iter().map(pair).collect::<Result<_, _>>()?;
    Ok(Value::Object(pairs))
}

fn path_of(server: &str) -> Result<String, Failure> {
    let (pool, name) = parts(server)?;
    Ok(format!(
        "/api/v1/pools/{}/servers/{}",
        escaped(pool),
        escaped(name)
    ))
}

fn parts(server: &str) -> Result<(&str, &str), Failure> {
    server.split_once('/').ok_or_else(|| {
        Failure::new(format!(
            "{:?} is no server; write POOL/SERVER, as `tidegate ctl status` shows them",
            shown(server)
        ))
    })
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
