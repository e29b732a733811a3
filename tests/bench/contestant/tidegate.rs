//! Tidegate: its configuration, and what is asked of its admin port.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use tidegate_tests::{Client, Message, Metrics};

use super::{Place, filter_headers};
use crate::scenario::{Logic, Setup};

pub fn command(path: &Path, setup: &Setup, place: &Place) -> Result<Vec<String>, String> {
    let config = format!(
        "[proxy]\nworkers = {workers}\n[admin]\nbind = \"127.0.0.1:{admin}\"\ntoken = \"{TOKEN}\"\n[log]\naccess = \"off\"\n{plugins}\
         [[listener]]\nname = \"web\"\nbind = \"127.0.0.1:{port}\"\npool = \"app\"\n{tls}{way}{pools}",
        workers = setup.workers,
        admin = place.admin,
        plugins = plugins(setup, place)?,
        port = place.port,
        tls = match setup.tls {
            true => format!("tls = {{ certificates = {:?} }}\n", place.certificates()),
            false => String::new(),
        },
        way = way(setup),
        pools = pools(setup, place),
    );
    let file = place.write("tidegate.toml", &config)?;
    Ok(vec![
        path.display().to_string(),
        "run".into(),
        "-c".into(),
        file,
    ])
}

/// Open connections by worker.
pub fn spread(admin: SocketAddr, workers: u32) -> Result<Vec<u64>, String> {
    let answer = ask(admin, "GET", "/metrics", b"").map_err(|e| format!("/metrics: {e}"))?;
    let metrics = Metrics {
        text: answer.text(),
    };
    let of = |worker: u32| {
        let labels = [("worker", &*worker.to_string())];
        metrics.sum("tidegate_worker_connections", &labels) as u64
    };
    Ok((0..workers).map(of).collect())
}

/// Puts another build of the own logic live, and returns once every worker runs it.
pub fn swap(admin: SocketAddr, wasm: &[u8]) -> Result<(), String> {
    let answer = ask(admin, "PUT", "/api/v1/plugins/own", wasm).map_err(|e| e.to_string())?;
    match answer.status() {
        200 => Ok(()),
        status => Err(format!("a swap got {status}: {}", answer.text())),
    }
}

/// `own-logic`, compiled.
pub fn own_plugin() -> Result<Vec<u8>, String> {
    let path = "tests/bench/out/own_logic.wasm";
    fs::read(path).map_err(|e| format!("{path}: {e}; tests/bench/run builds it"))
}

const TOKEN: &str = "bench";

fn ask(admin: SocketAddr, method: &str, path: &str, body: &[u8]) -> std::io::Result<Message> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {admin}\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut client = Client::try_connect(admin)?;
    client.write(&[head.as_bytes(), body].concat())?;
    client.read()
}

fn plugins(setup: &Setup, place: &Place) -> Result<String, String> {
    if setup.logic == Logic::Own {
        let path = place.folder.join("own.wasm");
        fs::write(&path, own_plugin()?).map_err(|e| format!("{}: {e}", path.display()))?;
        return Ok("[[plugin]]\nname = \"own\"\npath = \"own.wasm\"\n".to_owned());
    }
    let filter = |number| {
        let [edge, zone] = filter_headers(number);
        format!(
            "[[plugin]]\nname = \"mark-{number}\"\nshipped = \"headers\"\n\
             config = {{ request = {{ set = {{ {edge} = \"{{client-address}}\", {zone} = \"a\" }} }} }}\n"
        )
    };
    Ok((1..=setup.filters).map(filter).collect())
}

/// The rest of the listener, and the routes.
fn way(setup: &Setup) -> String {
    if setup.tcp {
        return "mode = \"tcp\"\n".to_owned();
    }
    let names: Vec<String> = (1..=setup.filters)
        .map(|number| format!("\"mark-{number}\""))
        .collect();
    let filters = format!("filters = [{}]\n", names.join(", "));
    match setup.logic {
        Logic::Routed => {
            filters
                + "[[route]]\npath = \"/1k\"\npool = \"app\"\n[[route]]\npath = \"/64k\"\npool = \"app\"\n"
        }
        Logic::Own => "router = \"own\"\n".to_owned(),
    }
}

fn pools(setup: &Setup, place: &Place) -> String {
    let servers: String = (1..)
        .zip(&place.servers)
        .map(|(number, address)| {
            format!("  {{ name = \"s{number}\", address = \"{address}\" }},\n")
        })
        .collect();
    let names: &[&str] = match setup.logic {
        Logic::Routed => &["app"],
        Logic::Own => &["app", "beta"],
    };
    names
        .iter()
        .map(|name| format!("[[pool]]\nname = \"{name}\"\nservers = [\n{servers}]\n"))
        .collect()
}
