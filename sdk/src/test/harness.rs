//! A plugin, configured and called as the proxy would.

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::bindings::base::exports::tidegate::plugin::plugin as wit;
use crate::bindings::base::tidegate::plugin::types;
use crate::export::{Instance, Values};
use crate::{
    Admission, Answer, Balancer, Binding, Connect, FetchFilter, Finding, Health, Interest, Outcome,
    Pick, Plugin, PoolIndex, ProbeStream, Prober, RequestBalancer, ResponseFilter, ResponseOutcome,
    Route, Router, Slot, Standing, Stateful, Step, Sticky, Target, Verdict,
};

use super::checks::{self, expect};
use super::host::{FakeHost, Live};
use super::message::{FakeProbe, FakeRequest, FakeResponse};
use super::peer::FakePeer;
use super::server::FakeServer;
use super::sys::with_host;

/// A configured instance of a plugin, with a [`FakeHost`] behind it.
pub struct Harness<P: Plugin> {
    host: Rc<FakeHost>,
    setup: Setup<P>,
    instance: Instance<P>,
    pools: RefCell<Vec<FakePool>>,
}

#[derive(Clone, Copy)]
struct Untold {
    balancer: bool,
    request_balancer: bool,
}

impl Untold {
    const ALL: Untold = Untold {
        balancer: true,
        request_balancer: true,
    };
}

#[derive(Clone)]
struct FakePool {
    name: String,
    servers: Vec<FakeServer>,
    /// Their slots, in the same order.
    slots: Vec<Slot>,
    /// The roles that have not been told yet. They are told when they are asked: only then is it known that the plugin plays
    /// them.
    untold: Untold,
}

impl<P: Plugin> Harness<P> {
    /// Configures the plugin with these settings. The error is what the operator would read.
    pub fn new(settings: Value) -> Result<Harness<P>, String> {
        Setup::default().settings(settings).start()
    }

    /// Where more than the settings matters.
    pub fn setup() -> Setup<P> {
        Setup::default()
    }

    /// Another instance with the same settings, host and pools: another worker of the same proxy.
    pub fn another_worker(&self) -> Harness<P> {
        let worker = self.setup.clone().start_on(self.host.clone());
        let worker = worker.expect("the same settings were good before");
        let pools = self.pools.borrow();
        let again = |pool: &FakePool| FakePool {
            untold: Untold::ALL,
            ..pool.clone()
        };
        worker.pools.replace(pools.iter().map(again).collect());
        worker
    }

    /// The plugin itself.
    pub fn plugin(&self) -> &P {
        &self.instance.plugin
    }

    /// What the plugin declared.
    pub fn interest(&self) -> &Interest {
        &self.instance.interest
    }

    /// The host: its clock, logs and counters.
    pub fn host(&self) -> &FakeHost {
        &self.host
    }

    /// Gives a pool these servers, in place of those it had. The pool is `app`, or one that [`Setup::pools`] named.
    pub fn set_pool(&self, pool: &str, servers: impl IntoIterator<Item = FakeServer>) {
        let servers: Vec<FakeServer> = servers.into_iter().collect();
        let names = servers.iter().map(|server| server.name.as_str());
        let slots: Vec<Slot> = self.slots(pool, names);
        for (server, slot) in servers.iter().zip(&slots) {
            self.host
                .change(slot.0, |live| live.weight = server.weight * 256);
        }
        let index = self.pool_index(pool).0 as usize;
        let pool = &mut self.pools.borrow_mut()[index];
        (pool.servers, pool.slots, pool.untold) = (servers, slots, Untold::ALL);
    }

