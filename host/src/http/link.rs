//! What a client's connection and the steps that work for it share: byte counters, the one timer, the wish to close.
//!
//! A request passes through half a dozen phases with a timeout each. A timer a phase would mean half a dozen insertions
//! into the runtime's timer wheel and as many removals; instead a phase only notes its deadline here, and the connection
//! arms one timer, lazily: when it goes off too early, as it mostly does, it is armed again for the deadline of the day.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::pace::Floor;

/// Whom a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The client, for its next request.
    Idle,
    /// The client, for the rest of a head.
    Head,
    /// Ourselves, or what has a deadline of its own.
    Busy,
    /// The client, for more of a request's body.
    RequestBody,
    /// The same, until it is too slow rather than silent for too long.
    SlowBody,
    /// The server, to take more of a request.
    Sending,
    /// The server, for a response's head.
    FirstByte,
    /// The server, for more of a response's body.
    ResponseBody,
    /// The client, to take what it was sent.
    Delivery,
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closing {
    #[default]
    No,
    /// After the response under way, at once if it is idle.
    WhenIdle,
    /// Now.
    Cut,
}

pub struct Link {
    timeouts: Timeouts,
    phase: Cell<Phase>,
    deadline: Cell<Option<Instant>>,
    /// When the connection's timer goes off.
    armed: Cell<Option<Instant>>,
    /// The phase that took too long, for the step that waits in it.
    expired: Cell<Option<Phase>>,
    closing: Cell<Closing>,
    waker: RefCell<Option<Waker>>,
    read: Cell<u64>,
    written: Cell<u64>,
    head_began: Cell<Option<Instant>>,
    /// Bytes of the request's body so far.
    body_read: Cell<u64>,
    /// A request's body was not read to its end.
    body_left: Cell<bool>,
    /// Why the exchange under way ends before its time.
    blame: Cell<Option<Blame>>,
}

/// Who or what ended an exchange before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// It closed its connection.
    Client,
    /// It sent or took nothing for too long.
    ClientTimeout,
    /// It took too little in the time it had.
    ClientTooSlow,
    /// Neither side of a tunnel said anything for too long.
    TunnelTimeout,
    /// It broke off, or broke the protocol.
    Server,
    ServerTimeout,
    /// We cut it: the drain deadline has passed.
    Operator,
    /// A panic of ours.
    Ourselves,
}

/// What a client is held to; a time of zero: none.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// From the first byte of a request, or from accept, to the end of its head.
    pub head: Duration,
    /// Between requests.
    pub idle: Duration,
    /// Without progress of a body either way.
    pub body: Duration,
    /// How fast that progress must be.
    pub floor: Floor,
    /// Bytes of a request's head.
    pub most_head: usize,
}

/// The phase took too long.
#[derive(Debug, PartialEq, Eq)]
pub struct Expired(pub Phase);

impl Link {
    pub fn new(timeouts: Timeouts) -> Link {
        let link = Link {
            timeouts,
            phase: Cell::new(Phase::Head),
            deadline: Cell::new(None),
            armed: Cell::new(None),
            expired: Cell::new(None),
            closing: Cell::default(),
            waker: RefCell::default(),
            read: Cell::new(0),
            written: Cell::new(0),
            head_began: Cell::new(None),
            body_read: Cell::new(0),
            body_left: Cell::new(false),
            blame: Cell::new(None),
        };
        link.enter(Phase::Head, link.timeouts.head);
        link
    }

    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Asks the connection to end. It never becomes less urgent.
    pub fn close(&self, how: Closing) {
        self.closing.set(self.closing.get().max(how));
        self.wake();
    }

