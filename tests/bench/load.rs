//! The load: wrk for throughput, our own sockets for idle connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::contestant::LOAD_CPU;

pub struct Load {
    pub requests: u64,
    /// Anything but a 2xx, and broken connections.
    pub failures: u64,
    pub p99_us: f64,
}

/// Keep-alive requests for so many seconds.
pub fn wrk(port: u16, path: &str, connections: u32, seconds: u32) -> Result<Load, String> {
    let output = Command::new("taskset")
        .args(["-c", LOAD_CPU, "wrk", "--latency", "-t1"])
        .args([&format!("-c{connections}"), &format!("-d{seconds}s")])
        .args([
            "-H",
            "x-tenant: beta",
            &format!("http://127.0.0.1:{port}{path}"),
        ])
        .output()
        .map_err(|e| format!("wrk: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |starts: &str| {
        text.lines()
            .map(str::trim)
            .find_map(|l| l.strip_prefix(starts).map(str::to_owned))
    };
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
        .ok_or_else(|| {
            format!(
                "wrk said:\n{text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })?;
    let bad_status: u64 = line("Non-2xx or 3xx responses:")
        .and_then(|n| n.trim().parse().ok())
        .unwrap_or(0);
    let broken: u64 = line("Socket errors:")
        .map(|l| {
            l.split(|c: char| !c.is_ascii_digit())
                .filter_map(|n| n.parse::<u64>().ok())
                .sum()
        })
        .unwrap_or(0);
    let p99_us = line("99%")
        .and_then(|value| micros(value.trim()))
        .unwrap_or(f64::NAN);
    Ok(Load {
        requests,
        failures: bad_status + broken,
        p99_us,
    })
}

/// wrk's `1.23ms`, `456.00us`, `2.00s`.
fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units
        .iter()
        .find_map(|(unit, scale)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * scale))
}

/// Connections that have each made one request and then wait.
pub fn idle(port: u16, connections: u32) -> Result<Vec<TcpStream>, String> {
    let request = b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let one = || -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(request)?;
        let mut got = Vec::new();
        let mut buffer = [0; 4096];
        // The head and 1,024 bytes of body.
        while got
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .is_none_or(|at| got.len() < at + 4 + 1024)
        {
            let n = stream.read(&mut buffer)?;
            if n == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            got.extend_from_slice(&buffer[..n]);
        }
        Ok(stream)
    };
    (0..connections)
        .map(|_| one().map_err(|e| format!("idle connection: {e}")))
        .collect()
}
