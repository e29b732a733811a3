//! Who waits for a place at a pool's servers, in the whole process: one line a server, for those who must have that one, and one
//! of the pool, for those who take any. A place that falls free goes to whoever has waited longest of all who may have it
//! (HAProxy's `maxconn` and its queues).
//!
//! ```text
//!   request ──► place free, nobody waits ──► server        one compare-and-swap
//!      │
//!      └──────► line of the pool ───┐
//!               line of a server ───┴──► a place falls free: the lowest ticket of both
//! ```
//!
//! The count of places taken is the server's own count of what is in flight. While nobody waits the lock is not touched. Whoever
//! begins to wait says so first (`waited`) and looks for a place once more after that; whoever gives a place back does that first,
//! and then looks whether anybody waits. So one of the two sees the other, and no place is lost between them. That holds where both
//! do so in one order for all (`SeqCst`): between its two steps each has a fence, or an operation that is one.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use smallvec::SmallVec;

use super::live::{Crew, InFlight, Server};
use crate::base::ids::Slot;
use crate::hook::ServerState;

/// Of one pool.
#[derive(Default)]
pub struct Queue {
    /// Somebody waits: places are taken and given back under the lock.
    waited: AtomicBool,
    state: Mutex<State>,
    waits: AtomicU64,
    micros: AtomicU64,
    /// The most in the pool's own line at a time.
    most: AtomicU32,
}

#[derive(Default)]
struct State {
    next: Ticket,
    /// The pool's servers, and whether each is a backup.
    members: HashMap<Slot, (Weak<Server>, bool)>,
    any: Line,
    of: HashMap<Slot, (Weak<Server>, Line)>,
    /// What became of those who wait no more, until they come to hear of it.
    called: HashMap<Ticket, Call>,
}

/// By when they came.
type Line = BTreeMap<Ticket, Waiter>;
type Ticket = u64;

struct Waiter {
    waker: Waker,
    /// Servers that it does not want.
    not: Slots,
}

type Slots = SmallVec<[Slot; 4]>;

/// A server's line, or the pool's own.
type Which = Option<Slot>;

