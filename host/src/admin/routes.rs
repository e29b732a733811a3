//! What is answered, way by way. A change is carried out on a task of its own: a client that leaves early does not stop it
//! half-way, and it is bounded how many wait at one time.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{get, patch, post, put};
use http_body_util::LengthLimitError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::base::ids::Generation;
use crate::config::edits::Weight;
use crate::control::{Applied, Cause, Change, Rejected};
use crate::pipeline::Explained;
use crate::upstream::vitals::Wanted;

use super::answer::{self, Refusal};
use super::guard::{self, Guard};
use super::socket::Who;
use super::{Proxy, explain, exposition, page, tap};

/// The largest `.wasm` that may be sent.
const MOST_WASM: usize = 64 << 20;
/// Changes that may wait at one time, each with its body in memory.
const MOST_WAITING: usize = 4;

#[derive(Clone)]
struct Desk {
    proxy: Arc<dyn Proxy>,
    waiting: Arc<Semaphore>,
}

/// For the port.
pub fn guarded(proxy: Arc<dyn Proxy>, guard: Guard) -> Router {
    router(proxy)
        .layer(middleware::from_fn_with_state(guard, guard::guard))
        .layer(middleware::map_response(answer::harden))
}

/// For the socket: who can open it may do everything.
pub fn open(proxy: Arc<dyn Proxy>) -> Router {
    router(proxy).layer(middleware::map_response(answer::harden))
}

fn router(proxy: Arc<dyn Proxy>) -> Router {
    let desk = Desk {
        proxy,
        waiting: Arc::new(Semaphore::new(MOST_WAITING)),
    };
    Router::new()
        .route("/", get(|| async { Html(page::PAGE) }))
        .route("/dashboard.css", get(|| asset("text/css", page::STYLE)))
        .route(
            "/dashboard.js",
            get(|| asset("text/javascript", page::SCRIPT)),
        )
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/pools", get(pools))
        .route("/api/v1/pools/{pool}/servers", post(add_server))
        .route(
            "/api/v1/pools/{pool}/servers/{server}",
            patch(set_server).delete(remove_server),
        )
        .route("/api/v1/plugins", get(plugins))
        .route("/api/v1/config", get(config))
        .route("/api/v1/plugins/{name}", put(swap))
        .route("/api/v1/explain", get(explain))
        .route("/api/v1/tap", get(tap))
        .route("/api/v1/history", get(history))
        .route("/api/v1/rollback/{generation}", post(rollback))
        .route("/api/v1/reload", post(reload))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(desk)
}

async fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

#[derive(Deserialize)]
struct HealthQuery {
    pool: Option<String>,
}

/// For keepalived, a load balancer in front, or an orchestrator.
async fn health(State(desk): State<Desk>, Query(query): Query<HealthQuery>) -> Response {
    match desk.proxy.health(query.pool.as_deref()) {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(desk): State<Desk>, asked: HeaderMap) -> Response {
    let (kind, text) = exposition::negotiated(&asked, desk.proxy.metrics_text());
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn status(State(desk): State<Desk>) -> Response {
    Json(&*desk.proxy.status()).into_response()
}

async fn pools(State(desk): State<Desk>) -> Response {
    Json(&desk.proxy.status().pools).into_response()
}

async fn plugins(State(desk): State<Desk>) -> Response {
    Json(&desk.proxy.status().plugins).into_response()
}

async fn swap(
    State(desk): State<Desk>,
    Path(name): Path<String>,
    ConnectInfo(who): ConnectInfo<Who>,
    body: Body,
) -> Result<Json<Done>, Refusal> {
    let turn = desk.turn()?;
    let wasm = receive(body).await?;
    if wasm.is_empty() {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "the body is empty: send the .wasm file (curl: --data-binary @FILE); nothing has changed",
        ));
    }
    let wasm = Vec::from(wasm);
    desk.change(Change::Plugin { name, wasm }, who, turn).await
}

