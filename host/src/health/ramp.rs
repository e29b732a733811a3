//! Slow start: the weight of a server that has come back grows in even steps (HAProxy's `slowstart`). Balancers read the
//! effective weight live, so a step is a store.

use std::sync::Arc;
use std::time::Duration;

use crate::upstream::Server;
use crate::upstream::vitals::WHOLE;

/// The first has the server begin at a twentieth.
const STEPS: u32 = 20;

pub const FIRST: u32 = WHOLE / STEPS;

pub async fn grow(server: Arc<Server>, over: Duration) {
    for step in 1..=STEPS {
        server.set_share(WHOLE * step / STEPS);
        if step < STEPS {
            tokio::time::sleep(over / (STEPS - 1)).await;
        }
    }
}
