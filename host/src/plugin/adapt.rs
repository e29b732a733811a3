//! A plugin as the pipeline sees it: the hook traits, each a call into the guest with what it asked to be told, and its
//! answer checked.

use std::time::Duration;

use smallvec::SmallVec;

use crate::base::ids::{PoolIndex, Slot};
use crate::hook::{
    Admission, Asked, Balancer, Binding, Choice, Connect, Failure, FetchError, Finding,
    HealthJudge, Input, Judgement, LookedUp, ProbeView, Reply, RequestFilter, RequestView,
    ResponseFilter, ResponseOutcome, ResponseView, Router, ServerView, Step, Sticky,
};

use super::bindings as said;
use super::checks;
use super::interest::{key, lent, of_request, of_response};
use super::shared::Role;
use super::slot::WorkerPlugin;

impl Connect for WorkerPlugin {
    fn admit(&self, connection: &dyn RequestView) -> Result<Admission, Failure> {
        self.call(Role::Connect, |ready, known, limit| {
            let values = of_request(connection, &ready.interest.request);
            known.admission(ready.guest.connect(&lent(&values), limit)?)
        })
    }

    fn chose_in_vain(&self, listener: &str) {
        self.answered_badly(format!(
            "it chooses a pool for a connection of `{listener}`, which is not in tcp mode"
        ));
    }
}

impl Router for WorkerPlugin {
    fn route(&self, request: &dyn RequestView) -> Result<Choice, Failure> {
        self.call_or_repeat(
            Role::Router,
            |interest| of_request(request, &interest.request),
            |memos| &mut memos.route,
            |guest, inputs, known, limit| known.choice(guest.route(inputs, limit)?),
        )
    }
}

impl RequestFilter for WorkerPlugin {
    fn request(&self, request: &dyn RequestView) -> Result<Step, Failure> {
        self.call_or_repeat(
            Role::RequestFilter,
            |interest| of_request(request, &interest.request),
            |memos| &mut memos.request,
            |guest, inputs, known, limit| known.step(guest.request(inputs, limit)?),
        )
    }

    fn resume(&self, state: u64, answer: Result<Reply, FetchError>) -> Result<Step, Failure> {
        let answer = answer.map(reply).map_err(fetch_error);
        self.call(Role::RequestFilter, |ready, known, limit| {
            known.step(
                ready
                    .guest
                    .resume(state, answer.as_ref().map_err(|e| *e), limit)?,
            )
        })
    }

    fn may_fetch(&self, pool: PoolIndex) -> bool {
        self.granted(pool)
    }

    fn look_up(&self, key: Vec<u8>) -> LookedUp {
        Box::pin(self.common().clone().find(key))
    }
}

impl ResponseFilter for WorkerPlugin {
    fn response(&self, response: &dyn ResponseView) -> Result<ResponseOutcome, Failure> {
        self.call_or_repeat(
            Role::ResponseFilter,
            |interest| of_response(response, &interest.response),
            |memos| &mut memos.response,
            |guest, inputs, _, limit| checks::response(guest.response(inputs, limit)?),
        )
    }
}

impl Balancer for WorkerPlugin {
    fn pick(
        &self,
        pool: PoolIndex,
        request: &dyn RequestView,
        random: u64,
        tried: &[Slot],
    ) -> Result<Option<Slot>, Failure> {
        let tried: SmallVec<[u32; 8]> = tried.iter().map(|slot| slot.0).collect();
        self.call(Role::Balancer, |ready, _, limit| {
            let guest = &mut ready.guest;
            let picked = if guest.picks_by_key() {
                let key = key(request, &ready.interest.key);
                guest.pick(pool.0, key, random, &tried, limit)?
            } else {
                let values = of_request(request, &ready.interest.request);
                guest.request_pick(pool.0, &lent(&values), random, &tried, limit)?
            };
            Ok(picked.map(Slot))
        })
    }

    fn update(&self, pool: PoolIndex, servers: &[ServerView]) {
        self.updated(pool, servers);
    }

    fn picked_stranger(&self, pool: PoolIndex, slot: Slot) {
        let (pool, slot) = (pool.0, slot.0);
        self.answered_badly(format!(
            "it picks slot {slot}, which no server of pool {pool} has"
        ));
    }
}

impl Sticky for WorkerPlugin {
    fn find(&self, pool: PoolIndex, request: &dyn RequestView) -> Result<Finding, Failure> {
        self.call(Role::Sticky, |ready, _, limit| {
            let values = of_request(request, &ready.interest.request);
            checks::finding(ready.guest.find(pool.0, &lent(&values), limit)?)
        })
    }

    fn bind(
        &self,
        pool: PoolIndex,
        server: &str,
        response: &dyn ResponseView,
    ) -> Result<Binding, Failure> {
        self.call(Role::Sticky, |ready, _, limit| {
            let values = of_response(response, &ready.interest.response);
            checks::binding(ready.guest.bind(pool.0, server, &lent(&values), limit)?)
        })
    }

    fn recall(&self, pool: PoolIndex, key: &[u8]) -> Option<String> {
        self.table().recall(&self.key_of(pool, key))
    }

    fn ask(&self, pool: PoolIndex, key: &[u8]) -> Option<Asked> {
        let asked = self.table().ask(self.key_of(pool, key))?;
        Some(Box::pin(asked))
    }

    fn remember(&self, pool: PoolIndex, key: &[u8], server: &str, ttl: Duration) {
        let ttl = u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX);
        self.table().remember(self.key_of(pool, key), server, ttl);
    }
}

impl HealthJudge for WorkerPlugin {
    fn judge(&self, probe: &ProbeView<'_>) -> Result<Judgement, Failure> {
        self.call(Role::Health, |ready, _, limit| {
            let inputs = ready.interest.response.iter();
            let seen = said::Probe {
                status: probe.status,
                body: probe.body.to_vec(),
                inputs: inputs.map(|input| of_probe(probe, input)).collect(),
                micros: probe.took.as_micros().min(u128::from(u32::MAX)) as u32,
                timed_out: probe.timed_out,
                successes: probe.successes,
                failures: probe.failures,
            };
            checks::judgement(ready.guest.judge(probe.pool, probe.server, &seen, limit)?)
        })
    }
}

/// There was no request of a client's.
fn of_probe(probe: &ProbeView<'_>, input: &Input) -> Option<Vec<u8>> {
    match input {
        Input::Header(name) => (probe.field)(name),
        Input::Status if probe.status > 0 => Some(probe.status.to_string().into_bytes()),
        Input::Pool => Some(probe.pool.as_bytes().to_vec()),
        Input::Server => Some(probe.server.as_bytes().to_vec()),
        _ => None,
    }
}

/// Names and values are copied: a fetch's answer costs a round trip, and a copy is nothing beside it.
fn reply(reply: Reply) -> said::Reply {
    let fields = reply.headers.iter();
    said::Reply {
        status: reply.status,
        headers: fields
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        body: reply.body,
    }
}

fn fetch_error(error: FetchError) -> said::FetchError {
    match error {
        FetchError::Timeout => said::FetchError::Timeout,
        FetchError::Refused => said::FetchError::Refused,
        FetchError::TooLarge => said::FetchError::TooLarge,
        FetchError::NotGranted => said::FetchError::NotGranted,
    }
}
