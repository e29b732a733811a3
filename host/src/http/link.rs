//! What a client's connection and the steps that work for it share: byte counters, the deadline, the wish to close.
//!
//! A request passes through half a dozen phases with a timeout each. A timer a phase would mean half a dozen insertions
//! into the runtime's timer wheel and as many removals; instead a phase only notes its deadline here, and `timers` looks
//! at it when it may have passed.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::idle::Idle;
use super::pace::Floor;
use super::timers::{self, Millis, Place};

/// Bytes of interim answers that wait for a client to take them.
const MOST_AHEAD: usize = 64 << 10;

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

/// Connections to a server that are one client's alone, and to which server.
type Own = (Rc<str>, Rc<Idle>);

pub struct Link {
    limits: Limits,
    phase: Cell<Phase>,
    /// When the phase has lasted too long; 0: never.
    deadline: Cell<Millis>,
    place: Place,
    /// When `timers` will look at it next; 0: not before it is told to.
    armed: Cell<Millis>,
    /// When `timers` last found the deadline passed.
    overdue: Cell<Millis>,
    /// The phase that took too long, for the step that waits in it.
    expired: Cell<Option<Phase>>,
    closing: Cell<Closing>,
    waker: RefCell<Option<Waker>>,
    read: Cell<u64>,
    written: Cell<u64>,
    head_began: Cell<Option<Instant>>,
    /// More of the head has come since.
    head_went_on: Cell<bool>,
    /// Bytes of the request's body so far.
    body_read: Cell<u64>,
    /// A request's body was not read to its end.
    body_left: Cell<bool>,
    /// Why the exchange under way ends before its time.
    blame: Cell<Option<Blame>>,
    /// For the client, before the answer that is awaited.
    ahead: Cell<Vec<u8>>,
    /// A server's address, and the connections to it that are this client's alone.
    own: Cell<Option<Box<Own>>>,
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
    /// The request's body is longer than the listener takes.
    TooLarge,
    /// Neither side of a tunnel said anything for too long.
    TunnelTimeout,
    /// It broke off, or broke the protocol.
    Server,
    ServerTimeout,
    /// It makes work of nothing: we cut its connection.
    Flood,
    /// We cut it: the drain deadline has passed.
    Operator,
    /// We cut it: the server was found down.
    ServerDown,
    /// A panic of ours.
    Ourselves,
}

/// What a client is held to; a time of zero: none.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the first byte of a request, or from accept, to the end of its head.
    pub head: Duration,
    /// Between requests.
    pub idle: Duration,
    /// Without progress of a body either way.
    pub body: Duration,
    /// Whether a client that has closed its sending side is taken for gone.
    pub abort_on_close: bool,
    /// How fast that progress must be.
    pub floor: Floor,
    /// Bytes of a request's head.
    pub most_head: usize,
}

/// The phase took too long.
#[derive(Debug, PartialEq, Eq)]
pub struct Expired(pub Phase);

impl Link {
    /// Of a new connection of this worker: its first head is awaited.
    pub fn new(limits: Limits) -> Rc<Link> {
        let link = Link::resting(limits);
        link.enter(Phase::Head, link.limits.head);
        link
    }

    fn resting(limits: Limits) -> Rc<Link> {
        Rc::new_cyclic(|link| Link {
            limits,
            phase: Cell::new(Phase::Head),
            deadline: Cell::new(0),
            place: Place::take(link.clone()),
            armed: Cell::new(0),
            overdue: Cell::new(0),
            expired: Cell::new(None),
            closing: Cell::default(),
            waker: RefCell::default(),
            read: Cell::new(0),
            written: Cell::new(0),
            head_began: Cell::new(None),
            head_went_on: Cell::new(false),
            body_read: Cell::new(0),
            body_left: Cell::new(false),
            blame: Cell::new(None),
            ahead: Cell::default(),
            own: Cell::default(),
        })
    }

