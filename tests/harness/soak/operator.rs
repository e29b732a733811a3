//! The changes, one after the other, each until it has taken effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::site::{Place, SERVERS};
use crate::wasm::{shipped, variant};

/// From the beginning of one change to that of the next, at least.
const EVERY: Duration = Duration::from_millis(300);

#[derive(Clone, Copy)]
enum Act {
    /// To one of two plugins that have run before.
    Swap,
    /// To one that nobody has compiled yet.
    New,
    File,
    HangUp,
    Add,
    Remove,
    Drain,
    Maint,
    Ready,
    Weight,
    Kill,
    Restart,
    Rotate,
}

/// One round of them. What is taken away is given back within it.
const ROUND: &[Act] = {
    use Act::*;
    &[
        Swap, File, Kill, Swap, HangUp, Add, Restart, Swap, Drain, File, New, Swap, Maint, Weight,
        HangUp, Ready, Swap, Kill, File, Remove, Rotate, Restart, Swap, HangUp,
    ]
};

/// What has been done.
#[derive(Clone, Default)]
pub struct Done {
    pub counts: BTreeMap<&'static str, u64>,
    /// What was refused, or came to nothing.
    pub refused: Vec<String>,
}

pub struct Operator {
    place: Place,
    ledger: Arc<Ledger>,
    done: Done,
    plugins: [Vec<u8>; 2],
    step: usize,
    number: u32,
    victim: usize,
}

impl Operator {
    pub fn new(place: Place, ledger: Arc<Ledger>) -> Operator {
        Operator {
            place,
            ledger,
            done: Done::default(),
            plugins: [shipped("random"), shipped("round-robin")],
            step: 0,
            number: 0,
            victim: 0,
        }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn done(&self) -> &Done {
        &self.done
    }

    /// The next change, and what is left of its time.
    pub fn act(&mut self) {
        let begun = Instant::now();
        let act = ROUND[self.step % ROUND.len()];
        self.step += 1;
        self.number += 1;
        if let Err(words) = self.perform(act) {
            self.done.refused.push(format!("{}: {words}", act.name()));
        }
        *self.done.counts.entry(act.name()).or_default() += 1;
        thread::sleep(EVERY.saturating_sub(begun.elapsed()));
    }

    /// Ends the round.
    pub fn mend(&mut self) {
        while !self.step.is_multiple_of(ROUND.len()) {
            self.act();
        }
    }

    fn perform(&mut self, act: Act) -> Result<(), String> {
        let drained = format!("app/{}", SERVERS[SERVERS.len() - 1]);
        match act {
            Act::Swap => {
                self.plugins.swap(0, 1);
                self.place.swap(&self.plugins[0])
            }
            Act::New => self.place.swap(&variant(&self.plugins[0], self.number)),
            Act::File => self.place.write(self.number),
            Act::HangUp => self.place.hang_up(),
            Act::Add => {
                let address = self.place.extra().to_string();
                self.place.ctl(&["add", "app/extra", &address])
            }
            Act::Remove => self.place.ctl(&["remove", "app/extra"]),
            Act::Drain => self.place.ctl(&["drain", &drained]),
            Act::Maint => self.place.ctl(&["maint", &drained]),
            Act::Ready => self.place.ctl(&["ready", &drained]),
            Act::Weight => {
                let weight = (1 + self.number % 5).to_string();
                self.place.ctl(&["weight", "app/a", &weight])
            }
            Act::Kill => {
                self.ledger.death();
                self.place.kill(self.victim);
                Ok(())
            }
            Act::Restart => {
                self.place.restart(self.victim);
                self.victim = (self.victim + 1) % (SERVERS.len() - 1);
                Ok(())
            }
            Act::Rotate => self.place.rotate(),
        }
    }
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Act::Swap => "swaps",
            Act::New => "new-plugins",
            Act::File => "reloads-by-file",
            Act::HangUp => "reloads-by-hup",
            Act::Add => "servers-added",
            Act::Remove => "servers-removed",
            Act::Drain => "drains",
            Act::Maint => "maint",
            Act::Ready => "ready",
            Act::Weight => "weights",
            Act::Kill => "deaths",
            Act::Restart => "restarts",
            Act::Rotate => "logs-rotated",
        }
    }
}

impl Done {
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}
