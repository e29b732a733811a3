//! Back to the server that holds a user's session, before the balancer is asked; and, behind the answer, what makes the user
//! come back. The plugin says where, and is held to what it may say: a server of this pool that may still be used. One that
//! drains keeps its users. One that can't be connected to loses them, as the attempt after goes by the balancer, and where
//! that leads is what the plugin is told.

use super::exchange::{Answered, Exchange, apply};
use super::site::{Member, PoolSite};
use crate::base::ids::PoolIndex;
use crate::hook::{Affinity, Binding, Finding};
use crate::http::ResponseHead;

/// None: a server is to be picked.
pub fn find<'a>(
    pool: &'a PoolSite,
    index: PoolIndex,
    exchange: &mut Exchange,
) -> Option<&'a Member> {
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
    let server = match affinity {
        Affinity::None => return None,
        Affinity::Server(server) => server,
        Affinity::Key(key) => plugin.recall(index, &key)?,
    };
    pool.named(&server).filter(|member| member.keeps_users())
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
