//! The origin behind them all: nginx with static answers of 1 KB, 64 KB and 1 MB, at as many loopback addresses as a setup has
//! servers, so that they are different servers to a proxy.

use std::fs;

use tidegate_tests::{Client, Port};

use super::nginx;
use crate::machine::{self, Cpus};
use crate::process::Running;

/// What a proxy's server was told, a line each; `proof` asks for it through the proxy.
pub const SEEN: &str = "/seen";

pub struct Origin {
    pub running: Running,
}

impl Origin {
    /// With addresses for so many servers.
    pub fn start(servers: u32, cpus: &Cpus) -> Result<Origin, String> {
        let program = machine::program("nginx")
            .ok_or("nginx is not installed, and the origin is one".to_owned())?;
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        for (name, size) in [("1k", 1 << 10), ("64k", 64 << 10), ("1m", 1 << 20)] {
            fs::write(folder.path().join(name), vec![b'x'; size]).map_err(|e| e.to_string())?;
        }
        let port = Port::free();
        let listen: String = addresses(servers, port.number())
            .iter()
            .map(|address| format!(" listen {address} backlog=4096;\n"))
            .collect();
        let http = format!(
            "sendfile on; tcp_nopush on; open_file_cache max=16;\nserver {{\n listen 127.0.0.1:{number} backlog=4096;\n{listen} \
             keepalive_requests 100000000; keepalive_timeout 600s; root {root};\n location = /status {{ stub_status; }}\n \
             location = {SEEN} {{ return 200 \"{seen}\"; }}\n}}\n",
            number = port.number(),
            root = folder.path().display(),
            seen = seen(),
        );
        let config = nginx::config(folder.path(), 1, "", &http)?;
        let command = [program.display().to_string(), "-c".into(), config];
        let running = Running::start(&command, &cpus.origin().to_string(), port, folder)?;
        Ok(Origin { running })
    }

    /// The addresses of the first so many.
    pub fn servers(&self, count: u32) -> Vec<String> {
        addresses(count, self.running.port().number())
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> Result<u64, String> {
        let answer = Client::try_connect(self.running.port().address())
            .and_then(|mut client| client.try_ask("GET /status HTTP/1.1\r\nhost: origin\r\n\r\n"))
            .map_err(|e| format!("the origin's status: {e}"))?;
        // "server accepts handled requests" and below it the numbers.
        let text = answer.text();
        text.lines()
            .nth(2)
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .ok_or(format!("the origin's status: {text}"))
    }
}

/// Of 127.1.0.0/16, 250 a subnet.
fn addresses(count: u32, port: u16) -> Vec<String> {
    (0..count)
        .map(|n| format!("127.1.{}.{}:{port}", n / 250, 1 + n % 250))
        .collect()
}

/// The headers that any setup may set.
fn seen() -> String {
    let mut names: Vec<String> = [
        "host",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-real-ip",
        "x-request-id",
        "x-pool",
    ]
    .map(str::to_owned)
    .into();
    names.extend((1..=3).flat_map(super::filter_headers));
    names
        .iter()
        .map(|name| format!("{name}=$http_{}\\n", name.replace('-', "_")))
        .collect()
}
