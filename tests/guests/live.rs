//! Answers live counters in place of slots: the pool's name says which, of the pool's first server.

use tidegate_sdk::prelude::*;

struct Reader;

impl Plugin for Reader {
    type Settings = NoSettings;
    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(Reader)
    }
}

impl Balancer for Reader {
    fn pick(&self, pool: &Pool, _: &Pick) -> Option<Slot> {
        let server = pool.servers().first()?;
        Some(Slot(match pool.name() {
            "inflight" => server.inflight(),
            "ewma" => server.ewma_us(),
            _ => server.live_weight(),
        }))
    }
}

export!(Reader: Balancer);
