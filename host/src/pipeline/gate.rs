//! Who is let in: how many connections a listener holds at once, and how many of them are one client's.
//!
//! ```text
//!                     no room: left in the kernel's queue
//!                   ▲
//! listening socket ─┴► gate ──► a Pass, held as long as the connection ──► worker
//!                       └─────► one too many of its client: reset
//! ```
//!
//! A listener that is full stops accepting, as HAProxy does at `maxconn`: whoever comes waits in the kernel's queue until a
//! connection ends. One client's surplus is reset instead, as nginx's `limit_conn` turns it away: left in the queue, it would
//! hold up everybody behind it.
//!
//! One lock for all gates, taken as a connection comes and as it goes, never for a request. Counts outlive a reload, so that
//! new bounds are held against what is open already.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use super::forwarded::is_trusted;
use crate::base::burst::Burst;
use crate::config::checked::Network;

/// Descriptors that are for no connection: what the process itself has open, and what each worker has.
const OWN_FILES: usize = 128;
const WORKER_FILES: usize = 8;

/// The gates of all listeners.
#[derive(Clone)]
pub struct Gates(Arc<Shared>);

/// The gate of one listener, whatever sockets it has.
#[derive(Clone)]
pub struct Gate {
    listener: Arc<str>,
    at: usize,
    gates: Gates,
}

/// What a connection holds of its gate. Dropped, it makes room.
pub struct Pass {
    gate: Gate,
    client: IpAddr,
}

/// What a listener allows.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// Connections at once; None: as many as the process can hold.
    pub connections: Option<usize>,
    /// Of one client; 0: as many as it likes.
    pub per_client: u32,
    /// Clients without a bound of their own: proxies, whose connections are those of many.
    pub exempt: Vec<Network>,
}

/// What a gate has to tell.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub listener: Arc<str>,
    /// None: there is no such listener any more.
    pub limit: Option<usize>,
    /// The most that were open at a time.
    pub most: usize,
    /// Connections that waited for room.
    pub held: u64,
    /// Connections reset as one too many of their client.
    pub refused: u64,
}

struct Shared {
    /// Connections of all listeners together.
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: usize,
    listeners: Vec<Listener>,
    /// Who found no room.
    waiting: Vec<Waker>,
}

struct Listener {
    name: Arc<str>,
    bounds: Option<Bounds>,
    open: usize,
    most: usize,
    clients: HashMap<IpAddr, u32>,
    held: u64,
    refused: u64,
    full: Burst,
    refusals: Burst,
}

impl Gates {
    /// For at most that many connections, all listeners together.
    pub fn new(most: usize) -> Gates {
        Gates(Arc::new(Shared {
            most,
            state: Mutex::default(),
        }))
    }

    /// For as many connections as that many open files allow, each with one to a server: how HAProxy computes its global
    /// `maxconn`.
    pub fn for_files(files: usize, workers: usize) -> Gates {
        let own = OWN_FILES + WORKER_FILES * workers;
        let free = files.saturating_sub(own).max(files / 2);
        Gates::new((free / 2).max(1))
    }

    /// Connections of all listeners together.
    pub fn most(&self) -> usize {
        self.0.most
    }

