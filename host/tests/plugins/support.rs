//! A runtime, plugins on it, and requests to ask them about.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use tidegate::base::ids::{PoolIndex, Slot};
use tidegate::hook::{ConnectionFacts, RequestView, ResponseView, ServerState, ServerView};
use tidegate::plugin::{
    Artifact, Membership, Plan, PrepareError, Prepared, Runtime, RuntimeOptions, Settings,
    WorkerPlugin, prepare,
};
use tidegate::state::State;
use tidegate::upstream::LiveTable;

pub struct World {
    pub runtime: Runtime,
    pub live: Arc<LiveTable>,
    pub state: Arc<State>,
}

impl World {
    pub fn new() -> World {
        let (live, state) = (LiveTable::with_capacity(64), State::new());
        let runtime = Runtime::new(RuntimeOptions {
            cache: Some(cache()),
            live: live.clone(),
            state: state.clone(),
        })
        .unwrap();
        World {
            runtime,
            live,
            state,
        }
    }

    pub fn load(&self, wasm: &[u8]) -> Arc<Artifact> {
        self.runtime.load(wasm).unwrap()
    }

    /// One instance of a guest with these settings, on this thread.
    pub fn guest(&self, name: &str, config: &str) -> Rc<WorkerPlugin> {
        let wasm = tidegate_tests::guest(name);
        adopted(self.prepared(&wasm, settings(name, config)).unwrap())
    }

    pub fn prepared(&self, wasm: &[u8], settings: Settings) -> Result<Prepared, PrepareError> {
        prepare(&self.runtime, plan(&self.load(wasm), settings))
    }
}

/// Compiled code, kept for the tests of this run: what is compiled once is not compiled again for each runtime.
fn cache() -> std::path::PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| tempfile::tempdir().unwrap())
        .path()
        .join("compiled")
}

pub fn adopted(prepared: Prepared) -> Rc<WorkerPlugin> {
    prepared.seeds.into_iter().next().unwrap().adopt()
}

pub fn settings(name: &str, config: &str) -> Settings {
    Settings {
        name: name.to_owned(),
        config: config.to_owned(),
        pools: vec!["app".to_owned(), "auth".to_owned()],
        routes: vec!["api".to_owned()],
        cpu_limit: Duration::from_millis(2),
        memory: 16 << 20,
        fetch_grants: vec![PoolIndex(1)],
    }
}

pub fn plan(artifact: &Arc<Artifact>, settings: Settings) -> Plan<'_> {
    Plan {
        artifact,
        settings,
        updates: vec![members(&[1, 2, 3])],
        snapshots: Vec::new(),
        workers: 1,
    }
}

/// Pool 0 with servers at these slots.
pub fn members(slots: &[u32]) -> Membership {
    Membership {
        pool: PoolIndex(0),
        servers: slots.iter().map(|slot| server(*slot)).collect(),
    }
}

pub fn server(slot: u32) -> ServerView {
    ServerView {
        slot: Slot(slot),
        name: format!("s{slot}"),
        address: format!("127.0.0.1:{slot}"),
        weight: 1,
        state: ServerState::Ready,
        backup: false,
        labels: Vec::new(),
    }
}

/// A request.
pub struct Asked {
    pub path: String,
    pub query: Option<String>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    connection: ConnectionFacts,
}

pub fn get(target: &str) -> Asked {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    Asked {
        path: path.to_owned(),
        query,
        headers: Vec::new(),
        connection: ConnectionFacts {
            client: "192.0.2.7:4711".parse().unwrap(),
            client_address: "192.0.2.7".into(),
            client_port: "4711".into(),
            local: "192.0.2.1:80".parse().unwrap(),
            listener: "web".into(),
            tls: None,
            told: None,
        },
    }
}

impl Asked {
    pub fn header(mut self, name: &'static str, value: &[u8]) -> Asked {
        let value = HeaderValue::from_bytes(value).unwrap();
        self.headers.push((HeaderName::from_static(name), value));
        self
    }
}

impl RequestView for Asked {
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
        Some(b"example.com")
    }
    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }
    fn query(&self) -> Option<&[u8]> {
        self.query.as_deref().map(str::as_bytes)
    }
    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        Some(Cow::Borrowed(value.as_bytes()))
    }
    fn connection(&self) -> &ConnectionFacts {
        &self.connection
    }
    fn request_id(&self) -> &str {
        "id-1"
    }
    fn note(&self, name: &str) -> Option<&str> {
        (name == "before").then_some("noted")
    }
    fn route(&self) -> Option<&str> {
        None
    }
    fn pool(&self) -> Option<&str> {
        None
    }
}

/// A response to it.
pub struct Answered(pub Asked);

impl ResponseView for Answered {
    fn request(&self) -> &dyn RequestView {
        &self.0
    }
    fn status(&self) -> u16 {
        204
    }
    fn server(&self) -> Option<&str> {
        Some("s1")
    }
    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        (name == "content-type").then_some(Cow::Borrowed(b"text/plain"))
    }
}

/// Waits for a condition.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "waited 60 s for: {what}");
        std::thread::yield_now();
    }
}