    pub fn closing(&self) -> Closing {
        self.closing.get()
    }

    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Nothing is under way: it waits for a request of which no byte has come.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase.get(), Phase::Idle | Phase::Head) && !self.head_has_begun()
    }

    /// A request is on its way to a server, or has been sent, and no answer has begun.
    pub(super) fn awaits_answer(&self) -> bool {
        matches!(
            self.phase.get(),
            Phase::RequestBody | Phase::SlowBody | Phase::Sending | Phase::FirstByte
        )
    }

    /// The client is waited for, to send more of a request's body.
    pub(super) fn awaits_body(&self) -> bool {
        matches!(self.phase.get(), Phase::RequestBody | Phase::SlowBody)
    }

    /// From now on this phase; it may last this long, zero is without end.
    pub fn enter(&self, phase: Phase, at_most: Duration) {
        self.enter_at(phase, Instant::now(), at_most);
    }

    pub(super) fn enter_at(&self, phase: Phase, now: Instant, at_most: Duration) {
        self.phase.set(phase);
        self.expired.set(None);
        let deadline = (!at_most.is_zero()).then(|| now + at_most);
        self.deadline.set(deadline);
        // A connection that sleeps longer than that must be told.
        if deadline.is_some_and(|at| self.armed.get().is_none_or(|armed| at < armed)) {
            self.wake();
        }
    }

    /// Enters `phase`, and waits for `future` no longer than it may last.
    pub async fn wait<F: Future>(
        &self,
        phase: Phase,
        at_most: Duration,
        future: F,
    ) -> Result<F::Output, Expired> {
        self.enter(phase, at_most);
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Some(expired) = self.expired.take() {
                return Poll::Ready(Err(Expired(expired)));
            }
            future.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// The phase that took too long since it was last asked.
    pub fn take_expired(&self) -> Option<Phase> {
        self.expired.take()
    }

    pub(super) fn expire(&self, phase: Phase) {
        self.deadline.set(None);
        self.expired.set(Some(phase));
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    pub(super) fn armed(&self) -> Option<Instant> {
        self.armed.get()
    }

    pub(super) fn set_armed(&self, at: Option<Instant>) {
        self.armed.set(at);
    }

    /// Whom to wake when there is something to do for the connection itself.
    pub(super) fn owner(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn count_read(&self, bytes: usize) {
        self.read.set(self.read.get() + bytes as u64);
        if matches!(self.phase.get(), Phase::Idle | Phase::Head) && self.head_began.get().is_none()
        {
            let now = Instant::now();
            self.head_began.set(Some(now));
            self.enter_at(Phase::Head, now, self.timeouts.head);
        }
    }

    pub(super) fn count_written(&self, bytes: usize) {
        self.written.set(self.written.get() + bytes as u64);
        if self.phase.get() == Phase::Delivery {
            self.enter(Phase::Delivery, self.timeouts.body);
        }
    }

    /// When the head's first byte came, once a head.
    pub(super) fn take_head_began(&self) -> Option<Instant> {
        self.head_began.take()
    }

    pub(super) fn head_has_begun(&self) -> bool {
        self.head_began.get().is_some()
    }

    /// A request has been read: what is told of one begins anew.
    pub(super) fn begin_exchange(&self) {
        self.body_read.set(0);
        self.blame.set(None);
        self.enter(Phase::Busy, Duration::ZERO);
    }

    pub(super) fn count_body(&self, bytes: usize) {
        self.body_read.set(self.body_read.get() + bytes as u64);
    }

    pub fn body_read(&self) -> u64 {
        self.body_read.get()
    }

    pub(super) fn leave_body(&self) {
        self.body_left.set(true);
    }

    pub(super) fn body_was_left(&self) -> bool {
        self.body_left.get()
    }

    /// Says why the exchange ends before its time; the first to speak is believed.
    pub fn blame(&self, whom: Blame) {
        self.blame.set(self.blame.get().or(Some(whom)));
    }

    /// Why the exchange ended before its time. Whoever was not blamed before: the client closed its connection.
    pub fn blamed(&self) -> Blame {
        let known = std::thread::panicking()
            .then_some(Blame::Ourselves)
            .or(self.blame.get());
        known.unwrap_or(match self.closing() {
            Closing::Cut => Blame::Operator,
            _ => Blame::Client,
        })
    }

    /// Bytes from and to the client since it connected.
    pub fn traffic(&self) -> (u64, u64) {
        (self.read.get(), self.written.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        let second = Duration::from_secs(1);
        Link::new(Timeouts {
            head: second,
            idle: second * 60,
            body: second * 30,
            floor: Floor::default(),
            most_head: 32 << 10,
        })
    }

    #[test]
    fn a_phase_without_a_limit_has_no_deadline() {
        let link = link();
        link.enter(Phase::Busy, Duration::ZERO);
        assert_eq!((link.phase(), link.deadline()), (Phase::Busy, None));
    }

    #[test]
    fn closing_never_becomes_less_urgent() {
        let link = link();
        link.close(Closing::Cut);
        link.close(Closing::WhenIdle);
        assert_eq!(link.closing(), Closing::Cut);
    }

    #[tokio::test]
    async fn who_waits_is_told_that_it_took_too_long() {
        let link = link();
        let waiting = link.wait(
            Phase::FirstByte,
            Duration::from_secs(5),
            std::future::pending::<()>(),
        );
        let mut waiting = pin!(waiting);
        let first = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await;
        assert!(first.is_pending());
        link.expire(Phase::FirstByte);
        assert_eq!(waiting.await, Err(Expired(Phase::FirstByte)));
    }

    #[test]
    fn the_first_byte_begins_a_head() {
        let link = link();
        link.enter(Phase::Idle, Duration::from_secs(60));
        link.count_read(5);
        assert_eq!(link.phase(), Phase::Head);
        assert!(link.take_head_began().is_some());
        link.enter(Phase::Busy, Duration::ZERO);
        link.count_read(5);
        assert_eq!(link.phase(), Phase::Busy);
        assert!(!link.head_has_begun());
    }
}
