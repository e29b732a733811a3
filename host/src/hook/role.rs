//! How decisions are asked for. Every method is synchronous and short, is called on the worker that owns the object, and
//! answers `Failure` when the decision could not be made; the caller then gives the role's failure answer.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::base::ids::{PoolIndex, Slot};

use super::verdict::{
    Admission, Binding, Choice, FetchError, Finding, Judgement, Outcome, Probed, Reply,
    ResponseOutcome, Step,
};
use super::view::{ProbeTarget, ProbeView, RequestView, ResponseView, ServerView};

/// Why there is no decision. The plugin runtime has logged and counted it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It trapped, ran past a limit, or said what it may not say.
    Failed,
    /// It failed shortly before and is not asked again yet, or is quarantined.
    Unavailable,
}

/// The server that other proxies have a user at. It comes soon, or none does.
pub type Asked = Pin<Box<dyn Future<Output = Option<String>>>>;

/// A value that proxies share. It comes soon, or none does.
pub type LookedUp = Pin<Box<dyn Future<Output = Option<Vec<u8>>>>>;

/// Asked once a connection: before its first byte is read, or once its PROXY line and its TLS hello are there. On failure it is
/// refused.
pub trait Connect {
    /// Of the request just what belongs to the connection is there.
    fn admit(&self, connection: &dyn RequestView) -> Result<Admission, Failure>;

    /// Told that it chose a pool where there is none to choose: whatever it is, it is no decision.
    fn chose_in_vain(&self, _listener: &str) {}
}

/// Asked once a request, after the listener's filters. On failure: the listener's pool.
pub trait Router {
    fn route(&self, request: &dyn RequestView) -> Result<Choice, Failure>;
}

/// Asked once a request; `resume` follows each fetch that it asks for. On failure: 503, or the request unchanged where the
/// config says `on-failure = "fallback"`.
pub trait RequestFilter {
    fn request(&self, request: &dyn RequestView) -> Result<Step, Failure>;
    fn resume(&self, state: u64, answer: Result<Reply, FetchError>) -> Result<Step, Failure>;
    /// Whether the config lets it call this pool.
    fn may_fetch(&self, pool: PoolIndex) -> bool;
    /// The value that it, or another proxy's plugin of its name, keeps under that key.
    fn look_up(&self, _key: Vec<u8>) -> LookedUp {
        Box::pin(std::future::ready(None))
    }
}

/// Asked once a response. On failure: as for [`RequestFilter`].
pub trait ResponseFilter {
    fn response(&self, response: &dyn ResponseView) -> Result<ResponseOutcome, Failure>;
}

/// Asked once a probe, on the thread that probes. On failure: what the host says by itself.
pub trait HealthJudge {
    fn judge(&self, probe: &ProbeView<'_>) -> Result<Judgement, Failure>;
}

/// Asked once a probe, on the thread that probes, with a connection to the server and nobody else. The one call that may wait: it is
/// given up by dropping it. On failure: the server has failed the probe.
pub trait Prober {
    fn probe<'a>(
        &'a self,
        target: ProbeTarget<'a>,
        wire: Box<dyn Wire>,
    ) -> LocalBoxFuture<'a, Result<Probed, Failure>>;
}

/// What a prober speaks over.
pub trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire for S {}

/// What a pool's `health` may name.
pub trait HealthPlugin: HealthJudge + Prober {}

impl<P: HealthJudge + Prober> HealthPlugin for P {}

/// Asked once an attempt. On failure: the eligible servers in turn.
pub trait Balancer {
    /// `tried` holds what must not be answered (again); empty at first. None: no server may be used.
    fn pick(
        &self,
        pool: PoolIndex,
        request: &dyn RequestView,
        random: u64,
        tried: &[Slot],
    ) -> Result<Option<Slot>, Failure>;

    /// Told of the servers of a pool whenever one has changed its state; always all of them. Until it is told, what it knew holds.
    fn update(&self, _pool: PoolIndex, _servers: &[ServerView]) {}

    /// Told that its pick is no server of that pool: whatever it is, it is no decision.
    fn picked_stranger(&self, _pool: PoolIndex, _slot: Slot) {}
}

/// Brings users back to the server that holds their session.
pub trait Sticky {
    /// Called once a request, before the balancer. Failure: a server is picked.
    fn find(&self, pool: PoolIndex, request: &dyn RequestView) -> Result<Finding, Failure>;

    /// Called once a response, with the server that gave it. Failure: the response goes on as it is.
    fn bind(
        &self,
        pool: PoolIndex,
        server: &str,
        response: &dyn ResponseView,
    ) -> Result<Binding, Failure>;

    /// The server that the plugin's table has under that key.
    fn recall(&self, _pool: PoolIndex, _key: &[u8]) -> Option<String> {
        None
    }

    /// Asks the proxies that share the plugin's table. None: it isn't shared, or they can't be asked now.
    fn ask(&self, _pool: PoolIndex, _key: &[u8]) -> Option<Asked> {
        None
    }

    /// Puts a server into the plugin's table. The pool's part of it is kept by the pool's name, and servers by theirs.
    fn remember(&self, _pool: PoolIndex, _key: &[u8], _server: &str, _ttl: Duration) {}
}

impl<F: Fn(&dyn RequestView) -> Result<Admission, Failure>> Connect for F {
    fn admit(&self, connection: &dyn RequestView) -> Result<Admission, Failure> {
        self(connection)
    }
}

impl<F: Fn(&dyn RequestView) -> Result<Choice, Failure>> Router for F {
    fn route(&self, request: &dyn RequestView) -> Result<Choice, Failure> {
        self(request)
    }
}

impl<F> Balancer for F
where
    F: Fn(PoolIndex, &dyn RequestView, u64, &[Slot]) -> Result<Option<Slot>, Failure>,
{
    fn pick(
        &self,
        pool: PoolIndex,
        request: &dyn RequestView,
        random: u64,
        tried: &[Slot],
    ) -> Result<Option<Slot>, Failure> {
        self(pool, request, random, tried)
    }
}

impl<F: Fn(&dyn RequestView) -> Result<Outcome, Failure>> RequestFilter for F {
    fn request(&self, request: &dyn RequestView) -> Result<Step, Failure> {
        self(request).map(Step::Done)
    }
    fn resume(&self, _: u64, _: Result<Reply, FetchError>) -> Result<Step, Failure> {
        Err(Failure::Failed)
    }
    fn may_fetch(&self, _: PoolIndex) -> bool {
        false
    }
}

impl<F: Fn(&dyn ResponseView) -> Result<ResponseOutcome, Failure>> ResponseFilter for F {
    fn response(&self, response: &dyn ResponseView) -> Result<ResponseOutcome, Failure> {
        self(response)
    }
}
