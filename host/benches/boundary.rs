//! What a decision costs: the same router, balancer and filter as native closures and as plugins, through the same hook
//! traits; then what changes cost. `cargo bench --profile dist` gives the figures that count. Calls are measured in the
//! thread's CPU time, so that a busy machine's figures are those of an idle one; changes use several threads, and are
//! measured by the clock on the wall.

use std::borrow::Cow;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderName, HeaderValue};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tidegate::base::ids::{PoolIndex, RouteIndex, Slot};
use tidegate::hook::{
    Balancer, Choice, ConnectionFacts, Edit, Outcome, RequestFilter, RequestView, Router,
    ServerState, ServerView,
};
use tidegate::plugin::{
    Artifact, Membership, Plan, Prepared, Runtime, RuntimeOptions, Settings, WorkerPlugin, prepare,
};
use tidegate::state::State;
use tidegate::upstream::LiveTable;
use tidegate::upstream::live::{Identity, Server};

const BALANCERS: [&str; 9] = [
    "round-robin",
    "weighted-round-robin",
    "least-connections",
    "ip-hash",
    "consistent-hash",
    "least-response-time",
    "random",
    "two-choices",
    "first",
];

criterion_group! {
    name = calls;
    config = Criterion::default().with_measurement(CpuTime);
    targets = picks, large_pools, routes, filters
}
criterion_group!(others, changes);
criterion_main!(calls, others);

fn picks(c: &mut Criterion<CpuTime>) {
    let bench = Bench::new(10);
    let mut group = c.benchmark_group("pick of 10 servers");
    let turns = AtomicU64::new(0);
    let slots: Vec<Slot> = bench.servers.iter().map(|s| s.slot()).collect();
    let native: Box<dyn Balancer> = Box::new(
        move |_: PoolIndex, _: &dyn RequestView, _: u64, _: &[Slot]| {
            let turn = turns.fetch_add(1, Relaxed) as usize;
            Ok(Some(slots[turn % slots.len()]))
        },
    );
    group.bench_function("round-robin, native", |b| {
        b.iter(|| native.pick(PoolIndex(0), &bench.request, black_box(7), &[]));
    });
    for name in BALANCERS {
        let plugin = bench.shipped(name, &json!({}));
        group.bench_function(format!("{name}, plugin"), |b| {
            b.iter(|| bench.pick(&*plugin));
        });
    }
    group.finish();
}

fn large_pools(c: &mut Criterion<CpuTime>) {
    let bench = Bench::new(1_000);
    let mut group = c.benchmark_group("pick of 1000 servers");
    for name in BALANCERS {
        let plugin = bench.shipped(name, &json!({}));
        group.bench_function(format!("{name}, plugin"), |b| {
            b.iter(|| bench.pick(&*plugin));
        });
    }
    group.finish();
}

fn routes(c: &mut Criterion<CpuTime>) {
    let bench = Bench::new(1);
    let mut group = c.benchmark_group("route");
    let native: Box<dyn Router> = Box::new(|request: &dyn RequestView| {
        let taken =
            request.host() == Some(b"h7.example.com") && request.path().starts_with(b"/p7/");
        Ok(Choice {
            route: taken.then_some(RouteIndex(7)),
            ..Choice::default()
        })
    });
    group.bench_function("one host and prefix, native", |b| {
        b.iter(|| native.route(black_box(&bench.request)));
    });
    for count in [10, 1_000] {
        let plugin = bench.router(count);
        let choice = plugin.route(&bench.request).expect("it answers");
        assert_eq!(choice.route, Some(RouteIndex(7)), "the route is found");
        group.bench_function(format!("{count} routes, plugin"), |b| {
            b.iter(|| plugin.route(black_box(&bench.request)));
        });
    }
    group.finish();
}

