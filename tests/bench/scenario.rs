//! What is measured, and the goals for it.

use crate::goal::Goal;

pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    pub kind: Kind,
    /// Measured in the same rounds, so that they can be held against each other too. The first is what the others are held against.
    pub variants: Vec<Variant>,
    /// Whether HAProxy and nginx take part.
    pub peers: bool,
}

/// A scenario as it is, or with something added.
pub struct Variant {
    pub name: &'static str,
    pub setup: Setup,
    pub swap: Swap,
    pub goals: Vec<Goal>,
}

pub enum Kind {
    /// CPU time per request, under as many requests as so many connections can make.
    Cost {
        connections: u32,
        path: &'static str,
        /// Each request comes on a connection of its own, over TLS with a full handshake.
        fresh: bool,
    },
    /// The same over HTTP/2, with so many streams at a time on each connection.
    Streams {
        connections: u32,
        streams: u32,
        path: &'static str,
    },
    /// Resident memory for each of so many idle keep-alive connections.
    Memory { connections: u32 },
    /// Latency at half of HAProxy's maximum throughput.
    Latency { connections: u32 },
    /// The busiest worker's share of so many keep-alive connections.
    Spread { connections: u32 },
    /// Latency and failures at half of Tidegate's own maximum, while a plugin is swapped.
    Swap { connections: u32 },
}

impl Kind {
    pub fn unit(&self) -> &'static str {
        match self {
            Kind::Cost { .. } | Kind::Streams { .. } => "CPU µs a request",
            Kind::Memory { .. } => "bytes a connection",
            Kind::Latency { .. } | Kind::Swap { .. } => "p99 µs",
            Kind::Spread { .. } => "share of the busiest worker",
        }
    }

    /// Memory and the spread of connections do not vary from round to round as time does; swaps take long.
    pub fn rounds(&self, asked: usize) -> usize {
        match self {
            Kind::Cost { .. } | Kind::Streams { .. } | Kind::Latency { .. } => asked,
            Kind::Memory { .. } => asked.min(3),
            Kind::Spread { .. } | Kind::Swap { .. } => asked.min(5),
        }
    }
}

/// How every contestant is set up for it.
#[derive(Clone, Copy)]
pub struct Setup {
    /// Whether connections are passed on as they come, in tcp mode: no logic then, no filter, no TLS.
    pub tcp: bool,
    pub logic: Logic,
    /// Header filters on the path, each of which sets two headers; in the peers as many header rules.
    pub filters: u32,
    pub servers: u32,
    pub workers: u32,
    /// Whether the peers tell the server as much of the client as Tidegate always does, X-Forwarded-Proto, X-Forwarded-Host,
    /// X-Real-IP and X-Request-ID. Otherwise they send X-Forwarded-For alone, as most are set up.
    pub peers_tell_all: bool,
    /// Whether the peers are set up for bodies of 64 KB, at the price of memory: buffers of that size, splicing. Otherwise they have
    /// the buffers that they come with.
    pub peers_expect_large: bool,
    /// Whether clients speak TLS, with an ECDSA certificate (P-256).
    pub tls: bool,
    /// Certificates beside the one that clients ask for.
    pub more_certificates: u32,
}

/// What the proxy decides by.
#[derive(Clone, Copy, PartialEq)]
pub enum Logic {
    /// A route by path and round robin; in Tidegate a router and a balancer plugin.
    Routed,
    /// The pool by a header and one header set, in code: Lua in HAProxy, JavaScript in nginx, a plugin in Tidegate.
    Own,
}

/// What is put in a plugin's place every 100 ms, if anything.
#[derive(Clone, Copy, PartialEq)]
pub enum Swap {
    None,
    /// Two builds in turn, each of which is compiled once.
    Known,
    /// Each time a build that was never seen, so that each swap compiles.
    Fresh,
}

