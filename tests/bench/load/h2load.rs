//! As many requests as so many streams of so many connections can make, over HTTP/2 in clear text: h2load.
//!
//! Requests are counted, not seconds: when its time is over, h2load goes with a request under way on each stream, and a proxy that gives
//! those up, as one may, has to open its connections to servers again.

use std::process::Output;

use super::wrk::Load;
use crate::process::detached;

pub fn run(
    host: &str,
    port: u16,
    path: &str,
    (connections, streams): (u32, u32),
    requests: u64,
    cpu: usize,
) -> Result<Load, String> {
    let output = detached(&cpu.to_string())
        .args(["h2load", "-t1"])
        .args([&format!("-c{connections}"), &format!("-m{streams}")])
        .args([&format!("-n{requests}"), "-H", "x-tenant: beta"])
        .arg(format!("http://{host}:{port}{path}"))
        .output()
        .map_err(|e| format!("h2load: {e}"))?;
    read(&output)
}

fn read(output: &Output) -> Result<Load, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let counted = |word: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("requests:"));
        let mut counts = line?.split(',').map(str::trim);
        counts.find_map(|count| count.strip_suffix(word)?.trim().parse().ok())
    };
    let wrong = || {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("h2load said:\n{text}{said}")
    };
    let count = |word| counted(word).ok_or_else(wrong);
    Ok(Load {
        requests: count("succeeded")?,
        // Those that erred or timed out are among them.
        failures: count("failed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "finished in 1.01s, 72.23 req/s, 3.96KB/s
requests: 2009 total, 2008 started, 2007 done, 2000 succeeded, 7 failed, 2 errored, 1 timeout
status codes: 2000 2xx, 0 3xx, 4 4xx, 0 5xx
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
        assert_eq!((load.requests, load.failures), (2000, 7));
    }

    #[test]
    fn what_h2load_says_instead_is_passed_on() {
        let words = read(&output("")).err().unwrap();
        assert!(words.contains("unable to connect"), "{words}");
    }
}