/// The whole body; what announces itself as too large is not waited for.
async fn receive(body: Body) -> Result<Bytes, Refusal> {
    let bound = format!("{} MiB", MOST_WASM >> 20);
    let too_large = Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than {bound}; nothing has changed"),
    );
    if body.size_hint().lower() > MOST_WASM as u64 {
        return Err(too_large);
    }
    to_bytes(body, MOST_WASM).await.map_err(|error| {
        let error: Box<dyn std::error::Error + Send + Sync> = error.into_inner();
        if error.is::<LengthLimitError>() {
            return too_large;
        }
        Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("the body broke off: {error}; nothing has changed"),
        )
    })
}

async fn reload(
    State(desk): State<Desk>,
    ConnectInfo(who): ConnectInfo<Who>,
) -> Result<Json<Done>, Refusal> {
    let turn = desk.turn()?;
    desk.change(Change::Reload, who, turn).await
}

/// What is to be changed of a server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    state: Option<String>,
    /// 10, or "50%".
    weight: Option<Value>,
}

async fn set_server(
    State(desk): State<Desk>,
    Path((pool, server)): Path<(String, String)>,
    ConnectInfo(who): ConnectInfo<Who>,
    body: Bytes,
) -> Result<Json<Done>, Refusal> {
    let turn = desk.turn()?;
    let bad = |error: String| {
        let remedy = r#"{"state": "ready"}, "drain" or "maint", {"weight": 10} or "50%", or both"#;
        not_understood(&error, remedy)
    };
    let wish: Wish = serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
    let wanted = wish
        .state
        .as_deref()
        .map(|word| Wanted::named(word).ok_or_else(|| bad(format!("there is no state {word:?}"))));
    let weight = wish
        .weight
        .as_ref()
        .map(|given| weight(given).ok_or_else(|| bad(format!("{given} is no weight"))));
    let (wanted, weight) = (wanted.transpose()?, weight.transpose()?);
    if wanted.is_none() && weight.is_none() {
        return Err(bad("it names neither a state nor a weight".to_owned()));
    }
    let change = Change::Server {
        pool,
        server,
        wanted,
        weight,
    };
    desk.change(change, who, turn).await
}

fn not_understood(error: &str, send: &str) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        format!("the body is not understood: {error}; send {send}; nothing has changed"),
    )
}

fn weight(given: &Value) -> Option<Weight> {
    match given {
        Value::Number(number) => u32::try_from(number.as_u64()?).ok().map(Weight::To),
        Value::String(text) => Weight::parse(text),
        _ => None,
    }
}

/// The body is what `servers` of the configuration has for one, as JSON; and its state, where that is not to be ready.
async fn add_server(
    State(desk): State<Desk>,
    Path(pool): Path<String>,
    ConnectInfo(who): ConnectInfo<Who>,
    body: Bytes,
) -> Result<Json<Done>, Refusal> {
    let turn = desk.turn()?;
    let bad = |error: String| {
        let remedy = r#"{"name": "web3", "address": "10.0.0.3:80"}, with the keys that a server has in the config, and {"state": "maint"} to have it wait"#;
        not_understood(&error, remedy)
    };
    let mut server: Map<String, Value> =
        serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
    let wanted = match server.remove("state") {
        None => Wanted::Ready,
        Some(state) => {
            let wanted = state.as_str().and_then(Wanted::named);
            wanted.ok_or_else(|| bad(format!("there is no state {state}")))?
        }
    };
    let change = Change::Add {
        pool,
        server,
        wanted,
    };
    desk.change(change, who, turn).await
}

async fn remove_server(
    State(desk): State<Desk>,
    Path((pool, server)): Path<(String, String)>,
    ConnectInfo(who): ConnectInfo<Who>,
) -> Result<Json<Done>, Refusal> {
    let turn = desk.turn()?;
    let change = Change::Remove { pool, server };
    desk.change(change, who, turn).await
}