    /// The live counters of a server, to be set.
    pub fn live(&self, pool: &str, server: &str) -> Live<'_> {
        Live {
            host: &self.host,
            slot: self.host.slot(pool, server),
        }
    }

    /// Runs something with this harness's host behind the host functions.
    pub fn with<R>(&self, call: impl FnOnce(&P) -> R) -> R {
        self.run(|instance| call(&instance.plugin))
    }

    fn run<R>(&self, call: impl FnOnce(&Instance<P>) -> R) -> R {
        with_host(&self.host, || call(&self.instance))
    }

    /// One that calls itself pure is asked twice: a proxy that keeps the first answer must not be told from one that asks.
    fn answer<R: PartialEq + Debug>(&self, call: impl Fn(&Instance<P>) -> R) -> R {
        let answer = self.run(&call);
        if self.interest().pure {
            let again = self.run(&call);
            assert_eq!(
                answer, again,
                "the interest says `pure`, but the same inputs got two answers"
            );
        }
        answer
    }

    fn pool_index(&self, pool: &str) -> PoolIndex {
        let pools = self.pools.borrow();
        let index = pools.iter().position(|known| known.name == pool);
        PoolIndex(
            index.unwrap_or_else(|| {
                panic!("no pool `{pool}`: name it by Harness::setup().pools([…])")
            }) as u32,
        )
    }

    /// Tells a role of the pools that changed.
    fn tell(
        &self,
        untold: impl Fn(&mut Untold) -> &mut bool,
        update: impl Fn(&Instance<P>, PoolIndex, Vec<types::Server>),
    ) {
        for (index, pool) in self.pools.borrow_mut().iter_mut().enumerate() {
            if std::mem::take(untold(&mut pool.untold)) {
                let told = |server: &FakeServer| server.told(&self.host, &pool.name);
                let servers = pool.servers.iter().map(told).collect();
                self.run(|instance| update(instance, PoolIndex(index as u32), servers));
            }
        }
    }

    fn slots<'a>(&self, pool: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<Slot> {
        let slot = |name| Slot(self.host.slot(pool, name));
        names.into_iter().map(slot).collect()
    }

    /// The name of the picked server. A slot that is none of the pool's is the plugin's mistake, and the test fails.
    fn named(&self, pool: PoolIndex, slot: Option<Slot>) -> Option<String> {
        let slot = slot?;
        let pool = &self.pools.borrow()[pool.0 as usize];
        let number = pool.slots.iter().position(|known| *known == slot);
        let number =
            number.unwrap_or_else(|| panic!("{slot:?} is no server of pool `{}`", pool.name));
        Some(pool.servers[number].name.clone())
    }
}

impl<P: Router> Harness<P> {
    /// Asks the router.
    pub fn route(&self, request: &FakeRequest) -> Route {
        let values = request.values(&self.interest().request);
        let route = self.answer(|instance| instance.route(&values));
        expect(checks::route(&route, &self.instance.context));
        route
    }
}

impl<P: FetchFilter> Harness<P> {
    /// Asks the request filter.
    pub fn request(&self, request: &FakeRequest) -> Step {
        let values = request.values(&self.interest().request);
        let step = self.answer(|instance| instance.on_request(&values));
        expect(checks::step(&step, &self.instance.context));
        step
    }

    /// Gives it the answer to a fetch, an [`Answer`] or a [`FetchError`](crate::FetchError).
    pub fn resume(&self, state: u64, answer: impl Into<Answer>) -> Step {
        let answer = answer.into();
        let step = self.run(|instance| instance.plugin.resume(state, answer));
        expect(checks::step(&step, &self.instance.context));
        step
    }
}

impl Step {
    /// What was decided. In a test: panics when it is a fetch that the request waits for.
    pub fn outcome(self) -> Outcome {
        match self {
            Step::Done(outcome) | Step::DoneAndFetch(outcome, ..) => outcome,
            Step::Fetch(fetch, _) => panic!("a decision was expected, and a fetch came: {fetch:?}"),
            Step::LookUp(key, _) => panic!("a decision was expected, and a look-up came: {key:?}"),
        }
    }

    /// The call to be made, now or behind the request, and the number given with it. In a test: panics when it is a decision.
    pub fn fetch(self) -> (crate::Fetch, u64) {
        match self {
            Step::Fetch(fetch, state) | Step::DoneAndFetch(_, fetch, state) => (fetch, state),
            Step::Done(outcome) => panic!("a fetch was expected, and a decision came: {outcome:?}"),
            Step::LookUp(key, _) => panic!("a fetch was expected, and a look-up came: {key:?}"),
        }
    }

    /// The key to be looked up, and the number given with it. In a test: panics when it is something else.
    pub fn look_up(self) -> (Vec<u8>, u64) {
        match self {
            Step::LookUp(key, state) => (key, state),
            other => panic!("a look-up was expected, and this came: {other:?}"),
        }
    }
}