    /// These are the listeners from now on, and these their bounds. What is open beyond them stays open.
    pub fn set(&self, bounds: Vec<(&str, Bounds)>) {
        let mut state = self.lock();
        for listener in &mut state.listeners {
            listener.bounds = None;
        }
        for (name, bounds) in bounds {
            let at = state.at(name);
            state.listeners[at].bounds = Some(bounds);
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The gate of the listener of that name.
    pub fn gate(&self, listener: &str) -> Gate {
        let mut state = self.lock();
        let at = state.at(listener);
        Gate {
            listener: state.listeners[at].name.clone(),
            at,
            gates: self.clone(),
        }
    }

    pub fn told(&self) -> Vec<Told> {
        let state = self.lock();
        let told = |listener: &Listener| Told {
            listener: listener.name.clone(),
            limit: listener
                .bounds
                .as_ref()
                .map(|_| listener.limit(self.0.most)),
            most: listener.most,
            held: listener.held,
            refused: listener.refused,
        };
        state.listeners.iter().map(told).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    pub fn listener(&self) -> &Arc<str> {
        &self.listener
    }

    /// The next connection that `accept` gives, with its pass; without one it is to be reset. Pending while there is no
    /// room, and then `accept` is not called. `waited` belongs to the socket: its queue has been left alone for a while.
    pub fn poll_enter<T>(
        &self,
        cx: &mut Context<'_>,
        waited: &mut bool,
        accept: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<(T, SocketAddr)>>,
    ) -> Poll<io::Result<(T, Option<Pass>)>> {
        // Held while the system is asked: between looking for room and taking it, no other socket of the listener's gets in.
        let mut state = self.gates.lock();
        if !state.has_room(self.at, self.gates.0.most) {
            *waited = true;
            state.wait(cx.waker());
            self.tell_of_no_room(state);
            return Poll::Pending;
        }
        let accepted = accept(cx);
        *waited &= accepted.is_ready();
        let (connection, peer) = ready!(accepted)?;
        let client = client(peer.ip());
        let admitted = state.admit(self.at, client, peer.ip());
        state.listeners[self.at].held += u64::from(*waited && admitted);
        if !admitted {
            self.tell_of_refusal(state, peer.ip());
            return Poll::Ready(Ok((connection, None)));
        }
        let gate = self.clone();
        Poll::Ready(Ok((connection, Some(Pass { gate, client }))))
    }

    fn tell_of_no_room(&self, mut state: MutexGuard<'_, State>) {
        let listener = &mut state.listeners[self.at];
        let limit = listener.limit(self.gates.0.most);
        let begins = listener.full.begins(Instant::now());
        let (own, all) = (listener.open, state.open);
        drop(state);
        if !begins {
        } else if own >= limit && limit < self.gates.0.most {
            tracing::warn!(
                listener = &*self.listener,
                limit,
                "max-connections: new connections wait until others end"
            );
        } else {
            tracing::warn!(
                listener = &*self.listener,
                connections = all,
                "max-connections: all that the limit of open files allows are open; new connections wait until others end"
            );
        }
    }

    fn tell_of_refusal(&self, mut state: MutexGuard<'_, State>, client: IpAddr) {
        let begins = state.listeners[self.at].refusals.begins(Instant::now());
        drop(state);
        if begins {
            tracing::warn!(
                listener = &*self.listener,
                %client,
                "max-connections-per-client: further connections of this client are reset"
            );
        }
    }
}

impl Pass {
    /// The connection turns out to be another client's, which a proxy speaks for. False: one too many of that client's; the
    /// connection is to be reset.
    pub fn rename(&mut self, of: IpAddr) -> bool {
        let mut state = self.gate.gates.lock();
        let listener = &mut state.listeners[self.gate.at];
        let known = client(of);
        if known == self.client {
            return true;
        }
        listener.leave(self.client);
        let admitted = listener.admit(known, of);
        if admitted {
            self.client = known;
            return true;
        }
        // As it was, until it is dropped.
        *listener.clients.entry(self.client).or_default() += 1;
        listener.open += 1;
        self.gate.tell_of_refusal(state, of);
        false
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.gates.lock();
        state.open -= 1;
        state.listeners[self.gate.at].leave(self.client);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl State {
    /// The place of that listener; a new one if nobody has heard of it.
    fn at(&mut self, name: &str) -> usize {
        let known = self.listeners.iter().position(|known| &*known.name == name);
        known.unwrap_or_else(|| {
            self.listeners.push(Listener::new(name.into()));
            self.listeners.len() - 1
        })
    }

    fn has_room(&self, at: usize, most: usize) -> bool {
        let listener = &self.listeners[at];
        self.open < most && listener.open < listener.limit(most)
    }

    fn wait(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|known| known.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    fn admit(&mut self, at: usize, client: IpAddr, peer: IpAddr) -> bool {
        let admitted = self.listeners[at].admit(client, peer);
        self.open += usize::from(admitted);
        admitted
    }
}

impl Listener {
    fn new(name: Arc<str>) -> Listener {
        Listener {
            name,
            bounds: None,
            open: 0,
            most: 0,
            clients: HashMap::new(),
            held: 0,
            refused: 0,
            full: Burst::default(),
            refusals: Burst::default(),
        }
    }

    fn limit(&self, most: usize) -> usize {
        let own = self.bounds.as_ref().and_then(|bounds| bounds.connections);
        own.map_or(most, |own| own.min(most))
    }

    fn admit(&mut self, client: IpAddr, peer: IpAddr) -> bool {
        let open = self.clients.entry(client).or_default();
        let bounds = self.bounds.as_ref().filter(|bounds| bounds.per_client > 0);
        let refused = bounds
            .is_some_and(|bounds| *open >= bounds.per_client && !is_trusted(peer, &bounds.exempt));
        if refused {
            self.refused += 1;
            return false;
        }
        *open += 1;
        self.open += 1;
        self.most = self.most.max(self.open);
        true
    }

    fn leave(&mut self, client: IpAddr) {
        self.open -= 1;
        if let Some(open) = self.clients.get_mut(&client) {
            *open -= 1;
            if *open == 0 {
                self.clients.remove(&client);
            }
        }
        // After a flood the table is as small again as what is left.
        if self.clients.capacity() > 1024 && self.clients.len() < self.clients.capacity() / 8 {
            self.clients.shrink_to(self.clients.len() * 2);
        }
    }
}

/// Who shares a bound: an IPv4 address, or an IPv6 network of 64 bits, which is what one subscriber has (RFC 6177).
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(connections: usize, per_client: u32) -> Bounds {
        Bounds {
            connections: Some(connections),
            per_client,
            exempt: Vec::new(),
        }
    }

    fn gate(most: usize, bounds: Bounds) -> (Gates, Gate) {
        let gates = Gates::new(most);
        gates.set(vec![("web", bounds)]);
        let gate = gates.gate("web");
        (gates, gate)
    }

    /// What becomes of a connection of that client. None: it stays in the queue.
    fn knock(gate: &Gate, peer: &str) -> Option<Option<Pass>> {
        knock_again(gate, &mut false, Some(peer))
    }

    fn knock_again(gate: &Gate, waited: &mut bool, peer: Option<&str>) -> Option<Option<Pass>> {
        let mut cx = Context::from_waker(Waker::noop());
        let accept = |_: &mut Context<'_>| match peer {
            Some(peer) => Poll::Ready(Ok(((), SocketAddr::new(peer.parse().unwrap(), 7)))),
            None => Poll::Pending,
        };
        match gate.poll_enter(&mut cx, waited, accept) {
            Poll::Ready(entered) => Some(entered.unwrap().1),
            Poll::Pending => None,
        }
    }

    fn pass(gate: &Gate, peer: &str) -> Pass {
        let entered = knock(gate, peer).expect("there is room");
        entered.expect("the client may have another")
    }

    #[test]
    fn who_comes_to_a_full_listener_stays_in_the_queue() {
        let (_, gate) = gate(100, bounds(2, 0));
        let first = pass(&gate, "192.0.2.1");
        let _second = pass(&gate, "192.0.2.2");
        assert!(knock(&gate, "192.0.2.3").is_none());
        drop(first);
        let _third = pass(&gate, "192.0.2.3");
        assert!(knock(&gate, "192.0.2.1").is_none());
    }

    #[test]
    fn listeners_have_bounds_of_their_own_and_share_the_process() {
        let gates = Gates::new(3);
        gates.set(vec![("a", bounds(2, 0)), ("b", Bounds::default())]);
        let (a, b) = (gates.gate("a"), gates.gate("b"));
        let _passes = [pass(&a, "192.0.2.1"), pass(&a, "192.0.2.1")];
        assert!(knock(&a, "192.0.2.1").is_none());
        let last = pass(&b, "192.0.2.1");
        assert!(knock(&b, "192.0.2.1").is_none());
        drop(last);
        assert!(knock(&b, "192.0.2.1").is_some());
        let limits: Vec<_> = gates.told().iter().map(|told| told.limit).collect();
        assert_eq!(limits, [Some(2), Some(3)]);
    }

    #[test]
    fn room_wakes_who_waits() {
        use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
        struct Bell(AtomicUsize);
        impl std::task::Wake for Bell {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        let (gates, gate) = gate(100, bounds(1, 0));
        let held = pass(&gate, "192.0.2.1");
        let bell = Arc::new(Bell(AtomicUsize::new(0)));
        let waker = Waker::from(bell.clone());
        let mut cx = Context::from_waker(&waker);
        let mut wait = || {
            let none = |_: &mut Context<'_>| unreachable!("there is no room");
            assert!(
                gate.poll_enter::<()>(&mut cx, &mut false, none)
                    .is_pending()
            );
        };
        wait();
        wait();
        drop(held);
        assert_eq!(bell.0.load(Relaxed), 1, "once, however often it asked");
        let _held = pass(&gate, "192.0.2.1");
        wait();
        gates.set(vec![("web", bounds(2, 0))]);
        assert_eq!(bell.0.load(Relaxed), 2, "a larger bound is room too");
    }

    #[test]
    fn those_that_waited_are_counted_until_the_queue_is_empty() {
        let (gates, gate) = gate(100, bounds(1, 0));
        let mut waited = false;
        let first = pass(&gate, "192.0.2.1");
        assert!(knock_again(&gate, &mut waited, None).is_none());
        gates.set(vec![("web", bounds(4, 0))]);
        let mut enter = || knock_again(&gate, &mut waited, Some("192.0.2.2"));
        let _queued = [enter(), enter()];
        assert_eq!(gates.told()[0].held, 2);
        assert!(
            knock_again(&gate, &mut waited, None).is_none(),
            "it is empty"
        );
        let _fresh = knock_again(&gate, &mut waited, Some("192.0.2.2"));
        assert_eq!(gates.told()[0].held, 2, "this one found room as it came");
        drop(first);
    }

    #[test]
    fn one_client_too_often_is_refused_and_others_are_not() {
        let (gates, gate) = gate(100, bounds(100, 2));
        let first = pass(&gate, "192.0.2.1");
        let _second = pass(&gate, "192.0.2.1");
        assert!(knock(&gate, "192.0.2.1").unwrap().is_none());
        assert!(knock(&gate, "::ffff:192.0.2.1").unwrap().is_none());
        let _other = pass(&gate, "192.0.2.2");
        drop(first);
        let _again = pass(&gate, "192.0.2.1");
        assert_eq!(gates.told()[0].refused, 2);
    }

    #[test]
    fn ipv6_clients_are_networks_of_64_bits() {
        let (_, gate) = gate(100, bounds(100, 1));
        let _first = pass(&gate, "2001:db8:0:1::1");
        assert!(knock(&gate, "2001:db8:0:1:ffff::2").unwrap().is_none());
        let _other = pass(&gate, "2001:db8:0:2::1");
        let _this_machine = pass(&gate, "::1");
        let _ipv4 = pass(&gate, "127.0.0.1");
    }

    #[test]
    fn proxies_have_as_many_as_they_like() {
        let trusted = Network {
            address: "10.0.0.0".parse().unwrap(),
            prefix: 8,
        };
        let exempt = vec![trusted];
        let (gates, gate) = gate(
            100,
            Bounds {
                exempt,
                ..bounds(100, 1)
            },
        );
        let _passes: Vec<_> = (0..5).map(|_| pass(&gate, "10.1.2.3")).collect();
        assert_eq!(gates.told()[0].refused, 0);
    }

    #[test]
    fn counts_outlive_a_reload_and_new_bounds_hold_at_once() {
        let (gates, gate) = gate(100, Bounds::default());
        let passes = [pass(&gate, "192.0.2.1"), pass(&gate, "192.0.2.1")];
        gates.set(Vec::new());
        assert_eq!(gates.told()[0].limit, None);
        gates.set(vec![("web", bounds(100, 2))]);
        let gate = gates.gate("web");
        assert!(knock(&gate, "192.0.2.1").unwrap().is_none());
        gates.set(vec![("web", bounds(2, 0))]);
        assert!(knock(&gate, "192.0.2.2").is_none());
        drop(passes);
        assert!(knock(&gate, "192.0.2.2").is_some());
    }

    #[test]
    fn the_table_holds_no_more_than_there_are_connections() {
        let (gates, gate) = gate(usize::MAX, bounds(usize::MAX, 1));
        let passes: Vec<_> = (0..20_000_u32)
            .map(|n| pass(&gate, &IpAddr::from(n.to_be_bytes()).to_string()))
            .collect();
        let size = || {
            let state = gates.lock();
            let clients = &state.listeners[0].clients;
            (clients.len(), clients.capacity())
        };
        assert_eq!(size().0, 20_000);
        drop(passes);
        assert_eq!(size().0, 0);
        assert!(size().1 <= 1024, "{}", size().1);
    }

    #[test]
    fn the_limit_of_open_files_bounds_the_process() {
        assert_eq!(Gates::for_files(20_000, 2).most(), 9928);
        assert_eq!(Gates::for_files(1024, 4).most(), 432);
        assert_eq!(Gates::for_files(64, 2).most(), 16, "better few than none");
        assert_eq!(Gates::for_files(1, 2).most(), 1);
    }

    #[test]
    fn a_proxys_connection_counts_for_its_client() {
        let (_, gate) = gate(100, bounds(100, 1));
        let proxied = |client: &str| {
            let mut pass = pass(&gate, "192.0.2.1");
            let admitted = pass.rename(client.parse().unwrap());
            (admitted, pass)
        };
        let (first, _held) = proxied("198.51.100.7");
        assert!(first);
        let (second, refused) = proxied("198.51.100.7");
        assert!(!second);
        drop(refused);
        let (other, _held) = proxied("198.51.100.8");
        assert!(other, "and the proxy's own place is free again");
        assert_eq!(gate.gates.told()[0].refused, 1);
    }
}
