//! What a soak comes to: figures, and what is wrong with them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::LEFT_OVER;
use super::ledger::{Failures, Ledger};
use super::operator::Done;
use super::watch::{Held, Sample};

/// By how much the least memory in the last sixth may be above that in the second one. What an allocator keeps of compiling a plugin,
/// for a minute or two, is within it; what each request, reload or swap leaves behind is not, given time.
const GROWTH: u64 = 40 << 20;

/// Threads come and go with what blocks: compiling, reading files.
const MORE_THREADS: usize = 3;

pub struct Report {
    length: Duration,
    requests: BTreeMap<&'static str, u64>,
    failures: Failures,
    done: Done,
    /// Before any load.
    idle: Held,
    /// After a minute, where it lasted that long.
    minute: Option<Held>,
    /// In the second sixth of it and in the last one: the least of each figure.
    early: Held,
    late: Held,
    most: Held,
    /// After the load, once what was only kept is gone.
    settled: Held,
}

impl Report {
    pub fn new(
        length: Duration,
        ledger: &Ledger,
        done: &Done,
        idle: Held,
        samples: Vec<Sample>,
        settled: Held,
    ) -> Report {
        let count = samples.len();
        let most = |figure: fn(&Held) -> u64| {
            let all = samples.iter().map(|sample| figure(&sample.held));
            all.max().unwrap_or(0)
        };
        Report {
            length,
            requests: ledger.by_kind(),
            failures: ledger.failures(),
            done: done.clone(),
            idle,
            minute: samples
                .iter()
                .find(|sample| sample.at >= Duration::from_secs(60))
                .map(|sample| sample.held),
            early: least(&samples[count / 6..count / 3]),
            late: least(&samples[count - count / 6..]),
            most: Held {
                memory: most(|held| held.memory),
                files: most(|held| held.files as u64) as usize,
                threads: most(|held| held.threads as u64) as usize,
            },
            settled,
        }
    }

    pub fn requests(&self) -> u64 {
        self.requests.values().sum()
    }

    /// What is wrong, in words; empty when nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.done.refused.clone();
        let failed = &self.failures.unexplained;
        if !failed.is_empty() {
            problems.push(format!("{} requests failed without a death", failed.len()));
            problems.extend(failed.iter().take(10).cloned());
        }
        let grown = self.late.memory.saturating_sub(self.early.memory);
        if grown > GROWTH {
            problems.push(format!("memory has grown by {} MiB", grown >> 20));
        }
        if self.settled.files > self.idle.files + LEFT_OVER {
            problems.push(format!(
                "{} descriptors more than before the load",
                self.settled.files - self.idle.files
            ));
        }
        for (when, held) in [("under load", self.late), ("after it", self.settled)] {
            if held.threads > self.early.threads.max(self.idle.threads) + MORE_THREADS {
                problems.push(format!("{} threads {when}", held.threads));
            }
        }
        problems
    }

    pub fn json(&self) -> Value {
        let held = |held: &Held| json!({ "memory": held.memory, "files": held.files, "threads": held.threads });
        json!({
            "seconds": self.length.as_secs(),
            "requests": self.requests,
            "failed_by_deaths": self.failures.explained,
            "failed_otherwise": self.failures.unexplained,
            "changes": self.done.counts,
            "idle": held(&self.idle),
            "after_a_minute": self.minute.as_ref().map(held),
            "early": held(&self.early),
            "late": held(&self.late),
            "most": held(&self.most),
            "settled": held(&self.settled),
            "problems": self.problems(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<&'static str, u64>| {
            let parts = counts.iter().map(|(name, count)| format!("{name} {count}"));
            parts.collect::<Vec<_>>().join(", ")
        };
        let seconds = self.length.as_secs();
        writeln!(
            f,
            "{} requests, {seconds} s with what came after",
            self.requests()
        )?;
        writeln!(f, "  requests   {}", list(&self.requests))?;
        writeln!(f, "  changes    {}", list(&self.done.counts))?;
        writeln!(
            f,
            "  failed     {} by the death of a server, {} otherwise",
            self.failures.explained,
            self.failures.unexplained.len()
        )?;
        writeln!(f, "  idle       {}", self.idle)?;
        if let Some(minute) = &self.minute {
            writeln!(f, "  a minute   {minute}")?;
        }
        writeln!(f, "  early      {}", self.early)?;
        writeln!(f, "  late       {}", self.late)?;
        writeln!(f, "  most       {}", self.most)?;
        write!(f, "  after it   {}", self.settled)?;
        for problem in self.problems() {
            write!(f, "\n  WRONG      {problem}")?;
        }
        Ok(())
    }
}

/// Of each figure by itself.
fn least(samples: &[Sample]) -> Held {
    let of = |figure: fn(&Held) -> u64| {
        let all = samples.iter().map(|sample| figure(&sample.held));
        all.min().unwrap_or(0)
    };
    Held {
        memory: of(|held| held.memory),
        files: of(|held| held.files as u64) as usize,
        threads: of(|held| held.threads as u64) as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a soak whose memory does this, by the number of the sample.
    fn report(memory: impl Fn(u64) -> u64, files: usize) -> Report {
        let idle = Held {
            memory: 30 << 20,
            files: 20,
            threads: 6,
        };
        let samples = (0..240).map(|number| Sample {
            at: Duration::from_millis(250 * number),
            held: Held {
                memory: memory(number),
                ..idle
            },
        });
        let settled = Held { files, ..idle };
        let (ledger, done) = (Ledger::default(), Done::default());
        let samples = samples.collect();
        Report::new(
            Duration::from_secs(60),
            &ledger,
            &done,
            idle,
            samples,
            settled,
        )
    }

    #[test]
    fn what_stays_as_it_is_is_fine_and_what_grows_is_told() {
        let flat = report(|number| (60 << 20) + number % 7, 22);
        assert!(flat.problems().is_empty(), "{flat}");
        let grown = report(|number| (60 << 20) + number * (260 << 10), 22);
        assert_eq!(grown.problems().len(), 1, "{grown}");
        let busy = |number| if number % 3 == 0 { 60 << 20 } else { 1 << 30 };
        let spiked = report(busy, 22);
        assert!(spiked.problems().is_empty(), "{spiked}");
        let leaked = report(|_| 60 << 20, 25);
        assert_eq!(
            leaked.problems(),
            ["5 descriptors more than before the load"]
        );
    }
}