impl<P: ResponseFilter> Harness<P> {
    /// Asks the response filter.
    pub fn response(&self, response: &FakeResponse) -> ResponseOutcome {
        let values = response.values(&self.interest().response);
        let outcome = self.answer(|instance| instance.on_response(&values));
        expect(checks::edits(&outcome.edits).and_then(|()| checks::notes(&outcome.notes)));
        outcome
    }
}

impl<P: Balancer> Harness<P> {
    /// Asks the balancer for a request without a key; the name of the server that it picks.
    pub fn pick(&self, pool: &str) -> Option<String> {
        self.pick_by_key(pool, 0, &[])
    }

    /// As [`pick`](Harness::pick), after these servers were tried.
    pub fn pick_again(&self, pool: &str, tried: &[&str]) -> Option<String> {
        self.pick_by_key(pool, 0, tried)
    }

    /// Asks the balancer for this request: its key is hashed as the proxy would.
    pub fn pick_keyed(&self, pool: &str, request: &FakeRequest, tried: &[&str]) -> Option<String> {
        let key = hashed(&request.values(&self.interest().key));
        self.pick_by_key(pool, key, tried)
    }

    /// Asks the balancer with any key.
    pub fn pick_by_key(&self, pool: &str, key: u64, tried: &[&str]) -> Option<String> {
        self.tell(|untold| &mut untold.balancer, Instance::update_balancer);
        let tried = self.slots(pool, tried.iter().copied());
        let pick = Pick {
            key,
            random: self.host.random(),
            tried: &tried,
        };
        let index = self.pool_index(pool);
        let slot = self.run(|instance| instance.pick(index, pick));
        self.named(index, slot)
    }
}

impl<P: RequestBalancer> Harness<P> {
    /// Asks the request balancer; the name of the server that it picks.
    pub fn pick_for(&self, pool: &str, request: &FakeRequest) -> Option<String> {
        self.pick_again_for(pool, request, &[])
    }

    /// As [`pick_for`](Harness::pick_for), after these servers were tried.
    pub fn pick_again_for(
        &self,
        pool: &str,
        request: &FakeRequest,
        tried: &[&str],
    ) -> Option<String> {
        self.tell(
            |untold| &mut untold.request_balancer,
            Instance::update_request_balancer,
        );
        let tried = self.slots(pool, tried.iter().copied());
        let values = request.values(&self.interest().request);
        let (index, random) = (self.pool_index(pool), self.host.random());
        let slot = self.run(|instance| instance.pick_for(index, &values, random, &tried));
        self.named(index, slot)
    }
}

impl<P: Sticky> Harness<P> {
    /// Asks which server holds the session.
    pub fn find(&self, pool: &str, request: &FakeRequest) -> Finding {
        let values = request.values(&self.interest().request);
        let index = self.pool_index(pool);
        let finding = self.run(|instance| instance.find(index, &values));
        expect(checks::edits(&finding.edits).and_then(|()| checks::notes(&finding.notes)));
        finding
    }

    /// Tells which server answered.
    pub fn bind(&self, pool: &str, server: &str, response: &FakeResponse) -> Binding {
        let values = response.values(&self.interest().response);
        let index = self.pool_index(pool);
        let binding = self.run(|instance| instance.bind(index, server, &values));
        expect(checks::edits(&binding.edits));
        binding
    }
}

impl<P: Health> Harness<P> {
    /// Asks what a probe's result means.
    pub fn judge(&self, pool: &str, server: &str, probe: &FakeProbe) -> Verdict {
        let probe = probe.told(&self.interest().response);
        self.run(|instance| instance.judge(pool, server, &probe))
    }
}

impl<P: Prober> Harness<P> {
    /// Has a server probed. `Err`: it is down, and why.
    pub fn probe(&self, pool: &str, server: &str, peer: FakePeer) -> Result<Standing, String> {
        let target = Target {
            pool: pool.to_owned(),
            server: server.to_owned(),
            address: format!("{server}.test:1"),
        };
        let mut stream = ProbeStream::over(peer);
        let found = self.run(|instance| instance.probe(&target, &mut stream));
        expect(found.as_ref().map_or(Ok(()), checks::standing));
        found
    }
}

