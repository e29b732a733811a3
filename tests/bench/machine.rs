//! The machine: its processors, its programs, how many files a process may have open.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this process may use: the first ones are the proxy's, the last ones load and origin.
pub struct Cpus(Vec<usize>);

impl Cpus {
    pub fn found() -> Result<Cpus, String> {
        let set = sched_getaffinity(None).map_err(|e| format!("processors: {e}"))?;
        let all: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|cpu| set.is_set(*cpu))
            .collect();
        if all.len() < 2 {
            return Err(
                "two processors are needed: one for the proxy, one for load and origin".into(),
            );
        }
        Ok(Cpus(all))
    }

    /// As taskset takes it. A second worker shares its processor with load and origin where there are only two.
    pub fn proxy(&self, workers: u32) -> String {
        let own: Vec<String> = self
            .0
            .iter()
            .take(workers as usize)
            .map(usize::to_string)
            .collect();
        own.join(",")
    }

    pub fn load(&self) -> usize {
        self.0[self.0.len() - 1]
    }

    /// One of its own where there are three.
    pub fn origin(&self) -> usize {
        self.0[(self.0.len() - 2).max(1)]
    }

    /// Without those that nothing runs on.
    pub fn in_use(&self) -> Vec<usize> {
        let mut all = vec![self.0[0], self.load(), self.origin()];
        all.sort_unstable();
        all.dedup();
        all
    }

    pub fn words(&self) -> String {
        format!(
            "proxy on processor {}, load on {}, origin on {}, of {}",
            self.proxy(1),
            self.load(),
            self.origin(),
            self.0.len()
        )
    }
}

/// Keeps the calling thread on that processor.
pub fn pin(cpu: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|e| format!("processor {cpu}: {e}"))
}

/// Thousands of connections need as many descriptors, here and in what is started from here.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // As it was, it may still be enough.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Debian keeps daemons in sbin, which is not on everyone's PATH.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    path.split(':')
        .map(|folder| PathBuf::from(folder).join(name))
        .find(|file| file.is_file())
}

/// Processor, kernel, and how busy the machine is already.
pub fn words() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let load = read("/proc/loadavg");
    format!(
        "{model}, Linux {}, load average {}",
        read("/proc/sys/kernel/osrelease").trim(),
        load.split(' ').next().unwrap_or("unknown")
    )
}
