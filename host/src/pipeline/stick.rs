//! Back to the server that holds a user's session, before the balancer is asked; and, behind the answer, what makes the user
//! come back. The plugin says where, and is held to what it may say: a server of this pool that may still be used. One that
//! drains keeps its users. One that can't be connected to loses them, as the attempt after goes by the balancer, and where
//! that leads is what the plugin is told.

use super::exchange::{Answered, Exchange, apply};
use super::site::{Member, PoolSite};
use crate::base::ids::PoolIndex;
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
    let Finding {
        affinity,
        edits,
        notes,
        reason,
    } = plugin.find(index, exchange).ok()?;
    exchange.edit(edits);
    exchange.note(notes);
    exchange.reason(name, reason);
    let key = match affinity {
        Affinity::None => return None,
        Affinity::Server(server) => return Some(Found::Now(usable(pool, &server))),
        Affinity::Key(key) => key,
    };
    let here = plugin.recall(index, &key);
    if let Some(member) = here.and_then(|server| usable(pool, &server)) {
        return Some(Found::Now(Some(member)));
    }
    // Nobody is known, or a server that has lost its users: another proxy may have found them a new one.
    plugin.ask(index, &key).map(Found::Elsewhere)
}

pub fn bind(
    pool: &PoolSite,
    index: PoolIndex,
    server: &Member,
    exchange: &Exchange,
    head: &mut ResponseHead,
) {
    let Some((_, plugin)) = &pool.sticky else {
        return;
    };
    let view = Answered {
        exchange,
        head,
        server: Some(&server.name),
    };
    let Ok(Binding { edits, remember }) = plugin.bind(index, &server.name, &view) else {
        return;
    };
    for edit in edits {
        apply(&mut head.fields, edit);
    }
    if let Some((key, ttl)) = remember {
        plugin.remember(index, &key, &server.name, ttl);
    }
}
