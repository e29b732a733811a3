//! Asks a plugin what a case asks, with requests and responses that are made up from the cases file.

use futures_util::FutureExt as _;

use crate::hook::{self, Admission, Balancer, Connect, RequestFilter, ResponseFilter, Router};
use crate::plugin::Roles;
use crate::upstream::live::InFlight;

use super::super::terminal::Failure;
use super::cases::{Answer, FetchError, NONE, Request, Role, Step};
use super::fake::{FakeRequest, FakeResponse, header_map};
use super::got::{Got, Said, of_fetch};
use super::stage::Actor;

/// More fetches than this the proxy does not make for one request either.
const MOST_FETCHES: usize = 8;

/// One instance that is asked, case by case.
pub struct Play<'a> {
    actor: Actor<'a>,
    roles: Roles,
    /// Picks that stay in flight.
    held: Vec<InFlight>,
    random: u64,
}

impl<'a> Play<'a> {
    pub fn new(actor: Actor<'a>, roles: Roles) -> Play<'a> {
        Play {
            actor,
            roles,
            held: Vec::new(),
            random: 0,
        }
    }

    pub fn ask(&mut self, step: &Step) -> Result<Got, Failure> {
        let request = FakeRequest::new(step.request.as_ref().unwrap_or(&Request::default()))?;
        if step.pick.is_some() || step.expect.is_of_picks() {
            return self.pick(step, &request);
        }
        if let Some(response) = &step.response {
            let response = FakeResponse::new(&request, response)?;
            let outcome = ResponseFilter::response(&*self.actor.plugin, &response);
            return Ok(Got::of_response(outcome.map_err(|_| self.failed())?));
        }
        match self.role(step)? {
            Role::Connect => self.connect(&request),
            Role::Router => self.route(&request),
            Role::Filter => self.filter(step, &request),
        }
    }

    fn role(&self, step: &Step) -> Result<Role, Failure> {
        match (step.role, self.roles.router, self.roles.request_filter) {
            (Some(role), _, _) => Ok(role),
            (None, true, false) => Ok(Role::Router),
            (None, false, true) => Ok(Role::Filter),
            (None, false, false) if self.roles.connect => Ok(Role::Connect),
            (None, true, true) => Err(Failure::new(
                "the plugin is a router and a request filter: say whom to ask, role = \"router\" or \"filter\"",
            )),
            (None, false, false) if self.roles.prober => Err(Failure::new(
                "a prober speaks with a server, which no case describes: test it by `cargo test`, with the SDK's `FakePeer`",
            )),
            (None, false, false) => Err(Failure::new(format!(
                "the plugin is no router, no request filter and no connect plugin (its roles: {}): give `response`, or `pick`",
                self.roles
            ))),
        }
    }

    fn connect(&self, request: &FakeRequest) -> Result<Got, Failure> {
        let admission = Connect::admit(&*self.actor.plugin, request).map_err(|_| self.failed())?;
        let said = match admission {
            Admission::Accept => Said::Accept,
            Admission::Refuse => Said::Refuse,
            Admission::Pool(pool) => Said::Pool(self.actor.names.pool(pool.0)),
        };
        Ok(Got {
            said,
            ..Got::default()
        })
    }

    fn route(&self, request: &FakeRequest) -> Result<Got, Failure> {
        let choice = Router::route(&*self.actor.plugin, request).map_err(|_| self.failed())?;
        let names = &self.actor.names;
        Ok(Got {
            route: choice.route.map(|route| names.route(route.0)),
            ..Got::of_outcome(choice.outcome, names)
        })
    }

    /// As the proxy does it: a fetch that is not granted is answered so, the others as the case says.
    fn filter(&self, step: &Step, request: &FakeRequest) -> Result<Got, Failure> {
        let plugin = &*self.actor.plugin;
        let mut answers = step.answers.iter();
        let mut fetches = Vec::new();
        let mut look_ups = 0;
        let mut next = plugin.request(request).map_err(|_| self.failed())?;
        loop {
            let (fetch, state) = match next {
                hook::Step::Done(outcome) => {
                    return Ok(Got {
                        fetches,
                        ..Got::of_outcome(outcome, &self.actor.names)
                    });
                }
                hook::Step::DoneAndFetch(outcome, fetch, _) => {
                    fetches.push(of_fetch(&fetch, &self.actor.names));
                    return Ok(Got {
                        fetches,
                        ..Got::of_outcome(outcome, &self.actor.names)
                    });
                }
                hook::Step::LookUp(key, state) => {
                    // Nobody shares anything here: it is answered at once, and takes none of the case's answers.
                    let value = plugin.look_up(key).now_or_never().flatten();
                    let answer = Ok(hook::Reply::looked_up(value));
                    next = plugin.resume(state, answer).map_err(|_| self.failed())?;
                    look_ups += 1;
                    if look_ups > MOST_FETCHES {
                        return Err(Failure::new(format!(
                            "more than {MOST_FETCHES} look-ups for one request"
                        )));
                    }
                    continue;
                }
                hook::Step::Fetch(fetch, state) => (fetch, state),
            };
            fetches.push(of_fetch(&fetch, &self.actor.names));
            if fetches.len() > MOST_FETCHES {
                return Err(Failure::new(format!(
                    "more than {MOST_FETCHES} fetches for one request"
                )));
            }
            let answer = if plugin.may_fetch(fetch.pool) {
                match answers.next() {
                    Some(answer) => answered(answer)?,
                    None => {
                        return Ok(Got {
                            said: Said::Waits,
                            fetches,
                            ..Got::default()
                        });
                    }
                }
            } else {
                Err(hook::FetchError::NotGranted)
            };
            next = plugin.resume(state, answer).map_err(|_| self.failed())?;
        }
    }

    fn pick(&mut self, step: &Step, request: &FakeRequest) -> Result<Got, Failure> {
        let pick = step.pick.clone().unwrap_or_default();
        let pool = self.actor.pool(pick.pool.as_deref())?;
        let tried = pick.tried.iter().map(|name| self.actor.slot(pool, name));
        let tried = tried.collect::<Result<Vec<_>, _>>()?;
        let times = pick.times.or(step.expect.picks()).unwrap_or(1);
        let mut picks = Vec::new();
        for _ in 0..times {
            let random = pick.random.unwrap_or_else(|| self.next_random());
            let slot = self
                .actor
                .plugin
                .pick(pool, request, random, &tried)
                .map_err(|_| self.failed())?;
            let found = slot.map(|slot| (slot, self.actor.server(pool, slot)));
            picks.push(match found {
                None => NONE.to_owned(),
                Some((slot, None)) => format!("(a server that it was not told of: {})", slot.0),
                Some((_, Some((name, live)))) => {
                    self.held.extend(pick.hold.then(|| live.enter()));
                    name.to_owned()
                }
            });
        }
        Ok(Got {
            picks,
            ..Got::default()
        })
    }

    /// The same numbers in every run (splitmix64): a random balancer's case comes out the same each time.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn failed(&self) -> Failure {
        Failure::new(format!(
            "the call failed ({}); see the log lines above",
            self.actor.causes()
        ))
    }
}

fn answered(answer: &Answer) -> Result<Result<hook::Reply, hook::FetchError>, Failure> {
    let reply = match answer {
        Answer::Reply(reply) => reply,
        Answer::Failed(FetchError::Timeout) => return Ok(Err(hook::FetchError::Timeout)),
        Answer::Failed(FetchError::Refused) => return Ok(Err(hook::FetchError::Refused)),
        Answer::Failed(FetchError::TooLarge) => return Ok(Err(hook::FetchError::TooLarge)),
    };
    let headers = header_map(&reply.headers)?;
    let headers = headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    Ok(Ok(hook::Reply {
        status: reply.status,
        headers: headers.collect(),
        body: reply.body.clone().into_bytes(),
    }))
}