fn filters(c: &mut Criterion<CpuTime>) {
    let bench = Bench::new(1);
    let mut group = c.benchmark_group("filter");
    let names = ["x-tenant", "x-user"].map(HeaderName::from_static);
    let seen = ["x-seen-tenant", "x-seen-user"].map(HeaderName::from_static);
    let native: Box<dyn RequestFilter> = Box::new(move |request: &dyn RequestView| {
        let edits = names.iter().zip(&seen).map(|(name, seen)| {
            let value = request.field(name).unwrap_or_default();
            let value = HeaderValue::from_bytes(&value).expect("it was one before");
            Edit::Set(seen.clone(), value)
        });
        Ok(Outcome {
            edits: edits.collect(),
            ..Outcome::default()
        })
    });
    group.bench_function("two headers in, two edits out, native", |b| {
        b.iter(|| native.request(black_box(&bench.request)));
    });
    let artifact = bench.load(&tidegate_tests::guest("edits"));
    let plugin = bench.adopted(&artifact, "edits", &json!({}));
    group.bench_function("two headers in, two edits out, plugin", |b| {
        b.iter(|| {
            plugin
                .request(black_box(&bench.request))
                .expect("it answers")
        });
    });
    let set = json!({ "x-seen-tenant": "{header:x-tenant}", "x-seen-user": "{header:x-user}" });
    let plugin = bench.shipped("headers", &json!({ "request": { "set": set } }));
    group.bench_function("the same by shipped `headers`", |b| {
        b.iter(|| {
            plugin
                .request(black_box(&bench.request))
                .expect("it answers")
        });
    });
    group.finish();
}

fn changes(c: &mut Criterion) {
    let bench = Bench::new(10);
    let mut group = c.benchmark_group("change");
    let artifact = bench.load(shipped("round-robin"));
    group.bench_function("instantiate, configure and update one instance", |b| {
        b.iter(|| bench.prepared(&artifact, "round-robin", &json!({})));
    });
    let other = bench.load(shipped("first"));
    let mut running = bench.adopted(&other, "swapped", &json!({}));
    group.bench_function("swap on one worker, first pick included", |b| {
        b.iter(|| {
            running = bench.adopted(&artifact, "swapped", &json!({}));
            bench.pick(&*running)
        });
    });
    group.sample_size(10);
    group.bench_function("compile and link round-robin", |b| {
        b.iter(|| Bench::new(1).load(shipped("round-robin")));
    });
    group.finish();
}

/// The thread's CPU time.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }
    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }
    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }
    fn zero(&self) -> Duration {
        Duration::ZERO
    }
    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// A runtime, a pool's servers, and a request.
struct Bench {
    runtime: Runtime,
    servers: Vec<Arc<Server>>,
    request: Get,
}

impl Bench {
    fn new(servers: usize) -> Bench {
        let live = LiveTable::with_capacity(servers);
        let runtime = Runtime::new(RuntimeOptions {
            cache: None,
            live: live.clone(),
            state: State::new(),
        });
        let server = |n: usize| {
            let identity = Identity {
                pool: "app".to_owned(),
                name: format!("s{n}"),
                address: format!("127.0.0.1:{}", 1_000 + n),
            };
            let server = live.server(identity).expect("there is room");
            server.set_weight(256);
            server.answered_in(1_000 + n as u32 % 50, std::time::Instant::now());
            server
        };
        Bench {
            runtime: runtime.expect("the runtime starts"),
            servers: (0..servers).map(server).collect(),
            request: Get::new(),
        }
    }

    fn load(&self, wasm: &[u8]) -> Arc<Artifact> {
        self.runtime.load(wasm).expect("it is a plugin")
    }

