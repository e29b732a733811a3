//! The balancer `consistent-hash`: a part of the request decides, and a server's coming or going moves only its own keys.
//!
//! The host hashes the part (`Interest::key`), so a pick is given one number, and a search on a ring of points answers it. Servers
//! stand on the ring by name and weight: proxies that know of the same servers agree, in whatever order they list them.

mod load;
mod ring;
mod settings;

use tidegate_sdk::ABSENT_KEY;
use tidegate_sdk::prelude::*;

use load::Load;
use ring::Ring;
use settings::Settings;

/// Points that a key may wander on from its own before it is given to whoever is there.
const FARTHEST: usize = 4096;

struct ConsistentHash {
    settings: Settings,
    rings: PerPool<Kept>,
}

/// What is kept of a pool.
struct Kept {
    /// Of what `all` was made: as long as it is the same, a change of state costs no sorting.
    made_of: Vec<(String, u32)>,
    all: Ring,
    /// The points of the eligible servers; none when they are all of them.
    eligible: Option<Ring>,
    load: Load,
}

impl Plugin for ConsistentHash {
    type Settings = Settings;

    fn new(settings: Settings, _: &Context) -> Result<Self, String> {
        settings.check()?;
        Ok(ConsistentHash {
            settings,
            rings: PerPool::default(),
        })
    }

    fn interest(&self) -> Interest {
        let inputs = self.settings.on.0.iter().cloned();
        inputs.fold(Interest::none(), Interest::key)
    }
}

impl Balancer for ConsistentHash {
    fn update(&self, pool: &Pool) {
        // Taken out first: two rings of a large pool need not fit into memory at once.
        let before = self.rings.take(pool.index());
        let kept = Kept::new(pool, before, self.settings.balance_factor);
        self.rings.set(pool.index(), kept);
    }

    fn pick(&self, pool: &Pool, p: &Pick) -> Option<Slot> {
        if p.key == ABSENT_KEY {
            // Nothing to go by: one place for all of them would be one server for all of them.
            return pool.any(p.random).map(|server| server.slot);
        }
        let kept = self.rings.get(pool.index())?;
        kept.load.look(pool);
        kept.walk(pool, p.key)
            .or_else(|| pool.any(p.key))
            .map(|server| server.slot)
    }
}

impl Kept {
    fn new(pool: &Pool, before: Option<Kept>, factor: u32) -> Kept {
        let name = |server: &Server| (server.name.clone(), server.weight);
        let made_of: Vec<(String, u32)> = pool.servers().iter().map(name).collect();
        let all = match before {
            Some(before) if before.made_of == made_of => before.all,
            _ => Ring::new(pool.servers()),
        };
        let mut wanted = vec![false; pool.servers().len()];
        pool.eligible()
            .numbers()
            .for_each(|number| wanted[number] = true);
        let everybody = wanted
            .iter()
            .zip(pool.servers())
            .all(|(wanted, s)| *wanted || s.weight == 0);
        let eligible = (!everybody).then(|| all.only(|number| wanted[number]));
        Kept {
            made_of,
            all,
            eligible,
            load: Load::new(factor, pool),
        }
    }

    /// The first server from the key on that was not tried and has room; when none has, the first that was not tried.
    fn walk<'a>(&self, pool: &Pool<'a>, key: u64) -> Option<&'a Server> {
        let ring = self.eligible.as_ref().unwrap_or(&self.all);
        let mut own = None;
        for number in ring.from(key).take(FARTHEST) {
            let server = &pool.servers()[number];
            if pool.was_tried(server) {
                continue;
            }
            if self.load.has_room(server) {
                return Some(server);
            }
            own = own.or(Some(server));
        }
        own
    }
}

export!(ConsistentHash: Balancer);

#[cfg(test)]
mod tests;
