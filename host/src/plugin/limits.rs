//! How much a guest may use: CPU time of a call, memory, tables. And what went wrong when it used more.

use std::fmt;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{ResourceLimiter, Trap, UpdateDeadline};

use super::shared::Cause;

/// Elements of all tables of an instance. The largest Rust programs have some ten thousand functions in theirs.
const MOST_TABLE_ELEMENTS: usize = 100_000;

/// A component from wasm32-wasip2 has one memory and a handful of instances.
const MOST_MEMORIES: usize = 8;
const MOST_TABLES: usize = 16;
const MOST_INSTANCES: usize = 64;

/// Why a call has no good answer.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) cause: Cause,
    pub(super) detail: String,
}

/// Ticks that a call must have seen to be stopped. On a virtual machine the thread's CPU clock may run on while the
/// hypervisor has the processor: a call that was held up so sees one tick however long it took, a runaway sees them all.
const LEAST_TICKS: u32 = 4;

/// A call's CPU time, counted from the first tick that it sees: the clock is read only for calls that last that long, and
/// no call is stopped before its limit.
pub(super) struct CpuTime {
    limit: Duration,
    since: Option<Duration>,
    ticks: u32,
}

/// What a guest's memories and tables come to.
pub(super) struct Bounds {
    memory: usize,
    memory_limit: usize,
    elements: usize,
    /// It was refused some since the call began.
    refused: bool,
}

/// A guest that ran past its CPU limit.
#[derive(Debug)]
struct OverCpu(Duration);

/// A guest that asked the host for what it may not: a handle that it never opened, to exit.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) String);

impl CpuTime {
    pub(super) fn new(limit: Duration) -> CpuTime {
        CpuTime {
            limit,
            since: None,
            ticks: 0,
        }
    }

    /// A call begins.
    #[inline]
    pub(super) fn begin(&mut self, limit: Duration) {
        self.limit = limit;
        self.since = None;
        self.ticks = 0;
    }

    /// The guest begins to wait, which is not its own time. What it has had so far, if it was seen to run.
    pub(super) fn pause(&self) -> Option<Duration> {
        let since = self.since?;
        Some(thread_cpu_time().saturating_sub(since))
    }

    /// It has had that much, and runs again.
    pub(super) fn resume(&mut self, had: Option<Duration>) {
        self.since = had.map(|had| thread_cpu_time().saturating_sub(had));
    }

    /// An epoch has ended while the guest runs: may it go on?
    pub(super) fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        let now = thread_cpu_time();
        let since = *self.since.get_or_insert(now);
        self.ticks = self.ticks.saturating_add(1);
        if now.saturating_sub(since) >= self.limit && self.ticks >= LEAST_TICKS {
            return Err(OverCpu(self.limit).into());
        }
        Ok(UpdateDeadline::Continue(1))
    }
}

impl Bounds {
    pub(super) fn new(memory_limit: u64) -> Bounds {
        Bounds {
            memory: 0,
            memory_limit: usize::try_from(memory_limit).unwrap_or(usize::MAX),
            elements: 0,
            refused: false,
        }
    }

    /// A call begins.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.refused = false;
    }

    fn grow(&mut self, within: bool) -> wasmtime::Result<bool> {
        self.refused |= !within;
        Ok(within)
    }
}

impl ResourceLimiter for Bounds {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let after = self.memory.saturating_add(desired.saturating_sub(current));
        if after <= self.memory_limit {
            self.memory = after;
        }
        self.grow(after <= self.memory_limit)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let after = self
            .elements
            .saturating_add(desired.saturating_sub(current));
        if after <= MOST_TABLE_ELEMENTS {
            self.elements = after;
        }
        self.grow(after <= MOST_TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        MOST_INSTANCES
    }

    fn tables(&self) -> usize {
        MOST_TABLES
    }

    fn memories(&self) -> usize {
        MOST_MEMORIES
    }
}

impl Fault {
    pub(super) fn bad_answer(detail: impl Into<String>) -> Fault {
        Fault {
            cause: Cause::BadAnswer,
            detail: detail.into(),
        }
    }

    /// What went wrong in a call that wasmtime gave up.
    pub(super) fn of(error: &wasmtime::Error, bounds: &Bounds) -> Fault {
        let cause = if error.downcast_ref::<OverCpu>().is_some() {
            Cause::Cpu
        } else if let Some(Trap::StackOverflow) = error.downcast_ref::<Trap>() {
            Cause::Stack
        } else if bounds.refused {
            Cause::Memory
        } else if error.downcast_ref::<Trap>().is_some()
            || error.downcast_ref::<Refusal>().is_some()
        {
            Cause::Trap
        } else {
            // It returned, but not what its type says: a pointer out of its memory, no UTF-8, more than may be handed over.
            Cause::BadAnswer
        };
        let detail = match cause {
            Cause::Memory => format!(
                "it needs more than its {} bytes of memory",
                bounds.memory_limit
            ),
            _ => error.root_cause().to_string(),
        };
        Fault { cause, detail }
    }
}

/// How long this thread has run so far.
pub(super) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl fmt::Display for OverCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it ran for more than {:?} of CPU time", self.0)
    }
}

impl std::error::Error for OverCpu {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_asleep_does_not_count() {
        let mut time = CpuTime::new(Duration::from_millis(1));
        assert!(time.tick().is_ok());
        std::thread::sleep(Duration::from_millis(20));
        assert!(time.tick().is_ok(), "the thread did not run");
        let start = thread_cpu_time();
        while thread_cpu_time() - start < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        assert!(time.tick().is_ok(), "few ticks: it may have been held up");
        assert!(time.tick().is_err());
        time.begin(Duration::from_millis(1));
        assert!(time.tick().is_ok(), "a new call begins anew");
    }

    #[test]
    fn what_others_do_while_it_waits_does_not_count() {
        let spin = |time: Duration| {
            let start = thread_cpu_time();
            while thread_cpu_time() - start < time {
                std::hint::spin_loop();
            }
        };
        let mut time = CpuTime::new(Duration::from_millis(20));
        assert!(time.tick().is_ok());
        let had = time.pause();
        spin(Duration::from_millis(40));
        time.resume(had);
        (0..LEAST_TICKS).for_each(|_| assert!(time.tick().is_ok()));
        spin(Duration::from_millis(21));
        assert!(time.tick().is_err());
    }

    #[test]
    fn memories_are_counted_together() {
        let mut bounds = Bounds::new(10);
        assert!(bounds.memory_growing(0, 6, None).unwrap());
        assert!(!bounds.memory_growing(0, 6, None).unwrap());
        assert!(bounds.refused);
        bounds.begin();
        assert!(bounds.memory_growing(6, 10, None).unwrap());
        assert!(!bounds.refused);
    }
}