    fn prepared(&self, artifact: &Arc<Artifact>, name: &str, config: &Value) -> Prepared {
        let view = |server: &Arc<Server>| ServerView {
            slot: server.slot(),
            name: server.identity().name.clone(),
            address: server.identity().address.clone(),
            weight: 1,
            state: ServerState::Ready,
            backup: false,
            labels: Vec::new(),
        };
        let routes = config["routes"].as_array().map_or(0, Vec::len);
        let plan = Plan {
            artifact,
            settings: Settings {
                name: name.to_owned(),
                config: config.to_string(),
                pools: vec!["app".to_owned()],
                routes: (0..routes).map(|n| format!("r{n}")).collect(),
                cpu_limit: Duration::from_millis(2),
                memory: 16 << 20,
                fetch_grants: Vec::new(),
            },
            updates: vec![Membership {
                pool: PoolIndex(0),
                servers: self.servers.iter().map(view).collect(),
            }],
            snapshots: Vec::new(),
            workers: 1,
        };
        prepare(&self.runtime, plan).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn adopted(&self, artifact: &Arc<Artifact>, name: &str, config: &Value) -> Rc<WorkerPlugin> {
        let prepared = self.prepared(artifact, name, config);
        let seed = prepared.seeds.into_iter().next();
        seed.expect("one worker has one").adopt()
    }

    fn shipped(&self, name: &str, config: &Value) -> Rc<WorkerPlugin> {
        self.adopted(&self.load(shipped(name)), name, config)
    }

    fn router(&self, count: usize) -> Rc<WorkerPlugin> {
        let route = |n: usize| {
            json!({
                "name": format!("r{n}"),
                "host": format!("h{n}.example.com"),
                "path": format!("/p{n}"),
                "pools": [["app", 1]],
            })
        };
        let routes: Vec<Value> = (0..count).map(route).collect();
        self.shipped("router", &json!({ "routes": routes }))
    }

    fn pick(&self, balancer: &dyn Balancer) -> Slot {
        let picked = balancer.pick(
            PoolIndex(0),
            &self.request,
            black_box(0x9e37_79b9_7f4a_7c15),
            &[],
        );
        picked.expect("it answers").expect("there are servers")
    }
}

fn shipped(name: &str) -> &'static [u8] {
    tidegate::shipped::get(name).unwrap_or_else(|| panic!("`{name}` is shipped"))
}

/// A request as HTTP/1 has it: a list of fields.
struct Get {
    fields: Vec<(HeaderName, HeaderValue)>,
    connection: ConnectionFacts,
}

impl Get {
    fn new() -> Get {
        let fields = [
            ("host", "h7.example.com"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"),
            ("accept", "text/html,application/xhtml+xml"),
            ("accept-language", "en"),
            ("accept-encoding", "gzip, br"),
            ("x-tenant", "acme-corporation"),
            ("x-user", "ada.lovelace@example.com"),
            ("cookie", "id=4711; theme=dark"),
        ];
        let field = |(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        Get {
            fields: fields.map(field).to_vec(),
            connection: ConnectionFacts {
                client: "192.0.2.7:4711".parse().expect("an address"),
                client_address: "192.0.2.7".into(),
                client_port: "4711".into(),
                local: "192.0.2.1:80".parse().expect("an address"),
                listener: "web".into(),
                tls: None,
                told: None,
            },
        }
    }
}

impl RequestView for Get {
    fn method(&self) -> &str {
        "GET"
    }
    fn scheme(&self) -> &'static str {
        "http"
    }
    fn version(&self) -> &'static str {
        "HTTP/1.1"
    }
    fn host(&self) -> Option<&[u8]> {
        Some(b"h7.example.com")
    }
    fn path(&self) -> &[u8] {
        b"/p7/items/4711"
    }
    fn query(&self) -> Option<&[u8]> {
        None
    }
    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        let (_, value) = self.fields.iter().find(|(known, _)| known == name)?;
        Some(Cow::Borrowed(value.as_bytes()))
    }
    fn connection(&self) -> &ConnectionFacts {
        &self.connection
    }
    fn request_id(&self) -> &str {
        "4711"
    }
    fn note(&self, _: &str) -> Option<&str> {
        None
    }
    fn route(&self) -> Option<&str> {
        None
    }
    fn pool(&self) -> Option<&str> {
        None
    }
}
