//! What is measured.

pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    pub kind: Kind,
    pub logic: Logic,
}

pub enum Kind {
    /// Keep-alive requests from so many connections, for this path of the origin.
    Throughput {
        connections: u32,
        path: &'static str,
    },
    /// So many idle keep-alive connections: resident memory for each.
    Idle { connections: u32 },
}

/// What the proxy decides by.
#[derive(Clone, Copy, PartialEq)]
pub enum Logic {
    /// A route by path and round robin; in Tidegate a router and a balancer plugin.
    Routed,
    /// As `Routed`, with two filter plugins more in Tidegate; the peers set the same headers.
    Filtered,
    /// The pool by a header and one header set, in code: Lua in HAProxy, JavaScript in nginx, a plugin in Tidegate.
    Own,
}

pub fn all() -> Vec<Scenario> {
    let throughput = |name, what, connections, path, logic| Scenario {
        name,
        what,
        kind: Kind::Throughput { connections, path },
        logic,
    };
    vec![
        throughput(
            "h1-1k",
            "1 KB, 128 connections, router and balancer plugin",
            128,
            "/1k",
            Logic::Routed,
        ),
        throughput(
            "h1-64k",
            "64 KB, 64 connections, router and balancer plugin",
            64,
            "/64k",
            Logic::Routed,
        ),
        throughput(
            "h1-filters",
            "1 KB, 128 connections, router, balancer and a header filter",
            128,
            "/1k",
            Logic::Filtered,
        ),
        throughput(
            "own-logic",
            "1 KB, 128 connections, pool by a header, one header set, in code",
            128,
            "/1k",
            Logic::Own,
        ),
        Scenario {
            name: "idle",
            what: "resident memory of an idle keep-alive connection, 5,000 of them",
            kind: Kind::Idle { connections: 5_000 },
            logic: Logic::Routed,
        },
    ]
}
