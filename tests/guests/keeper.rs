//! Behaves, and uses all that the host keeps for it: tickets, counters, the local store, and its own memory, which it hands
//! on.

use std::cell::Cell;

use tidegate_sdk::prelude::*;

struct Keeper {
    seen: Cell<u64>,
    ticket: Ticket,
    requests: Counter,
}

impl Plugin for Keeper {
    type Settings = NoSettings;
    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(Keeper {
            seen: Cell::new(0),
            ticket: Ticket::open("requests"),
            requests: Counter::open("requests", &[("kind", "any \"one\"")]),
        })
    }
}

impl RequestFilter for Keeper {
    fn request(&self, _: &Request) -> Outcome {
        self.seen.set(self.seen.get() + 1);
        self.requests.add(2);
        let sum = store::add("sum", 1, None);
        next()
            .note("seen", self.seen.get().to_string())
            .note("ticket", self.ticket.next().to_string())
            .note("sum", sum.to_string())
    }
}

impl Stateful for Keeper {
    fn snapshot(&self) -> Vec<u8> {
        self.seen.get().to_le_bytes().to_vec()
    }
    fn restore(&self, snapshots: Vec<Vec<u8>>) -> Result<(), String> {
        let number = |bytes: Vec<u8>| bytes.try_into().map_or(0, u64::from_le_bytes);
        self.seen.set(snapshots.into_iter().map(number).sum());
        Ok(())
    }
}

export!(Keeper: RequestFilter, Stateful);
