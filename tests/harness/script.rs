//! Peers that are easier had in Python than written here: clients of HTTP/2 that send frames one by one (`frames.py`), of gRPC
//! and of WebSocket. They are Debian's packages, so it is the system's own Python that runs them.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::binary;
use crate::process::Process;
use crate::wait::{wait_for, within};

/// Runs a script to its end with these arguments, and gives what it printed; panics with what it said when it failed, or
/// took too long.
#[track_caller]
pub fn python(script: &str, arguments: &[&str]) -> String {
    let mut child = start(script, arguments);
    let (mut out, mut err) = (
        child.stdout.take().expect("it is piped"),
        child.stderr.take().expect("it is piped"),
    );
    let reading = std::thread::spawn(move || {
        let (mut text, mut said) = (String::new(), String::new());
        let reading = std::thread::spawn(move || {
            err.read_to_string(&mut said).expect("it writes text");
            said
        });
        out.read_to_string(&mut text).expect("it writes text");
        (text, reading.join().expect("reading does not fail"))
    });
    let ended = within(Duration::from_secs(60), || child.try_wait().ok().flatten());
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (text, said) = reading.join().expect("reading does not fail");
    match ended {
        Some(status) if status.success() => text,
        Some(status) => panic!("{status}\n{text}\n{said}"),
        None => panic!("it did not end\n{text}\n{said}"),
    }
}

fn start(script: &str, arguments: &[&str]) -> Child {
    command(script, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 runs: tests/run installs what it needs")
}

fn command(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg("-u")
        .arg("-c")
        .arg(script)
        .args(arguments)
        .env("PYTHONPATH", binary::root().join("tests/harness/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    command
}

/// A server that a script runs; it prints its port first. It ends with the test.
pub struct Server {
    address: SocketAddr,
    process: Process,
}

impl Server {
    #[track_caller]
    pub fn start(script: &str) -> Server {
        let process = Process::start(&mut command(script, &[]));
        let port = wait_for("a server's port", || process.stdout().first().cloned());
        let port: u16 = port
            .parse()
            .unwrap_or_else(|_| panic!("{port:?} is no port\n{:?}", process.stderr()));
        Server {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            process,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it printed behind its port, once that is so many lines.
    #[track_caller]
    pub fn wait_for(&self, lines: usize) -> Vec<String> {
        wait_for(&format!("{lines} lines of a server"), || {
            let seen = self.lines();
            (seen.len() >= lines).then_some(seen)
        })
    }

    /// What it printed behind its port.
    pub fn lines(&self) -> Vec<String> {
        self.process.stdout().into_iter().skip(1).collect()
    }
}
