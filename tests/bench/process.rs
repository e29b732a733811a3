//! A program that the bench started: its start, what the kernel knows of it, its end.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tidegate_tests::{Client, Port, within};

/// Ends when dropped, or with the bench.
pub struct Running {
    child: Child,
    port: Port,
    folder: TempDir,
}

impl Running {
    /// Starts it on these processors, as taskset takes them, and waits until it listens.
    pub fn start(
        command: &[String],
        cpus: &str,
        port: Port,
        folder: TempDir,
    ) -> Result<Running, String> {
        let child = detached(cpus)
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log(folder.path())?)
            .spawn()
            .map_err(|e| format!("{}: {e}", command[0]))?;
        let mut running = Running {
            child,
            port,
            folder,
        };
        running.wait(&command[0])?;
        Ok(running)
    }

    fn wait(&mut self, name: &str) -> Result<(), String> {
        let listening = within(START, || match self.child.try_wait() {
            Ok(None) => Client::try_connect(self.port.address()).ok().map(|_| true),
            _ => Some(false),
        });
        match listening {
            Some(true) => Ok(()),
            Some(false) => Err(format!("{name} ended at its start:\n{}", self.said())),
            None => Err(format!("{name} does not listen:\n{}", self.said())),
        }
    }

    pub fn port(&self) -> &Port {
        &self.port
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process and its children.
    pub fn pids(&self) -> Vec<u32> {
        let main = self.child.id();
        let children =
            fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        children.chain([main]).collect()
    }

    /// User and system time of all threads, nanoseconds, as the scheduler counts it.
    pub fn cpu_ns(&self) -> u64 {
        let of = |thread: PathBuf| -> Option<u64> {
            let text = fs::read_to_string(thread.join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        };
        self.pids()
            .iter()
            .flat_map(|pid| entries(format!("/proc/{pid}/task")))
            .filter_map(of)
            .sum()
    }

    /// Resident bytes.
    pub fn resident(&self) -> u64 {
        let of = |pid: &u32| -> Option<u64> {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        self.pids().iter().filter_map(of).sum()
    }

    /// How many connections to its port each of its processes holds.
    pub fn connections(&self) -> Vec<u64> {
        let established = established(self.port.number());
        let of = |pid: u32| {
            entries(format!("/proc/{pid}/fd"))
                .filter_map(|fd| inode(&fs::read_link(fd).ok()?))
                .filter(|inode| established.contains(inode))
                .count() as u64
        };
        self.pids().into_iter().map(of).collect()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

const START: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(5);

impl Drop for Running {
    fn drop(&mut self) {
        // TERM, so that nginx takes its workers along.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if within(END, || self.child.try_wait().transpose()).is_none() {
            let left = self.pids();
            for pid in left.iter().filter_map(|pid| Pid::from_raw(*pid as i32)) {
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }
}

/// A command of these processors that gets TERM when the bench ends, however it does.
pub fn detached(cpus: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "taskset", "-c", cpus]);
    command
}

fn log(folder: &Path) -> Result<fs::File, String> {
    fs::File::create(folder.join("log")).map_err(|e| e.to_string())
}

fn entries(folder: String) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
}

/// Inodes of the sockets that the kernel has as established on that local port.
fn established(port: u16) -> BTreeSet<u64> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let of = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let local = words.get(1)?.split_once(':')?.1;
        let here = u16::from_str_radix(local, 16) == Ok(port) && words.get(3) == Some(&"01");
        here.then(|| words.get(9)?.parse().ok()).flatten()
    };
    table.lines().filter_map(of).collect()
}

/// Of `socket:[12345]`.
fn inode(link: &Path) -> Option<u64> {
    let inside = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
    inside.parse().ok()
}