    /// Of a request that shares its connection with others: its head is here.
    pub(super) fn of_stream(limits: Limits) -> Rc<Link> {
        let link = Link::resting(limits);
        link.phase.set(Phase::Busy);
        link
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where connections to a server wait that nobody but this client may use. Those to another server, of before, are closed.
    pub fn own_idle(&self, address: &Rc<str>) -> Rc<Idle> {
        let known = self.own.take().filter(|own| own.0 == *address);
        let own = known.unwrap_or_else(|| Box::new((address.clone(), Rc::default())));
        let idle = own.1.clone();
        self.own.set(Some(own));
        idle
    }

    /// Resolves once the connection is to end in this way. For one task at a time.
    pub async fn closes(&self, how: Closing) {
        poll_fn(|cx| {
            self.owner(cx.waker());
            match self.closing() >= how {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
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
        self.phase.set(phase);
        self.expired.set(None);
        if at_most.is_zero() {
            return self.deadline.set(0);
        }
        let deadline = timers::after(at_most);
        self.deadline.set(deadline);
        self.arm(deadline);
    }

    fn arm(&self, deadline: Millis) {
        if self.armed.get() == 0 || deadline < self.armed.get() {
            self.armed.set(deadline);
            self.place.look_at(deadline);
        }
    }

    /// `timers` looks at it, as it was asked to at `armed`.
    pub(super) fn looked_at(&self, armed: Millis, now: Millis) {
        if armed != self.armed.get() {
            return;
        }
        self.armed.set(0);
        match self.deadline.get() {
            0 => {}
            deadline if deadline <= now => {
                self.overdue.set(now);
                self.wake();
            }
            deadline => self.arm(deadline),
        }
    }

    /// The phase that has lasted too long.
    pub(super) fn late(&self) -> Option<Phase> {
        let deadline = self.deadline.get();
        (deadline != 0 && deadline <= self.overdue.get()).then(|| self.phase.get())
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

    /// Tells the step that waits in this phase.
    pub(super) fn expire(&self, phase: Phase) {
        self.deadline.set(0);
        self.expired.set(Some(phase));
    }

    /// Whom to wake when there is something to do for the connection itself.
    pub(super) fn owner(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn count_read(&self, bytes: usize) {
        self.read.set(self.read.get() + bytes as u64);
        if !matches!(self.phase.get(), Phase::Idle | Phase::Head) {
            return;
        }
        let goes_on = self.head_began.get().is_some();
        self.head_went_on.set(goes_on);
        if !goes_on {
            self.head_began.set(Some(Instant::now()));
            self.enter(Phase::Head, self.limits.head);
        }
    }

    pub(super) fn count_written(&self, bytes: usize) {
        self.written.set(self.written.get() + bytes as u64);
        if self.phase.get() == Phase::Delivery {
            self.enter(Phase::Delivery, self.limits.body);
        }
    }

    /// When the head's first byte came, once a head.
    pub(super) fn take_head_began(&self) -> Option<Instant> {
        self.head_began.take()
    }

    /// When the first and when the last byte of the head came, which is whole.
    pub(super) fn take_head_times(&self) -> (Instant, Instant) {
        match self.take_head_began() {
            Some(began) if !self.head_went_on.get() => (began, began),
            began => {
                let now = Instant::now();
                (began.unwrap_or(now), now)
            }
        }
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

    /// Has something written to the client ahead of the answer that is awaited: `write` appends it. Where too much waits already,
    /// nothing is said.
    pub(super) fn say_ahead(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut ahead = self.ahead.take();
        if ahead.len() < MOST_AHEAD {
            write(&mut ahead);
        }
        self.ahead.set(ahead);
    }

    /// What is to be written ahead of the answer.
    pub(super) fn take_ahead(&self) -> Vec<u8> {
        self.ahead.take()
    }

    /// What the client has not taken of it.
    pub(super) fn keep_ahead(&self, rest: Vec<u8>) {
        self.ahead.set(rest);
    }

    /// Says why the exchange ends before its time; the first to speak is believed.
    pub fn blame(&self, whom: Blame) {
        self.blame.set(self.blame.get().or(Some(whom)));
    }

    /// Whether that is why the exchange ends.
    pub fn was_blamed(&self, whom: Blame) -> bool {
        self.blame.get() == Some(whom)
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

    fn link() -> Rc<Link> {
        let second = Duration::from_secs(1);
        Link::new(Limits {
            head: second,
            idle: second * 60,
            body: second * 30,
            abort_on_close: false,
            floor: Floor::default(),
            most_head: 32 << 10,
        })
    }

    #[test]
    fn a_phase_without_a_limit_has_no_deadline() {
        let link = link();
        link.enter(Phase::Busy, Duration::ZERO);
        assert_eq!((link.phase(), link.deadline.get()), (Phase::Busy, 0));
        link.looked_at(link.armed.get(), Millis::MAX);
        assert_eq!(link.late(), None);
    }

    #[test]
    fn a_deadline_that_has_moved_on_is_looked_at_again() {
        let link = link();
        let first = link.armed.get();
        link.enter(Phase::Idle, Duration::from_secs(60));
        assert_eq!(link.armed.get(), first, "it is soon enough to look then");
        link.looked_at(first, first);
        assert_eq!(link.late(), None);
        let second = link.armed.get();
        assert_eq!(second, link.deadline.get());
        link.looked_at(second, second - 1);
        assert_eq!(link.late(), None, "a millisecond too early");
        link.looked_at(second, second);
        assert_eq!(link.late(), Some(Phase::Idle));
        link.enter(Phase::Busy, Duration::from_secs(120));
        assert_eq!(link.late(), None);
        assert!(link.armed.get() > 0);
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
