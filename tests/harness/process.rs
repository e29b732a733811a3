//! A program that a test started: its output by line, signals by its process id, and its end with the test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

use crate::wait::within;

pub struct Process {
    child: Child,
    name: String,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
}

type Lines = Arc<Mutex<Vec<String>>>;

impl Process {
    #[track_caller]
    pub fn start(command: &mut Command) -> Process {
        Process::reading(Stdio::null(), command)
    }

    pub fn reading(input: Stdio, command: &mut Command) -> Process {
        let name = format!("{command:?}");
        let mut child = command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let readers = vec![
            collect(child.stdout.take().expect("it is piped"), stdout.clone()),
            collect(child.stderr.take().expect("it is piped"), stderr.clone()),
        ];
        Process {
            child,
            name,
            stdout,
            stderr,
            readers,
        }
    }

    /// The lines of standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lock().expect("readers do not panic").clone()
    }

    /// The lines of standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lock().expect("readers do not panic").clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|e| panic!("signal to {}: {e}", self.name));
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end and for the last of its output.
    #[track_caller]
    pub fn exit(&mut self, limit: Duration) -> ExitStatus {
        let status = within(limit, || self.ended());
        let status = status.unwrap_or_else(|| panic!("{} did not end within {limit:?}", self.name));
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that it has been so far.
    pub fn most_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// From now on it counts anew (proc(5), `clear_refs`).
    pub fn forget_most_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("it is ours");
    }

    fn status(&self, name: &str) -> u64 {
        let text =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or("0 kB");
        line.trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .unwrap_or(0)
            * 1024
    }

    /// CPU time used so far, user and system.
    pub fn cpu(&self) -> Duration {
        let text =
            std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let after = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 = after
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|word| word.parse::<u64>().ok())
            .sum();
        // Linux reports these in units of 1/100 s on every architecture (USER_HZ).
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            for (name, lines) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
                let skipped = lines.len().saturating_sub(60);
                eprintln!(
                    "--- {name} of {}, the last of {} lines",
                    self.name,
                    lines.len()
                );
                for line in lines.iter().skip(skipped) {
                    eprintln!("{}", line.chars().take(400).collect::<String>());
                }
            }
        }
    }
}

fn collect(from: impl Read + Send + 'static, lines: Lines) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line)
                .trim_end_matches('\r')
                .to_owned();
            lines.lock().expect("readers do not panic").push(line);
        }
    })
}