const ROUTED: Setup = Setup {
    tcp: false,
    logic: Logic::Routed,
    filters: 0,
    servers: 3,
    workers: 1,
    peers_tell_all: false,
    peers_expect_large: false,
    tls: false,
    more_certificates: 0,
};

const OWN: Setup = Setup {
    logic: Logic::Own,
    ..ROUTED
};

/// Those that were asked for by the name of the scenario or of a variant; all when none was.
pub fn chosen(names: &[String]) -> Result<Vec<Scenario>, String> {
    let mut all = all();
    let named = |s: &Scenario, name: &String| {
        s.name == name || s.variants.iter().any(|variant| variant.name == name)
    };
    match names
        .iter()
        .find(|name| !all.iter().any(|s| named(s, name)))
    {
        Some(unknown) => Err(format!("there is no scenario {unknown}; --list shows them")),
        None => {
            all.retain(|s| names.is_empty() || names.iter().any(|name| named(s, name)));
            Ok(all)
        }
    }
}

pub fn all() -> Vec<Scenario> {
    let mut all = costs();
    all.extend(secured());
    all.extend([
        streams(
            "h2-1",
            "1 KB over HTTP/2, 64 connections, a stream at a time",
            1,
        ),
        streams(
            "h2-16",
            "1 KB over HTTP/2, 64 connections, 16 streams at a time",
            16,
        ),
    ]);
    all.extend([plugins(), idle(), latency(), workers(), swap()]);
    all
}

fn costs() -> Vec<Scenario> {
    let cost = |name, what, connections, path, setup, goals| Scenario {
        name,
        what,
        kind: Kind::Cost {
            connections,
            path,
            fresh: false,
        },
        variants: vec![variant(name, setup, goals)],
        peers: true,
    };
    vec![
        cost(
            "h1-1k",
            "1 KB, 128 connections, router and balancer plugin",
            128,
            "/1k",
            ROUTED,
            vec![Goal::OfHaproxy(0.70), Goal::OfNginx(0.90)],
        ),
        cost(
            "h1-1k-told",
            "the same, with peers that send all the forwarded headers that Tidegate sends",
            128,
            "/1k",
            Setup {
                peers_tell_all: true,
                ..ROUTED
            },
            vec![],
        ),
        cost(
            "h1-64k",
            "64 KB, 64 connections, router and balancer plugin",
            64,
            "/64k",
            ROUTED,
            vec![Goal::OfHaproxy(0.65)],
        ),
        cost(
            "h1-64k-tuned",
            "the same, with peers that are set up for large bodies",
            64,
            "/64k",
            Setup {
                peers_expect_large: true,
                ..ROUTED
            },
            vec![],
        ),
        cost(
            "tcp-1m",
            "1 MB in tcp mode, 16 connections; HAProxy splices",
            16,
            "/1m",
            Setup {
                tcp: true,
                ..ROUTED
            },
            vec![],
        ),
        cost(
            "own-logic",
            "1 KB, 128 connections, pool by a header, one header set: a plugin, Lua, njs",
            128,
            "/1k",
            OWN,
            vec![Goal::OfHaproxy(0.55), Goal::OfNginx(0.80)],
        ),
        cost(
            "servers-1000",
            "1 KB, 128 connections, 1,000 servers in the pool",
            128,
            "/1k",
            Setup {
                servers: 1000,
                ..ROUTED
            },
            vec![],
        ),
    ]
}

fn secured() -> Vec<Scenario> {
    let setup = Setup {
        tls: true,
        ..ROUTED
    };
    let cost = |name, what, connections, fresh| Scenario {
        name,
        what,
        kind: Kind::Cost {
            connections,
            path: "/1k",
            fresh,
        },
        variants: vec![variant(name, setup, vec![Goal::OfHaproxy(0.60)])],
        peers: true,
    };
    let many = Setup {
        more_certificates: 999,
        ..setup
    };
    let mut handshakes = cost(
        "tls-handshake",
        "1 KB over TLS, a full handshake a request, 64 connections at a time; with one certificate and with 1,000",
        64,
        true,
    );
    let among_many = variant("tls-handshake-1000", many, vec![]);
    handshakes.variants.push(among_many);
    vec![
        cost("tls-1k", "1 KB over TLS, 128 connections", 128, false),
        handshakes,
    ]
}

