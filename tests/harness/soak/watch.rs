//! What a process holds: resident memory, descriptors, threads. Read from /proc.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Resident bytes.
    pub memory: u64,
    pub files: usize,
    pub threads: usize,
}

/// A moment of a soak.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub at: Duration,
    pub held: Held,
}

pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Held {
    pub fn of(pid: u32) -> Held {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let figure = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        Held {
            memory: figure("VmRSS:") << 10,
            files: files.map_or(0, Iterator::count),
            threads: figure("Threads:") as usize,
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory as f64 / (1u64 << 20) as f64;
        let Held { files, threads, .. } = self;
        write!(f, "{memory:.1} MiB, {files} files, {threads} threads")
    }
}

impl Watch {
    pub fn start(pid: u32) -> Watch {
        let stop = Arc::<AtomicBool>::default();
        let told = stop.clone();
        let thread = thread::spawn(move || {
            let begun = Instant::now();
            let mut samples = Vec::new();
            while !told.load(Ordering::Relaxed) {
                samples.push(Sample {
                    at: begun.elapsed(),
                    held: Held::of(pid),
                });
                thread::sleep(EVERY);
            }
            samples
        });
        Watch { stop, thread }
    }

    pub fn stop(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only reads")
    }
}
