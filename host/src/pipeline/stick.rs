//! Back to the server that holds a user's session, before the balancer is asked; and, behind the answer, what makes the user
//! come back. The plugin says where, and is held to what it may say: a server of this pool that may still be used. One that
//! drains keeps its users. One that can't be connected to loses them, as the attempt after goes by the balancer, and where
//! that leads is what the plugin is told.

use std::borrow::Cow;

use super::exchange::{Answered, Exchange, apply};
use super::site::{Member, PoolSite};
use crate::base::ids::PoolIndex;
use crate::base::trail::{Role, Verdict};
use crate::hook::{Affinity, Asked, Binding, Finding};
use crate::http::ResponseHead;

/// What is known of a user.
pub enum Found<'a> {
    /// None: a server is to be picked.
    Now(Option<&'a Member>),
    /// Another proxy may know, and is asked.
    Elsewhere(Asked),
}

pub fn find<'a>(pool: &'a PoolSite, index: PoolIndex, exchange: &mut Exchange) -> Found<'a> {
    find_here(pool, index, exchange).unwrap_or(Found::Now(None))
}

/// A server of that name that a user may be brought back to.
pub fn usable<'a>(pool: &'a PoolSite, server: &str) -> Option<&'a Member> {
    pool.named(server).filter(|member| member.keeps_users())
}

fn find_here<'a>(
    pool: &'a PoolSite,
    index: PoolIndex,
    exchange: &mut Exchange,
) -> Option<Found<'a>> {
    let (name, plugin) = pool.sticky.as_ref()?;
    let finding = match plugin.find(index, exchange) {
        Ok(finding) => finding,
        Err(_) => {
            exchange.failed(Role::Sticky, name);
            return None;
        }
    };
    let mut asked = None;
    let known = match &finding.affinity {
        Affinity::None => None,
        Affinity::Server(server) => Some(Cow::Borrowed(server.as_str())),
        Affinity::Key(key) => {
            let here = plugin.recall(index, key);
            if here
                .as_ref()
                .is_none_or(|server| usable(pool, server).is_none())
            {
                // Nobody is known, or a server that has lost its users: another proxy may have found them a new one.
                asked = plugin.ask(index, key);
            }
            here.map(Cow::Owned)
        }
    };
    let member = known.as_ref().and_then(|server| usable(pool, server));
    let verdict = match (member, &known, &asked) {
        (Some(_), ..) => Verdict::Server,
        (None, _, Some(_)) => Verdict::Elsewhere,
        (None, Some(_), None) => Verdict::Unusable,
        (None, None, None) => Verdict::Nobody,
    };
    exchange.found(name, verdict, known.as_deref(), Some(&finding));
    let Finding {
        edits,
        notes,
        reason,
        ..
    } = finding;
    exchange.edit(edits);
    exchange.note(notes);
    exchange.reason(name, reason);
    match asked {
        Some(asked) => Some(Found::Elsewhere(asked)),
        None => member.map(|member| Found::Now(Some(member))),
    }
}

/// What another proxy knew of a user.
pub fn heard<'a>(
    pool: &'a PoolSite,
    server: Option<&str>,
    exchange: &Exchange,
) -> Option<&'a Member> {
    let member = server.and_then(|server| usable(pool, server));
    if let Some((name, _)) = &pool.sticky {
        let verdict = match (member, server) {
            (Some(_), _) => Verdict::Server,
            (None, Some(_)) => Verdict::Unusable,
            (None, None) => Verdict::Nobody,
        };
        exchange.found(name, verdict, server, None);
    }
    member
}

pub fn bind(
    pool: &PoolSite,
    index: PoolIndex,
    server: &Member,
    exchange: &Exchange,
    head: &mut ResponseHead,
) {
    let Some((name, plugin)) = &pool.sticky else {
        return;
    };
    let view = Answered {
        exchange,
        head,
        server: Some(&server.name),
    };
    let Ok(binding) = plugin.bind(index, &server.name, &view) else {
        exchange.failed(Role::Sticky, name);
        return;
    };
    exchange.bound(name, server, &binding);
    let Binding { edits, remember } = binding;
    for edit in edits {
        apply(&mut head.fields, edit);
    }
    if let Some((key, ttl)) = remember {
        plugin.remember(index, &key, &server.name, ttl);
    }
}