fn streams(name: &'static str, what: &'static str, streams: u32) -> Scenario {
    Scenario {
        name,
        what,
        kind: Kind::Streams {
            connections: 64,
            streams,
            path: "/1k",
        },
        variants: vec![variant(name, ROUTED, vec![Goal::OfHaproxy(0.90)])],
        peers: true,
    }
}

fn plugins() -> Scenario {
    let with = |name, filters| variant(name, Setup { filters, ..ROUTED }, vec![]);
    Scenario {
        name: "h1-plugins",
        what: "1 KB, 128 connections, with 0, 1 and 3 header filters after router and balancer; in the peers header rules",
        kind: Kind::Cost {
            connections: 128,
            path: "/1k",
            fresh: false,
        },
        variants: vec![
            with("h1-plugins-0", 0),
            with("h1-plugins-1", 1),
            with("h1-plugins-3", 3),
        ],
        peers: true,
    }
}

fn idle() -> Scenario {
    Scenario {
        name: "idle",
        what: "resident memory of an idle keep-alive connection, 5,000 of them",
        kind: Kind::Memory { connections: 5_000 },
        variants: vec![variant("idle", ROUTED, vec![Goal::Most(1_536.0)])],
        peers: true,
    }
}

fn latency() -> Scenario {
    Scenario {
        name: "p99",
        what: "1 KB, 64 connections, at the same rate for all: half of HAProxy's maximum; from when a request was due",
        kind: Kind::Latency { connections: 64 },
        variants: vec![variant("p99", ROUTED, vec![Goal::OfHaproxy(1.0)])],
        peers: true,
    }
}

fn workers() -> Scenario {
    let setup = Setup {
        workers: 2,
        ..ROUTED
    };
    Scenario {
        name: "workers",
        what: "100 keep-alive connections on two workers",
        kind: Kind::Spread { connections: 100 },
        variants: vec![variant("workers", setup, vec![Goal::MostEver(0.60)])],
        peers: true,
    }
}

fn swap() -> Scenario {
    let with = |name, swap| Variant {
        swap,
        ..variant(name, OWN, vec![Goal::NoFailures])
    };
    Scenario {
        name: "swap",
        what: "1 KB, 64 connections, half of the maximum rate; without swaps, with one of two builds every 100 ms, with a new one each time",
        kind: Kind::Swap { connections: 64 },
        variants: vec![
            with("swap-none", Swap::None),
            with("swap-known", Swap::Known),
            with("swap-fresh", Swap::Fresh),
        ],
        peers: false,
    }
}

fn variant(name: &'static str, setup: Setup, goals: Vec<Goal>) -> Variant {
    Variant {
        name,
        setup,
        swap: Swap::None,
        goals,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(only: &[&str]) -> Vec<&'static str> {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        let chosen = chosen(&only).unwrap();
        chosen.iter().map(|scenario| scenario.name).collect()
    }

    #[test]
    fn a_name_means_one_variant() {
        let all = all();
        let variants: Vec<_> = all
            .iter()
            .flat_map(|s| &s.variants)
            .map(|v| v.name)
            .collect();
        let different: BTreeSet<_> = variants.iter().collect();
        assert_eq!(variants.len(), different.len(), "{variants:?}");
    }

    #[test]
    fn scenarios_are_chosen_by_their_own_name_or_a_variants() {
        assert_eq!(names(&["p99", "h1-plugins-3"]), ["h1-plugins", "p99"]);
        assert_eq!(names(&[]).len(), all().len());
        assert!(chosen(&["h1".to_owned()]).is_err());
    }
}
