//! What plugins decide, noted for whoever follows requests. Each function is a branch that is not taken while nobody does.

use std::rc::Rc;

use super::exchange::Exchange;
use super::fault::Fault;
use super::site::{Member, PoolSite, Site};
use crate::base::ids::PoolIndex;
use crate::base::trail::{Role, Sent, Step, Trail, Verdict};
use crate::hook::{
    Binding, Decision, Edit, FetchError, Finding, Note, Outcome, Reply, ResponseOutcome,
};
use crate::http::Fields;

/// None: nobody follows.
type Taken = Option<Box<Step>>;

impl Exchange {
    #[inline]
    pub(super) fn trail(&self) -> Option<&Trail> {
        self.record.trail.as_deref()
    }

    /// What a filter or a router says, before it is carried out.
    #[inline]
    pub(super) fn decided(
        &self,
        site: &Site,
        role: Role,
        plugin: &Rc<str>,
        outcome: &Outcome,
    ) -> Taken {
        self.trail()
            .map(|_| Box::new(of_outcome(site, role, plugin, outcome)))
    }

    /// It is done.
    #[inline]
    pub(super) fn took(&self, step: Taken) {
        if let (Some(trail), Some(step)) = (self.trail(), step) {
            trail.add(*step);
        }
    }

    #[inline]
    pub(super) fn failed(&self, role: Role, plugin: &Rc<str>) {
        if let Some(trail) = self.trail() {
            trail.add(Step::new(role, plugin, Verdict::Failed));
        }
    }

    /// A call that a filter had made.
    #[inline]
    pub(super) fn fetched(
        &self,
        site: &Site,
        plugin: &Rc<str>,
        pool: PoolIndex,
        answer: &Result<Reply, FetchError>,
    ) {
        let Some(trail) = self.trail() else { return };
        let (verdict, status, fault) = match answer {
            Ok(reply) => (Verdict::Answered, Some(reply.status), None),
            Err(error) => (Verdict::Failed, None, Some(fetch_word(*error))),
        };
        trail.add(Step {
            pool: name_of(site, pool),
            status,
            fault,
            ..Step::new(Role::Fetch, plugin, verdict)
        });
    }

    /// Where a user belongs.
    #[inline]
    pub(super) fn found(
        &self,
        plugin: &Rc<str>,
        verdict: Verdict,
        server: Option<&str>,
        finding: Option<&Finding>,
    ) {
        let Some(trail) = self.trail() else { return };
        trail.add(Step {
            server: server.map(Rc::from),
            edits: finding.map_or_else(Vec::new, |found| names(&found.edits)),
            notes: finding.map_or_else(Vec::new, |found| notes(&found.notes)),
            reason: finding.and_then(|found| found.reason.clone()),
            ..Step::new(Role::Sticky, plugin, verdict)
        });
    }

    /// What makes a user come back.
    #[inline]
    pub(super) fn bound(&self, plugin: &Rc<str>, server: &Member, binding: &Binding) {
        let Some(trail) = self.trail() else { return };
        let verdict = match binding.remember {
            Some(_) => Verdict::Remember,
            None => Verdict::Continue,
        };
        trail.add(Step {
            server: Some(server.name.clone()),
            edits: names(&binding.edits),
            ..Step::new(Role::Sticky, plugin, verdict)
        });
    }

    #[inline]
    pub(super) fn responded(&self, plugin: &Rc<str>, outcome: &ResponseOutcome) {
        let Some(trail) = self.trail() else { return };
        trail.add(Step {
            edits: names(&outcome.edits),
            notes: notes(&outcome.notes),
            ..Step::new(Role::ResponseFilter, plugin, Verdict::Continue)
        });
    }
}

/// What a balancer says.
#[inline]
pub fn picked(trail: Option<&Trail>, pool: &PoolSite, verdict: Verdict, server: Option<&Member>) {
    let Some(trail) = trail else { return };
    trail.add(Step {
        pool: Some(pool.name.clone()),
        server: server.map(|server| server.name.clone()),
        ..Step::new(Role::Balancer, &pool.balancer.0, verdict)
    });
}

/// What an attempt came to.
#[inline]
pub fn tried(trail: Option<&Trail>, server: &Member, met: Result<Option<u16>, Fault>) {
    if let Some(trail) = trail {
        trail.tried(Some(server.name.clone()), met.map_err(Fault::word));
    }
}

/// The last of so many attempts, at this server, where it was broken off.
#[inline]
pub fn broke_off(
    trail: Option<&Trail>,
    attempts: u32,
    server: &Option<Rc<str>>,
    fault: Option<Fault>,
) {
    if let Some(trail) = trail
        && trail.attempts() < attempts
    {
        trail.tried(server.clone(), Err(fault.map_or("cut", Fault::word)));
    }
}

/// What a connect plugin says.
#[inline]
pub fn admitted(
    trail: Option<&Trail>,
    plugin: &Rc<str>,
    verdict: Verdict,
    pool: Option<(&Site, PoolIndex)>,
) {
    let Some(trail) = trail else { return };
    trail.add(Step {
        pool: pool.and_then(|(site, pool)| name_of(site, pool)),
        ..Step::new(Role::Connect, plugin, verdict)
    });
}

fn of_outcome(site: &Site, role: Role, plugin: &Rc<str>, outcome: &Outcome) -> Step {
    let (verdict, pool, status) = match &outcome.decision {
        Decision::Next => (Verdict::Continue, None, None),
        Decision::Pool(pool) => (Verdict::Pool, name_of(site, *pool), None),
        Decision::Reply(reply) => (Verdict::Respond, None, Some(reply.status)),
    };
    Step {
        pool,
        status,
        path: outcome.path.clone(),
        edits: names(&outcome.edits),
        notes: notes(&outcome.notes),
        reason: outcome.reason.clone(),
        ..Step::new(role, plugin, verdict)
    }
}

fn name_of(site: &Site, pool: PoolIndex) -> Option<Rc<str>> {
    site.pool(pool).map(|pool| pool.name.clone())
}

fn names(edits: &[Edit]) -> Vec<String> {
    let name = |edit: &Edit| match edit {
        Edit::Set(name, _) => format!("set {name}"),
        Edit::Append(name, _) => format!("append {name}"),
        Edit::Remove(name) => format!("remove {name}"),
        Edit::SetCookie(cookie, _) => format!("set-cookie {cookie}"),
    };
    edits.iter().map(name).collect()
}

fn notes(notes: &[Note]) -> Vec<(String, String)> {
    let pair = |note: &Note| (note.name.clone(), note.value.clone());
    notes.iter().map(pair).collect()
}

fn fetch_word(error: FetchError) -> &'static str {
    match error {
        FetchError::Timeout => "timeout",
        FetchError::Refused => "refused",
        FetchError::TooLarge => "too-large",
        FetchError::NotGranted => "not-granted",
    }
}

impl Sent for Fields {
    fn has(&self, name: &str, value: Option<&[u8]>) -> bool {
        self.sent().any(|(known, said)| {
            known.eq_ignore_ascii_case(name.as_bytes()) && value.is_none_or(|value| said == value)
        })
    }
}