async fn config(State(desk): State<Desk>) -> Response {
    Json(desk.proxy.config()).into_response()
}

async fn history(State(desk): State<Desk>) -> Response {
    Json(&*desk.proxy.history()).into_response()
}

async fn rollback(
    State(desk): State<Desk>,
    Path(generation): Path<u64>,
    ConnectInfo(who): ConnectInfo<Who>,
) -> Result<Json<Done>, Refusal> {
    let turn = desk.turn()?;
    let to = Generation(generation);
    desk.change(Change::Rollback { to }, who, turn).await
}

async fn explain(
    State(desk): State<Desk>,
    Query(asked): Query<Vec<(String, String)>>,
) -> Result<Json<Explained>, Refusal> {
    let bad = |error| Refusal::new(StatusCode::BAD_REQUEST, error);
    let question = explain::question(&asked).map_err(bad)?;
    let explained = desk.proxy.explain(question).await;
    explained.map(Json).map_err(bad)
}

async fn tap(
    State(desk): State<Desk>,
    Query(asked): Query<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    tap::answer(&*desk.proxy, &asked)
}

async fn unknown() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "there is nothing here; known: /, /healthz, /metrics, /api/v1/status, /api/v1/pools, /api/v1/plugins, PUT \
         /api/v1/plugins/{name}, /api/v1/config, POST /api/v1/pools/{pool}/servers, PATCH and DELETE \
         /api/v1/pools/{pool}/servers/{server}, /api/v1/explain?url=, /api/v1/tap, /api/v1/history, POST /api/v1/rollback/{generation}, POST /api/v1/reload",
    )
}

async fn wrong_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this method is not known here; see the Allow header",
    )
}

/// Every worker runs it.
#[derive(Serialize)]
struct Done {
    generation: u64,
    took_ms: f64,
    plugins: Vec<String>,
}

type Turn = tokio::sync::OwnedSemaphorePermit;

impl Desk {
    fn turn(&self) -> Result<Turn, Refusal> {
        self.waiting.clone().try_acquire_owned().map_err(|_| {
            Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("{MOST_WAITING} changes are waiting already; ask again when they are done"),
            )
        })
    }

    async fn change(
        &self,
        change: Change,
        Who(by): Who,
        turn: Turn,
    ) -> Result<Json<Done>, Refusal> {
        let proxy = self.proxy.clone();
        let task = tokio::spawn(async move {
            let result = proxy.change(change, by).await;
            drop(turn);
            result
        });
        match task.await {
            Ok(Ok(applied)) => Ok(Json(done(applied))),
            Ok(Err(rejected)) => Err(refusal(rejected)),
            Err(_) => Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the change ended in an internal error; see the proxy's log and /api/v1/status",
            )),
        }
    }
}

fn done(applied: Applied) -> Done {
    Done {
        generation: applied.generation.0,
        took_ms: applied.took.as_secs_f64() * 1e3,
        plugins: applied.plugins,
    }
}

fn refusal(rejected: Rejected) -> Refusal {
    let (status, error) = match rejected.cause {
        Cause::Invalid => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "refused, and nothing has changed",
        ),
        Cause::UnknownPlugin => (
            StatusCode::NOT_FOUND,
            "there is no plugin of that name; nothing has changed",
        ),
        Cause::UnknownGeneration => (
            StatusCode::NOT_FOUND,
            "that generation is not kept; nothing has changed",
        ),
        Cause::UnknownPool => (
            StatusCode::NOT_FOUND,
            "there is no such pool; nothing has changed",
        ),
        Cause::UnknownServer => (
            StatusCode::NOT_FOUND,
            "there is no such server; nothing has changed",
        ),
        Cause::Draining => (
            StatusCode::CONFLICT,
            "the proxy is on its way out; nothing has changed",
        ),
        Cause::System => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the system refused; nothing has changed",
        ),
    };
    Refusal {
        status,
        error: error.into(),
        problems: rejected.problems,
    }
}
