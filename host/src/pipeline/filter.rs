//! The filters of a listener, before routing, and of a route, after it. Each sees the request as the one before left it.
//!
//! A filter that fails answers 503 for the request, unless the config says that it may be passed over: nobody gets past an
//! authorisation by making it crash.

use std::rc::Rc;

use super::exchange::Exchange;
use super::fault::Fault;
use super::fetch;
use super::respond::{self, Answer};
use super::site::{Filter, ListenerSite, Site};
use crate::base::trail::Role;
use crate::config::checked::OnFailure;
use crate::hook::{Decision, Failure, Fetch, FetchError, Outcome, Reply, RequestFilter, Step};

/// Fetches that one filter may ask for in one request.
const MOST_FETCHES: usize = 8;

/// Some: a filter has answered.
pub async fn of_listener(
    site: &Site,
    listener: &ListenerSite,
    exchange: &mut Exchange,
) -> Result<Option<Answer>, Fault> {
    for filter in &listener.filters {
        if let Some(reply) = pass(site, filter, Role::ListenerFilter, exchange).await? {
            return Ok(Some(reply));
        }
        exchange.passed.0 += 1;
    }
    Ok(None)
}

/// Some: a filter has answered.
pub async fn of_route(site: &Site, exchange: &mut Exchange) -> Result<Option<Answer>, Fault> {
    let Some(route) = exchange.route.and_then(|route| site.route(route)) else {
        return Ok(None);
    };
    for filter in &route.filters {
        if let Some(reply) = pass(site, filter, Role::RouteFilter, exchange).await? {
            return Ok(Some(reply));
        }
        exchange.passed.1 += 1;
    }
    Ok(None)
}

async fn pass(
    site: &Site,
    filter: &Filter,
    role: Role,
    exchange: &mut Exchange,
) -> Result<Option<Answer>, Fault> {
    let Some(plugin) = &filter.request else {
        return Ok(None);
    };
    let name = &filter.name;
    let outcome = match decide(site, (name, plugin), exchange).await {
        Ok(outcome) => outcome,
        Err(_) => {
            exchange.failed(role, name);
            return failed(filter);
        }
    };
    let step = exchange.decided(site, role, name, &outcome);
    exchange.took(step);
    match apply(&filter.name, exchange, outcome) {
        Ok(Decision::Next) => Ok(None),
        Ok(Decision::Pool(pool)) if site.pool(pool).is_some() => {
            exchange.overruled = Some(pool);
            Ok(None)
        }
        Ok(Decision::Reply(reply)) => Ok(Some(respond::reply(exchange, *reply))),
        Ok(Decision::Pool(_)) | Err(Failure::Failed | Failure::Unavailable) => {
            exchange.failed(role, name);
            failed(filter)
        }
    }
}

fn failed(filter: &Filter) -> Result<Option<Answer>, Fault> {
    match filter.on_failure {
        OnFailure::Reject => Err(Fault::FilterFailed),
        OnFailure::Fallback => Ok(None),
    }
}

/// A filter, and its name.
type Named<'a> = (&'a Rc<str>, &'a Rc<dyn RequestFilter>);

/// Asks the filter, which may ask for calls before it decides.
async fn decide(site: &Site, filter: Named<'_>, exchange: &Exchange) -> Result<Outcome, Failure> {
    match filter.1.request(exchange)? {
        Step::Done(outcome) => Ok(outcome),
        // Boxed: few filters call anybody, and a request holds the place for whatever it may wait for.
        step => Box::pin(call(site, filter, exchange, step)).await,
    }
}

/// Makes the calls that a filter asks for until it has decided.
async fn call(
    site: &Site,
    (name, filter): Named<'_>,
    exchange: &Exchange,
    mut step: Step,
) -> Result<Outcome, Failure> {
    for _ in 0..MOST_FETCHES {
        let (answer, state) = match step {
            Step::Done(outcome) => return Ok(outcome),
            Step::DoneAndFetch(outcome, call, state) => {
                behind(site, filter, exchange, *call, state);
                return Ok(outcome);
            }
            Step::Fetch(call, state) if filter.may_fetch(call.pool) => {
                let pool = call.pool;
                let answer = fetch::fetch(site, exchange, *call).await;
                exchange.fetched(site, name, pool, &answer);
                (answer, state)
            }
            Step::Fetch(call, state) => {
                let answer = Err(FetchError::NotGranted);
                exchange.fetched(site, name, call.pool, &answer);
                (answer, state)
            }
            Step::LookUp(key, state) => (Ok(Reply::looked_up(filter.look_up(key).await)), state),
        };
        step = filter.resume(state, answer)?;
    }
    match step {
        Step::Done(outcome) | Step::DoneAndFetch(outcome, ..) => Ok(outcome),
        Step::Fetch(..) | Step::LookUp(..) => Err(Failure::Failed),
    }
}

/// Makes a call that the request doesn't wait for. It is dropped where a newer generation has come in between: what the plugin
/// calls a pool may be another there.
fn behind(
    site: &Site,
    filter: &Rc<dyn RequestFilter>,
    exchange: &Exchange,
    call: Fetch,
    state: u64,
) {
    let worker = exchange.record.worker.clone();
    let same = worker.site();
    if same.generation != site.generation {
        return;
    }
    let filter = filter.clone();
    tokio::task::spawn_local(async move {
        let answer = match filter.may_fetch(call.pool) {
            true => fetch::behind(&same, &worker, call).await,
            false => Err(FetchError::NotGranted),
        };
        // Whatever it says of it, there is no request to say it of.
        let _ = filter.resume(state, answer);
    });
}

/// Changes the request as the plugin says. Failed: its path is none.
pub fn apply(
    plugin: &Rc<str>,
    exchange: &mut Exchange,
    outcome: Outcome,
) -> Result<Decision, Failure> {
    let Outcome {
        decision,
        edits,
        path,
        notes,
        reason,
    } = outcome;
    if path.is_some_and(|path| !exchange.set_path(&path)) {
        return Err(Failure::Failed);
    }
    exchange.edit(edits);
    exchange.note(notes);
    exchange.reason(plugin, reason);
    Ok(decision)
}
