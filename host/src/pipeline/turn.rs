//! A server that has no place for a request, since it has as many as it may (`max-connections`) or is on trial: another is asked
//! for, and where there is none that has a place, the request waits in line, first come, first served, on whatever worker it is.
//!
//! ```text
//! picked ─► place? ──no──► another? ──no──► line of the pool ──► the first place that falls free
//!                   sticky ───────────────► line of that server ─► its next place
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::pick::{Tried, pick};
use super::site::{Limits, Member, PoolSite};
use crate::base::event::Queued;
use crate::base::ids::{PoolIndex, Slot};
use crate::base::trail::Trail;
use crate::config::checked::WhenFull;
use crate::hook::RequestView;
use crate::upstream::Crew;
use crate::upstream::live::InFlight;
use crate::upstream::queue::{Call, Wait, Wants};

/// How often the balancer is asked for a server instead of one that is full, before the servers are taken in turn: it may be a
/// plugin, and there may be a thousand.
const SECOND_THOUGHTS: usize = 3;

/// Who asks for a server: a request, whatever protocol it came in, or a connection in tcp mode.
pub trait Asker: RequestView {
    fn random(&self) -> u64;

    /// Some: it is followed.
    fn trail(&self) -> Option<&Trail>;

    /// None had a place at once.
    fn queues(&mut self);

    /// That is over, be it in vain.
    fn queued(&mut self, waited: &Waited);
}

/// What is asked for.
pub struct Asked<'a, 'b> {
    pub pool: &'a PoolSite,
    pub index: PoolIndex,
    /// Where the user belongs.
    pub stuck: Option<&'a Member>,
    pub tried: &'b [Slot],
    /// A place that falls free later is of no use.
    pub at_once: bool,
}

struct Asking<'a> {
    index: PoolIndex,
    view: &'a dyn RequestView,
    random: u64,
    tried: &'a [Slot],
    at_once: bool,
    trail: Option<&'a Trail>,
}

/// A server that had no place.
struct Refused<'a> {
    server: &'a Member,
    /// The user belongs there.
    stuck: bool,
}

/// What became of a wait.
#[derive(Default)]
pub struct Waited {
    /// Some: there was one.
    pub time: Option<Duration>,
    pub behind: Queued,
    begun: Option<(Arc<Crew>, Instant)>,
}

pub type Turn<'a> = (&'a Member, InFlight);

/// A server, and a place there: the one that the user belongs to, or the balancer's, or the first of which there is a place.
pub async fn take<'a>(asker: &mut impl Asker, asked: Asked<'a, '_>) -> Result<Turn<'a>, Fault> {
    let Asked {
        pool,
        index,
        stuck,
        tried,
        at_once,
    } = asked;
    let random = asker.random();
    let server = match stuck {
        Some(server) => server,
        None => pick(pool, index, asker, random, tried, asker.trail())?,
    };
    let Some(limits) = &pool.limits else {
        return Ok((server, server.live.enter()));
    };
    if let Some(place) = server.live.admit() {
        return Ok((server, place));
    }
    asker.queues();
    let mut waited = Waited::default();
    let asking = Asking {
        index,
        view: asker,
        random,
        tried,
        at_once,
        trail: asker.trail(),
    };
    let refused = Refused {
        server,
        stuck: stuck.is_some(),
    };
    // Boxed: few requests wait.
    let turn = Box::pin(another(pool, limits, &asking, refused, &mut waited)).await;
    asker.queued(&waited);
    turn
}

/// A server with a place, after one had none.
async fn another<'a>(
    pool: &'a PoolSite,
    limits: &Limits,
    asking: &Asking<'_>,
    refused: Refused<'a>,
    waited: &mut Waited,
) -> Result<Turn<'a>, Fault> {
    let begun = Instant::now();
    let waiting = wait(pool, limits, asking, refused, waited);
    let turn = tokio::time::timeout(pool.timeouts.queue, waiting).await;
    if waited.time.is_some() {
        waited.time = Some(begun.elapsed());
    }
    turn.unwrap_or(Err(Fault::QueueTimeout(later(pool))))
}