/// What somebody waits for.
pub enum Wants<'a> {
    /// A place at this server.
    Server(&'a Arc<Server>),
    /// One at any server of the pool but these.
    Any { not: &'a [Slot] },
}

/// Why somebody waits no more.
pub enum Call {
    /// A place is its.
    Admitted(InFlight),
    /// What it waited for won't come: it is to choose anew.
    Elsewhere,
}

/// There are as many in that line as there may be.
#[derive(Debug)]
pub struct Full;

/// A wait, given up when it is dropped.
pub struct Wait {
    crew: Arc<Crew>,
    ticket: Ticket,
    line: Which,
    /// How many were in the line before it.
    pub ahead: usize,
    over: bool,
}

/// Wakes them once the lock is gone.
type Called = Vec<Waker>;

impl Queue {
    pub fn is_waited(&self) -> bool {
        self.waited.load(SeqCst)
    }

    /// These are the pool's servers from now on, with whether each is a backup.
    pub fn set_members<'a>(&self, members: impl Iterator<Item = (&'a Arc<Server>, bool)>) {
        let members = members.map(|(server, backup)| {
            let known = (Arc::downgrade(server), backup);
            (server.slot(), known)
        });
        self.lock().members = members.collect();
        self.look_again();
    }

    /// A server's state, weight or limit has changed.
    pub fn look_again(&self) {
        fence(SeqCst);
        if !self.is_waited() {
            return;
        }
        let mut state = self.lock();
        let mut called = Called::new();
        state.send_away_from_the_down(&mut called);
        state.serve_all(&mut called);
        self.done(state, called);
    }

    /// In the pool's own line.
    pub fn length(&self) -> usize {
        self.lock().any.len()
    }

    /// The most that were in it at a time.
    pub fn most(&self) -> u32 {
        self.most.load(Relaxed)
    }

    /// In this server's line.
    pub fn length_at(&self, server: Slot) -> usize {
        let state = self.lock();
        state.of.get(&server).map_or(0, |(_, line)| line.len())
    }

    /// Somebody has waited for so long.
    pub fn count_wait(&self, time: Duration) {
        self.waits.fetch_add(1, Relaxed);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Relaxed);
    }

    /// How many have waited, and for how long together.
    pub fn waits(&self) -> (u64, Duration) {
        let time = Duration::from_micros(self.micros.load(Relaxed));
        (self.waits.load(Relaxed), time)
    }

    /// A place for somebody who comes while others wait: only where none of those may have it.
    pub(super) fn overtakes_nobody(&self, server: &Arc<Server>) -> bool {
        let state = self.lock();
        state.first_for(server).is_none() && server.take_place()
    }

    /// This server has a place again.
    pub(super) fn freed(&self, server: &Arc<Server>) {
        let mut state = self.lock();
        let mut called = Called::new();
        state.serve(server, &mut called);
        self.done(state, called);
    }

    fn done(&self, state: MutexGuard<'_, State>, called: Called) {
        if state.any.is_empty() && state.of.is_empty() {
            self.waited.store(false, SeqCst);
        }
        drop(state);
        called.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crew {
    /// Takes a place in a line of at most `most` (0: any number); whoever waited before has its turn of before, `again`, and is not
    /// turned away now.
    pub fn wait(
        self: &Arc<Self>,
        wants: &Wants<'_>,
        most: usize,
        again: Option<Ticket>,
    ) -> Result<Wait, Full> {
        let mut state = self.queue.lock();
        let ahead = state.length(wants);
        if most > 0 && ahead >= most && again.is_none() {
            return Err(Full);
        }
        let ticket = again.unwrap_or(state.next);
        state.next = state.next.max(ticket + 1);
        state.join(wants, ticket);
        let most = match wants {
            Wants::Server(server) => &server.most_queued,
            Wants::Any { .. } => &self.queue.most,
        };
        most.fetch_max(ahead as u32 + 1, Relaxed);
        self.queue.waited.store(true, SeqCst);
        fence(SeqCst);
        // Only now: what was given back before this was not offered to anybody.
        let mut called = Called::new();
        match wants {
            Wants::Server(server) if server.vitals.state() != ServerState::Down => {
                state.serve(server, &mut called);
            }
            _ => {
                state.send_away_from_the_down(&mut called);
                state.serve_all(&mut called);
            }
        }
        self.queue.done(state, called);
        Ok(Wait {
            crew: self.clone(),
            ticket,
            line: wants.line(),
            ahead,
            over: false,
        })
    }
}

impl State {
    fn length(&self, wants: &Wants<'_>) -> usize {
        match wants {
            Wants::Any { .. } => self.any.len(),
            Wants::Server(server) => {
                let line = self.of.get(&server.slot());
                line.map_or(0, |(_, line)| line.len())
            }
        }
    }

    fn join(&mut self, wants: &Wants<'_>, ticket: Ticket) {
        let waiter = |not: &[Slot]| Waiter {
            waker: Waker::noop().clone(),
            not: not.into(),
        };
        match wants {
            Wants::Any { not } => self.any.insert(ticket, waiter(not)),
            Wants::Server(server) => {
                let empty = || (Arc::downgrade(server), Line::new());
                let (_, line) = self.of.entry(server.slot()).or_insert_with(empty);
                line.insert(ticket, waiter(&[]))
            }
        };
    }

    /// Gives this server's places to those who have waited longest for one.
    fn serve(&mut self, server: &Arc<Server>, called: &mut Called) {
        while server.has_place()
            && let Some((ticket, line)) = self.first_for(server)
        {
            let Some(admitted) = server.admit_at_once() else {
                return;
            };
            if let Some(waiter) = self.leave(ticket, line) {
                called.push(waiter.waker);
            }
            self.called.insert(ticket, Call::Admitted(admitted));
        }
    }

    fn serve_all(&mut self, called: &mut Called) {
        let lines = self.of.values().map(|(server, _)| server);
        let members = self.members.values().map(|(server, _)| server);
        let servers: Vec<_> = lines.chain(members).filter_map(Weak::upgrade).collect();
        for server in &servers {
            self.serve(server, called);
        }
    }

    fn first_for(&self, server: &Arc<Server>) -> Option<(Ticket, Which)> {
        let slot = server.slot();
        let line = self.of.get(&slot);
        let own = line.and_then(|(_, line)| line.keys().next());
        let own = own.map(|ticket| (*ticket, Some(slot)));
        let any = self.first_of_any(server).map(|ticket| (ticket, None));
        own.into_iter().chain(any).min_by_key(|(ticket, _)| *ticket)
    }

    fn first_of_any(&self, server: &Arc<Server>) -> Option<Ticket> {
        let (_, backup) = self.members.get(&server.slot())?;
        if self.any.is_empty() || !is_meant(server) {
            return None;
        }
        let mut line = self.any.iter();
        let fits = |waiter: &Waiter| {
            !waiter.not.contains(&server.slot()) && (!*backup || !self.has_other_than(waiter))
        };
        line.find(|(_, waiter)| fits(waiter))
            .map(|(ticket, _)| *ticket)
    }

    /// Whether a server that is no backup may serve it, sooner or later.
    fn has_other_than(&self, waiter: &Waiter) -> bool {
        self.members.iter().any(|(slot, (server, backup))| {
            let usable = || server.upgrade().is_some_and(|server| is_meant(&server));
            !backup && !waiter.not.contains(slot) && usable()
        })
    }

    /// Who waits for a server that is down, or for any where all are, is to choose anew.
    fn send_away_from_the_down(&mut self, called: &mut Called) {
        let mut tickets = Vec::new();
        for (slot, (server, line)) in &self.of {
            let server = server.upgrade();
            if server.is_none_or(|server| server.vitals.state() == ServerState::Down) {
                tickets.extend(line.keys().map(|ticket| (*ticket, Some(*slot))));
            }
        }
        let mut servers = self
            .members
            .values()
            .filter_map(|(server, _)| server.upgrade());
        if !servers.any(|server| is_meant(&server)) {
            tickets.extend(self.any.keys().map(|ticket| (*ticket, None)));
        }
        for (ticket, line) in tickets {
            if let Some(waiter) = self.leave(ticket, line) {
                called.push(waiter.waker);
                self.called.insert(ticket, Call::Elsewhere);
            }
        }
    }

    /// It is in no line any more.
    fn leave(&mut self, ticket: Ticket, line: Which) -> Option<Waiter> {
        let Some(slot) = line else {
            return self.any.remove(&ticket);
        };
        let (_, line) = self.of.get_mut(&slot)?;
        let waiter = line.remove(&ticket);
        if line.is_empty() {
            self.of.remove(&slot);
        }
        waiter
    }

    fn waiter(&mut self, ticket: Ticket, line: Which) -> Option<&mut Waiter> {
        let line = match line {
            None => &mut self.any,
            Some(slot) => &mut self.of.get_mut(&slot)?.1,
        };
        line.get_mut(&ticket)
    }
}

impl Wants<'_> {
    fn line(&self) -> Which {
        match self {
            Wants::Server(server) => Some(server.slot()),
            Wants::Any { .. } => None,
        }
    }
}

/// It is there for users, though it may have no place for one at the moment.
fn is_meant(server: &Server) -> bool {
    server.weight() > 0 && server.vitals.state() == ServerState::Ready
}

impl Wait {
    /// For a wait that goes on where this one led to nothing.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }
}

impl Future for Wait {
    type Output = Call;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Call> {
        let crew = self.crew.clone();
        let mut state = crew.queue.lock();
        if let Some(call) = state.called.remove(&self.ticket) {
            self.over = true;
            return Poll::Ready(call);
        }
        match state.waiter(self.ticket, self.line) {
            Some(waiter) => waiter.waker.clone_from(cx.waker()),
            None => debug_assert!(false, "who waits is in a line until it is called"),
        }
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let queue = &self.crew.queue;
        let mut state = queue.lock();
        let call = state.called.remove(&self.ticket);
        state.leave(self.ticket, self.line);
        queue.done(state, Called::new());
        // A place that it was given meanwhile goes to the next, which takes the lock.
        drop(call);
    }
}
