//! One instance of a plugin: its store, and typed ways into each role that it has.
//!
//! An instance lives on one worker and serves one call at a time. Any fault poisons its store, so whoever sees one drops
//! the instance.

use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use wasmtime::Store;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower, TypedFunc,
};
use wasmtime::error::Context as _;

use crate::state::PluginState;
use crate::upstream::LiveTable;

use super::artifact::{Artifact, Exports};
use super::bindings::{
    Admission, Binding, Choice, Context, FetchError, Finding, Interest, Probe, Probed, Reply,
    ResponseOutcome, Server, Step, Target, Verdict,
};
use super::limits::{Bounds, CpuTime, Fault};
use super::prober::Talk;
use super::ticker::Ticker;
use super::wasi::Output;

/// Bytes that a guest may hand over in one call, in either direction of calling. An answer's body and a value for the
/// local store are far below it.
const HANDED_OVER: usize = 4 << 20;

/// A snapshot's bound is 16 MiB; the rest is what its list takes beside.
pub(super) const SNAPSHOT: usize = 16 << 20;

/// `host` and the other floors see values as they are borrowed from a request.
pub(super) type Inputs<'a> = &'a [Option<&'a [u8]>];

/// A store's data. `live.wat` reads the first three fields.
#[repr(C)]
pub(super) struct Guest {
    cells: u64,
    slots: u64,
    now_ms: u32,
    live: Arc<LiveTable>,
    pub(super) time: CpuTime,
    /// While it probes a server.
    pub(super) talk: Option<Talk>,
    bounds: Bounds,
    pub(super) name: Arc<str>,
    pub(super) state: Arc<PluginState>,
    pub(super) random: Random,
    pub(super) output: [Output; 2],
    _counted: Counted,
}

const _: () = assert!(std::mem::offset_of!(Guest, cells) == 0);
const _: () = assert!(std::mem::offset_of!(Guest, slots) == 8);
const _: () = assert!(std::mem::offset_of!(Guest, now_ms) == 16);

/// What an instance is made from, beside its artifact.
pub(super) struct Surroundings<'a> {
    pub(super) ticker: &'a Arc<Ticker>,
    pub(super) live: &'a Arc<LiveTable>,
    pub(super) state: &'a Arc<PluginState>,
    pub(super) name: &'a Arc<str>,
    pub(super) memory: u64,
    /// Gauges that count the instance while it exists.
    pub(super) gauges: [&'a Arc<AtomicUsize>; 2],
}

/// An instance that can be called.
pub(super) struct Running {
    store: Store<Guest>,
    ticker: Arc<Ticker>,
    reads_ewma: bool,
    /// It is linked with functions that may wait.
    waits: bool,
    roles: Roles,
}

type Connect = TypedFunc<(Inputs<'static>,), (Admission,)>;
type Route = TypedFunc<(Inputs<'static>,), (Choice,)>;
type Request = TypedFunc<(Inputs<'static>,), (Step,)>;
type Resume = TypedFunc<(u64, Result<&'static Reply, FetchError>), (Step,)>;
type Response = TypedFunc<(Inputs<'static>,), (ResponseOutcome,)>;
type Update = TypedFunc<(u32, &'static [Server]), ()>;
type Pick = TypedFunc<(u32, u64, u64), (Option<u32>,)>;
type PickAgain = TypedFunc<(u32, u64, u64, &'static [u32]), (Option<u32>,)>;
type RequestPick = TypedFunc<(u32, Inputs<'static>, u64, &'static [u32]), (Option<u32>,)>;
type Find = TypedFunc<(u32, Inputs<'static>), (Finding,)>;
type Bind = TypedFunc<(u32, &'static str, Inputs<'static>), (Binding,)>;
type Judge = TypedFunc<(&'static str, &'static str, &'static Probe), (Verdict,)>;
type Prober = TypedFunc<(&'static Target,), (Probed,)>;
type Configure = TypedFunc<(&'static Context,), (Result<Interest, String>,)>;
type Snapshot = TypedFunc<(), (Vec<u8>,)>;
type Restore = TypedFunc<(&'static [Vec<u8>],), (Result<(), String>,)>;

struct Roles {
    configure: Configure,
    snapshot: Option<Snapshot>,
    restore: Option<Restore>,
    connect: Option<Connect>,
    route: Option<Route>,
    request: Option<Request>,
    resume: Option<Resume>,
    response: Option<Response>,
    update: Option<Update>,
    pick: Option<Pick>,
    pick_again: Option<PickAgain>,
    request_update: Option<Update>,
    request_pick: Option<RequestPick>,
    find: Option<Find>,
    bind: Option<Bind>,
    judge: Option<Judge>,
    probe: Option<Prober>,
}

impl Running {
    /// Makes a fresh instance; its start code runs under the limit.
    pub(super) fn new(
        artifact: &Artifact,
        around: &Surroundings<'_>,
        limit: Duration,
    ) -> Result<Running, Fault> {
        let (pre, waits) = (artifact.prepared(), artifact.roles().prober);
        let mut store = Store::new(pre.engine(), Guest::new(around));
        store.limiter(|guest| &mut guest.bounds);
        store.epoch_deadline_callback(|mut store| store.data_mut().time.tick());
        store.set_hostcall_fuel(HANDED_OVER);
        let made = within(&mut store, around.ticker, limit, |store| {
            let instance = match waits {
                true => at_once(pre.instantiate_async(&mut *store))?,
                false => pre.instantiate(&mut *store)?,
            };
            Roles::find(&instance, store, artifact.exports())
        });
        match made {
            Ok(roles) => Ok(Running {
                store,
                ticker: around.ticker.clone(),
                reads_ewma: artifact.reads_ewma(),
                waits,
                roles,
            }),
            Err(error) => Err(Fault::of(&error, &store.data().bounds)),
        }
    }

    pub(super) fn configure(
        &mut self,
        context: &Context,
        limit: Duration,
    ) -> Result<Result<Interest, String>, Fault> {
        let (function, waits) = (self.roles.configure, self.waits);
        self.call(limit, |store| match waits {
            true => at_once(function.call_async(store, (context,))),
            false => function.call(store, (context,)),
        })
    }

    /// None: it is not stateful.
    pub(super) fn snapshot(&mut self, limit: Duration) -> Option<Result<Vec<u8>, Fault>> {
        let function = self.roles.snapshot?;
        // Lifting a list charges its bytes and a little for the list itself.
        self.store.set_hostcall_fuel(SNAPSHOT + (1 << 10));
        let snapshot = self.call(limit, |store| function.call(store, ()));
        self.store.set_hostcall_fuel(HANDED_OVER);
        Some(snapshot)
    }

    pub(super) fn restore(
        &mut self,
        snapshots: &[Vec<u8>],
        limit: Duration,
    ) -> Result<Result<(), String>, Fault> {
        let Some(function) = self.roles.restore else {
            return Ok(Ok(()));
        };
        self.call(limit, |store| function.call(store, (snapshots,)))
    }

    /// Tells a balancer of a pool's servers; nothing for what is no balancer.
    pub(super) fn update(
        &mut self,
        pool: u32,
        servers: &[Server],
        limit: Duration,
    ) -> Result<(), Fault> {
        let Some(function) = self.roles.update.or(self.roles.request_update) else {
            return Ok(());
        };
        let now_ms = self.store.data().live.now_ms();
        self.store.data_mut().now_ms = now_ms;
        self.call_for_nothing(limit, |store| function.call(store, (pool, servers)))
    }

    pub(super) fn connect(
        &mut self,
        inputs: Inputs<'_>,
        limit: Duration,
    ) -> Result<Admission, Fault> {
        let function = there(self.roles.connect)?;
        self.call(limit, |store| function.call(store, (inputs,)))
    }

    pub(super) fn route(&mut self, inputs: Inputs<'_>, limit: Duration) -> Result<Choice, Fault> {
        let function = there(self.roles.route)?;
        self.call(limit, |store| function.call(store, (inputs,)))
    }

    pub(super) fn request(&mut self, inputs: Inputs<'_>, limit: Duration) -> Result<Step, Fault> {
        let function = there(self.roles.request)?;
        self.call(limit, |store| function.call(store, (inputs,)))
    }

    pub(super) fn resume(
        &mut self,
        state: u64,
        answer: Result<&Reply, FetchError>,
        limit: Duration,
    ) -> Result<Step, Fault> {
        let function = there(self.roles.resume)?;
        self.call(limit, |store| function.call(store, (state, answer)))
    }

    pub(super) fn response(
        &mut self,
        inputs: Inputs<'_>,
        limit: Duration,
    ) -> Result<ResponseOutcome, Fault> {
        let function = there(self.roles.response)?;
        self.call(limit, |store| function.call(store, (inputs,)))
    }

    /// Whether it picks from numbers alone.
    pub(super) fn picks_by_key(&self) -> bool {
        self.roles.pick.is_some()
    }

    pub(super) fn pick(
        &mut self,
        pool: u32,
        key: u64,
        random: u64,
        tried: &[u32],
        limit: Duration,
    ) -> Result<Option<u32>, Fault> {
        self.tell_time();
        if tried.is_empty() {
            let function = there(self.roles.pick)?;
            self.call(limit, |store| function.call(store, (pool, key, random)))
        } else {
            let function = there(self.roles.pick_again)?;
            self.call(limit, |store| {
                function.call(store, (pool, key, random, tried))
            })
        }
    }

    pub(super) fn request_pick(
        &mut self,
        pool: u32,
        inputs: Inputs<'_>,
        random: u64,
        tried: &[u32],
        limit: Duration,
    ) -> Result<Option<u32>, Fault> {
        self.tell_time();
        let function = there(self.roles.request_pick)?;
        self.call(limit, |store| {
            function.call(store, (pool, inputs, random, tried))
        })
    }

    pub(super) fn find(
        &mut self,
        pool: u32,
        inputs: Inputs<'_>,
        limit: Duration,
    ) -> Result<Finding, Fault> {
        let function = there(self.roles.find)?;
        self.call(limit, |store| function.call(store, (pool, inputs)))
    }

    pub(super) fn bind(
        &mut self,
        pool: u32,
        server: &str,
        inputs: Inputs<'_>,
        limit: Duration,
    ) -> Result<Binding, Fault> {
        let function = there(self.roles.bind)?;
        self.call(limit, |store| function.call(store, (pool, server, inputs)))
    }

    pub(super) fn judge(
        &mut self,
        pool: &str,
        server: &str,
        probe: &Probe,
        limit: Duration,
    ) -> Result<Verdict, Fault> {
        let function = there(self.roles.judge)?;
        self.call(limit, |store| function.call(store, (pool, server, probe)))
    }

    /// Ends when it has spoken with the server, or has used up its time. Where this is dropped before, the instance is of no use
    /// any more.
    pub(super) async fn probe(
        &mut self,
        target: &Target,
        talk: Talk,
        limit: Duration,
    ) -> Result<Probed, Fault> {
        let function = there(self.roles.probe)?;
        begin(&mut self.store, limit);
        self.store.data_mut().talk = Some(talk);
        let answer = {
            let mut call = pin!(function.call_async(&mut self.store, (target,)));
            // While it waits, this thread runs no guest, or another.
            poll_fn(|context| {
                let _running = self.ticker.enter();
                call.as_mut().poll(context)
            })
            .await
        };
        self.store.data_mut().talk = None;
        match answer {
            Ok((finding,)) => Ok(finding),
            Err(error) => Err(Fault::of(&error, &self.store.data().bounds)),
        }
    }

    /// The clock that averages decay by, for those who read one: reading the clock costs more than reading a counter.
    #[inline]
    fn tell_time(&mut self) {
        if self.reads_ewma {
            let now_ms = self.store.data().live.now_ms();
            self.store.data_mut().now_ms = now_ms;
        }
    }

    #[inline]
    fn call<R>(
        &mut self,
        limit: Duration,
        f: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<(R,)>,
    ) -> Result<R, Fault> {
        match within(&mut self.store, &self.ticker, limit, f) {
            Ok((answer,)) => Ok(answer),
            Err(error) => Err(Fault::of(&error, &self.store.data().bounds)),
        }
    }

    fn call_for_nothing(
        &mut self,
        limit: Duration,
        f: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<()>,
    ) -> Result<(), Fault> {
        self.call(limit, |store| f(store).map(|()| ((),)))
    }
}

/// Runs a guest's code under its limits.
#[inline]
fn within<R>(
    store: &mut Store<Guest>,
    ticker: &Ticker,
    limit: Duration,
    f: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<R>,
) -> wasmtime::Result<R> {
    begin(store, limit);
    let _running = ticker.enter();
    f(store)
}

#[inline]
fn begin(store: &mut Store<Guest>, limit: Duration) {
    let guest = store.data_mut();
    guest.time.begin(limit);
    guest.bounds.begin();
    store.set_epoch_deadline(1);
}

/// What could wait and does not: only a probe has something to wait for.
fn at_once<R>(call: impl Future<Output = wasmtime::Result<R>>) -> wasmtime::Result<R> {
    let done = call.now_or_never();
    done.unwrap_or_else(|| Err(wasmtime::Error::msg("it waits where nothing may")))
}

fn there<F>(function: Option<F>) -> Result<F, Fault> {
    function.ok_or_else(|| Fault::bad_answer("it does not have the role that it is used in"))
}

/// Whether what a component exports of the WIT has the functions and types that it should. `full` makes an interface's
/// name.
pub(super) fn check(
    component: &InstancePre<Guest>,
    full: impl Fn(&str) -> String,
) -> wasmtime::Result<()> {
    let in_interface = |name| Shape {
        component,
        within: component
            .component()
            .get_export_index(None, full(name).as_str()),
        interface: name,
    };
    in_interface("plugin").has::<Configure>("configure")?;
    in_interface("stateful").has::<Snapshot>("snapshot")?;
    in_interface("stateful").has::<Restore>("restore")?;
    in_interface("connect").has::<Connect>("on-connect")?;
    in_interface("router").has::<Route>("on-route")?;
    in_interface("request-filter").has::<Request>("on-request")?;
    in_interface("request-filter").has::<Resume>("resume")?;
    in_interface("response-filter").has::<Response>("on-response")?;
    in_interface("balancer").has::<Update>("update")?;
    in_interface("balancer").has::<Pick>("pick")?;
    in_interface("balancer").has::<PickAgain>("pick-again")?;
    in_interface("request-balancer").has::<Update>("update")?;
    in_interface("request-balancer").has::<RequestPick>("pick")?;
    in_interface("sticky").has::<Find>("find")?;
    in_interface("sticky").has::<Bind>("bind")?;
    in_interface("health").has::<Judge>("judge")?;
    in_interface("prober").has::<Prober>("probe")
}

/// An interface that a component may export.
struct Shape<'a> {
    component: &'a InstancePre<Guest>,
    within: Option<ComponentExportIndex>,
    interface: &'a str,
}

impl Shape<'_> {
    /// An interface that is there has this function, of this type.
    fn has<F: Signature>(&self, name: &str) -> wasmtime::Result<()> {
        let Some(within) = &self.within else {
            return Ok(());
        };
        let component = self.component.component();
        let path = format!("`{}.{name}`", self.interface);
        match component.get_export(Some(within), name) {
            Some((ComponentItem::ComponentFunc(function), _)) => {
                F::check(&function, self.component).with_context(|| format!("{path} differs"))
            }
            _ => wasmtime::bail!("{path} is missing"),
        }
    }
}

/// A typed function, as a type alone.
trait Signature {
    fn check(function: &ComponentFunc, component: &InstancePre<Guest>) -> wasmtime::Result<()>;
}

impl<P, R> Signature for TypedFunc<P, R>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    fn check(function: &ComponentFunc, component: &InstancePre<Guest>) -> wasmtime::Result<()> {
        function.typecheck::<P, R>(&component.instance_type())
    }
}

impl Roles {
    fn find(
        instance: &Instance,
        store: &mut Store<Guest>,
        exports: &Exports,
    ) -> wasmtime::Result<Roles> {
        Ok(Roles {
            configure: instance.get_typed_func(&mut *store, exports.configure)?,
            snapshot: typed(instance, store, &exports.snapshot)?,
            restore: typed(instance, store, &exports.restore)?,
            connect: typed(instance, store, &exports.connect)?,
            route: typed(instance, store, &exports.route)?,
            request: typed(instance, store, &exports.request)?,
            resume: typed(instance, store, &exports.resume)?,
            response: typed(instance, store, &exports.response)?,
            update: typed(instance, store, &exports.update)?,
            pick: typed(instance, store, &exports.pick)?,
            pick_again: typed(instance, store, &exports.pick_again)?,
            request_update: typed(instance, store, &exports.request_update)?,
            request_pick: typed(instance, store, &exports.request_pick)?,
            find: typed(instance, store, &exports.find)?,
            bind: typed(instance, store, &exports.bind)?,
            judge: typed(instance, store, &exports.judge)?,
            probe: typed(instance, store, &exports.probe)?,
        })
    }
}

fn typed<P, R>(
    instance: &Instance,
    store: &mut Store<Guest>,
    index: &Option<ComponentExportIndex>,
) -> wasmtime::Result<Option<TypedFunc<P, R>>>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let Some(index) = index else { return Ok(None) };
    instance.get_typed_func(store, index).map(Some)
}

impl Guest {
    fn new(around: &Surroundings<'_>) -> Guest {
        let (cells, slots) = around.live.raw();
        Guest {
            // `live`, beside it, keeps the cells where they are for as long as the store exists.
            cells: cells.expose_provenance() as u64,
            slots: slots as u64,
            now_ms: 0,
            live: around.live.clone(),
            time: CpuTime::new(Duration::ZERO),
            talk: None,
            bounds: Bounds::new(around.memory),
            name: around.name.clone(),
            state: around.state.clone(),
            random: Random::new(),
            output: Default::default(),
            _counted: Counted::new(around.gauges),
        }
    }
}

/// Counts an instance while it exists.
struct Counted([Arc<AtomicUsize>; 2]);

impl Counted {
    fn new(gauges: [&Arc<AtomicUsize>; 2]) -> Counted {
        Counted(gauges.map(|gauge| {
            gauge.fetch_add(1, Relaxed);
            gauge.clone()
        }))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        for gauge in &self.0 {
            gauge.fetch_sub(1, Relaxed);
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): fast, and not for keys.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new() -> Random {
        Random(RandomState::new().hash_one(0))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