async fn wait<'a>(
    pool: &'a PoolSite,
    limits: &Limits,
    asking: &Asking<'_>,
    refused: Refused<'a>,
    waited: &mut Waited,
) -> Result<Turn<'a>, Fault> {
    // For a trial nobody waits: it is like one that is down.
    let waits = limits.crew.is_some() && refused.server.live.vitals.trial.has_room();
    let wants = refused.stuck || limits.when_full == WhenFull::Wait;
    let mut wanted = (wants && waits).then_some(refused.server);
    let mut first = Some(refused.server);
    let mut ticket = None;
    // Servers that this generation does not know.
    let mut strange = Tried::new();
    loop {
        if wanted.is_none()
            && let Some(turn) = with_room(pool, asking, first.take())?
        {
            return Ok(turn);
        }
        let crew = limits.crew.as_ref().ok_or(Fault::NoServer)?;
        if asking.at_once {
            return Err(Fault::NoServer);
        }
        let not: Tried = asking.tried.iter().chain(&strange).copied().collect();
        let wants = match wanted {
            Some(server) => Wants::Server(&server.live),
            None => Wants::Any { not: &not },
        };
        let Ok(wait) = crew.wait(&wants, limits.max_queue, ticket) else {
            if wanted.take().is_some() && refused.stuck {
                continue;
            }
            return Err(Fault::QueueFull(later(pool)));
        };
        waited.begin(crew, &wait, &wants);
        ticket = Some(wait.ticket());
        match wait.await {
            // All are down.
            Call::Elsewhere if wanted.is_none() => {
                return with_room(pool, asking, None)?.ok_or(Fault::NoServer);
            }
            Call::Elsewhere => wanted = None,
            Call::Admitted(place) => match pool.member(place.server().slot()) {
                Some(server) => return Ok((server, place)),
                None => strange.push(place.server().slot()),
            },
        }
    }
}

/// A server that has a place, by the balancer as long as it is patient. None: none has.
fn with_room<'a>(
    pool: &'a PoolSite,
    asking: &Asking<'_>,
    full: Option<&Member>,
) -> Result<Option<Turn<'a>>, Fault> {
    let mut passed: Tried = asking.tried.into();
    passed.extend(full.map(|server| server.live.slot()));
    for _ in 0..SECOND_THOUGHTS {
        let Asking {
            index,
            view,
            random,
            trail,
            ..
        } = *asking;
        let picked = pick(pool, index, view, random, &passed, trail);
        let Ok(server) = picked else { break };
        if pool.is_spare(server, asking.tried) {
            break;
        }
        if let Some(place) = server.live.admit() {
            return Ok(Some((server, place)));
        }
        passed.push(server.live.slot());
    }
    match pool.in_turn_with_room(asking.tried) {
        Some(turn) => Ok(Some(turn)),
        // Nobody waits for what can't come.
        None if pool.may_have_room(asking.tried) => Ok(None),
        None => Err(Fault::NoServer),
    }
}

impl Waited {
    fn begin(&mut self, crew: &Arc<Crew>, wait: &Wait, wants: &Wants<'_>) {
        if self.time.replace(Duration::ZERO).is_some() {
            return;
        }
        self.begun = Some((crew.clone(), Instant::now()));
        let ahead = u32::try_from(wait.ahead).unwrap_or(u32::MAX);
        match wants {
            Wants::Server(_) => self.behind.at_server = ahead,
            Wants::Any { .. } => self.behind.at_pool = ahead,
        }
    }
}

impl Drop for Waited {
    /// However it ended: who asked may have left.
    fn drop(&mut self) {
        if let Some((crew, begun)) = &self.begun {
            crew.queue.count_wait(begun.elapsed());
        }
    }
}

/// Seconds after which it is worth to ask again: by then all that wait now are served, or have given up.
fn later(pool: &PoolSite) -> u16 {
    let seconds = pool.timeouts.queue.as_millis().div_ceil(1000);
    u16::try_from(seconds).unwrap_or(u16::MAX)
}
