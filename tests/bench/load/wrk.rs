//! As many requests as so many connections can make: wrk. Its latencies are left alone: a client that waits for each answer
//! cannot tell them (see `paced`).

use crate::process::detached;

use std::process::Output;

pub struct Load {
    pub requests: u64,
    /// Anything but a 2xx or 3xx, and broken connections.
    pub failures: u64,
}

/// What is asked for, and how.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub path: &'a str,
    pub tls: bool,
}

impl Ask<'_> {
    pub fn plain(path: &str) -> Ask<'_> {
        Ask { path, tls: false }
    }
}

pub fn run(
    port: u16,
    ask: Ask<'_>,
    connections: u32,
    seconds: u32,
    cpu: usize,
) -> Result<Load, String> {
    let Ask { path, tls } = ask;
    let scheme = if tls { "https" } else { "http" };
    let output = detached(&cpu.to_string())
        .args(["wrk", "-t1"])
        .args([&format!("-c{connections}"), &format!("-d{seconds}s")])
        .args(["-H", "x-tenant: beta"])
        .arg(format!("{scheme}://127.0.0.1:{port}{path}"))
        .output()
        .map_err(|e| format!("wrk: {e}"))?;
    read(&output)
}

fn read(output: &Output) -> Result<Load, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let after = |starts: &str| {
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(starts));
        line.map(str::trim)
    };
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
        .ok_or_else(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("wrk said:\n{text}{said}")
        })?;
    let bad_status = after("Non-2xx or 3xx responses:").map_or(0, numbers);
    let broken = after("Socket errors:").map_or(0, numbers);
    Ok(Load {
        requests,
        failures: bad_status + broken,
    })
}

/// The sum of all in the text.
fn numbers(text: &str) -> u64 {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 1s test @ http://127.0.0.1:8080/1k
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.85ms  466.22us  10.44ms   88.97%
    Req/Sec    22.60k     1.31k   24.12k    70.00%
  22504 requests in 1.00s, 27.30MB read
  Socket errors: connect 0, read 2, write 0, timeout 1
  Non-2xx or 3xx responses: 5
Requests/sec:  22461.05
";

    fn output(said: &str) -> Output {
        Output {
            status: Default::default(),
            stdout: said.into(),
            stderr: b"unable to connect".into(),
        }
    }

    #[test]
    fn requests_and_failures_are_read() {
        let load = read(&output(SAID)).unwrap();
        assert_eq!((load.requests, load.failures), (22504, 8));
    }

    #[test]
    fn what_wrk_says_instead_is_passed_on() {
        let words = read(&output("")).err().unwrap();
        assert!(words.contains("unable to connect"), "{words}");
    }
}
