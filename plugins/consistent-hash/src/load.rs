//! Bounded load: no server is given more than its share of what is in flight, times a factor (Mirrokni, Thorup, Zadimoghaddam,
//! "Consistent Hashing with Bounded Loads"; HAProxy's `hash-balance-factor`). A key whose server is full goes on to the next of the
//! ring, and comes back when there is room.

use std::cell::Cell;

use tidegate_sdk::{Pool, Server};

/// Pools of up to so many servers are summed up at each pick.
const SMALL: u32 = 16;

pub struct Load {
    /// Percent.
    factor: u64,
    weights: u64,
    /// Requests in flight at all servers, as of the last look.
    inflight: Cell<u64>,
    /// Picks until the next look. Looking costs a read a server, so it is done once for every eighth of the servers: a server's share
    /// is then out by a quarter of a request or so, and a pick pays for eight reads.
    until_look: Cell<u32>,
}

impl Load {
    pub fn new(factor: u32, pool: &Pool) -> Load {
        Load {
            factor: factor.into(),
            weights: pool
                .eligible()
                .iter()
                .map(|server| u64::from(server.weight))
                .sum(),
            inflight: Cell::new(0),
            until_look: Cell::new(0),
        }
    }

    /// Called once a pick, before `has_room`.
    pub fn look(&self, pool: &Pool) {
        if self.factor == 0 {
            return;
        }
        let left = self.until_look.get();
        if left > 0 {
            self.until_look.set(left - 1);
            return;
        }
        let servers = pool.eligible();
        let sum = servers
            .iter()
            .map(|server| u64::from(server.inflight()))
            .sum();
        self.inflight.set(sum);
        let count = servers.len() as u32;
        self.until_look
            .set(if count <= SMALL { 0 } else { count / 8 });
    }

    /// Whether one more request stays within the server's bound, rounded up.
    pub fn has_room(&self, server: &Server) -> bool {
        if self.factor == 0 {
            return true;
        }
        let share = (self.inflight.get() + 1) * self.factor * u64::from(server.weight);
        let bound = share.div_ceil((self.weights * 100).max(1));
        u64::from(server.inflight()) < bound
    }
}