impl<P: Connect> Harness<P> {
    /// Asks whether a connection is accepted; of the request, what belongs to the connection counts.
    pub fn connect(&self, connection: &FakeRequest) -> Admission {
        let values = connection.values(&self.interest().request);
        self.run(|instance| instance.connect(&values))
    }
}

impl<P: Stateful> Harness<P> {
    /// Takes a snapshot.
    pub fn snapshot(&self) -> Vec<u8> {
        self.run(|instance| instance.plugin.snapshot())
    }

    /// Gives it the snapshots of all old instances.
    pub fn restore(&self, snapshots: Vec<Vec<u8>>) -> Result<(), String> {
        self.run(|instance| instance.plugin.restore(snapshots))
    }
}

impl<P: Plugin> std::fmt::Debug for Harness<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Harness")
            .field("name", &self.setup.name)
            .finish_non_exhaustive()
    }
}

/// How a plugin is to be configured: [`Harness::setup`].
pub struct Setup<P> {
    name: String,
    settings: Value,
    pools: Vec<String>,
    routes: Vec<String>,
    plugin: std::marker::PhantomData<fn() -> P>,
}

impl<P: Plugin> Setup<P> {
    /// The settings, as the config would give them.
    pub fn settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    /// The pools of the config; `app` alone unless said otherwise.
    pub fn pools<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.pools = names.into_iter().map(str::to_owned).collect();
        self
    }

    /// The `[[route]]` entries of the config.
    pub fn routes<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.routes = names.into_iter().map(str::to_owned).collect();
        self
    }

    /// The name that the config gives the plugin; `test` unless said otherwise.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Configures the plugin. The error is what the operator would read.
    pub fn start(self) -> Result<Harness<P>, String> {
        self.start_on(Rc::default())
    }

    fn start_on(self, host: Rc<FakeHost>) -> Result<Harness<P>, String> {
        let context = wit::Context {
            name: self.name.clone(),
            config: self.settings.to_string(),
            pools: self.pools.clone(),
            routes: self.routes.clone(),
        };
        let instance = with_host(&host, || Instance::<P>::new(context))?;
        checks::interest(&instance.interest)?;
        let empty = |name: &String| FakePool {
            name: name.clone(),
            servers: Vec::new(),
            slots: Vec::new(),
            untold: Untold::ALL,
        };
        let pools = RefCell::new(self.pools.iter().map(empty).collect());
        Ok(Harness {
            host,
            instance,
            pools,
            setup: self,
        })
    }
}

impl<P> Default for Setup<P> {
    fn default() -> Self {
        Setup {
            name: "test".into(),
            settings: json!({}),
            pools: vec!["app".into()],
            routes: Vec::new(),
            plugin: std::marker::PhantomData,
        }
    }
}

impl<P> Clone for Setup<P> {
    fn clone(&self) -> Self {
        Setup {
            name: self.name.clone(),
            settings: self.settings.clone(),
            pools: self.pools.clone(),
            routes: self.routes.clone(),
            plugin: self.plugin,
        }
    }
}

/// The host's hash of a key's values (WIT, `interest.key`).
fn hashed(values: &Values) -> u64 {
    if values.is_empty() {
        return 0;
    }
    let mut bytes = Vec::new();
    for value in values {
        let length = value.as_ref().map_or(u32::MAX, |value| value.len() as u32);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, NoSettings, Request};

    /// Calls itself pure, and counts.
    struct Counts(RefCell<u32>);

    impl Plugin for Counts {
        type Settings = NoSettings;
        fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
            Ok(Counts(RefCell::new(0)))
        }
        fn interest(&self) -> Interest {
            Interest::none().pure()
        }
    }

    impl Router for Counts {
        fn route(&self, _: &Request) -> Route {
            *self.0.borrow_mut() += 1;
            Route::next().note("count", self.0.borrow().to_string())
        }
    }

    #[test]
    #[should_panic(expected = "the same inputs got two answers")]
    fn one_that_only_says_that_it_is_pure_is_found_out() {
        let plugin = Harness::<Counts>::new(json!({})).unwrap();
        plugin.route(&FakeRequest::get("/"));
    }

    #[test]
    fn the_key_of_an_absent_value_is_what_the_constant_says() {
        assert_eq!(
            hashed(&vec![None]),
            crate::ABSENT_KEY,
            "{:#x}",
            hashed(&vec![None])
        );
    }
}
