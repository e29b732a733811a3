//! `[proxy]`, `[admin]`, `[dns]`, and the addresses of all sections together.

use std::thread;

use super::Check;
use crate::config::checked::{Admin, Dns, Proxy, Secret};
use crate::config::edge::ListenerBind;
use crate::config::problem::{Located, Problem, Span};
use crate::config::written::{self, File};

pub(super) fn proxy(written: &written::Proxy) -> Proxy {
    let workers = match written.workers.value.0 {
        // On Linux it goes by the CPU affinity and the cgroup's quota, v1 or v2.
        0 => thread::available_parallelism().map_or(1, |cores| cores.get()),
        workers => usize::try_from(workers).unwrap_or(usize::MAX),
    };
    let networks = written.trusted_proxies.value.iter();
    Proxy {
        workers,
        drain_timeout: written.drain_timeout.value.0,
        watch: written.watch.value,
        trusted_proxies: networks.map(|network| network.value).collect(),
        retry_bodies: written.retry_bodies.value.0 as usize,
    }
}

pub(super) fn dns(written: &written::Dns) -> Dns {
    let min_ttl = written.min_ttl.value.0;
    Dns {
        servers: written.servers.value.iter().map(|s| s.value.0).collect(),
        timeout: written.timeout.value.0,
        min_ttl,
        // The lower bound is the stronger one.
        max_ttl: written.max_ttl.value.0.max(min_ttl),
        hold_missing: written.hold_missing.value.0,
        hold_failing: written.hold_failing.given().map(|hold| hold.value.0),
        wait: written.wait.value.0,
        family: written.family.value,
    }
}

impl Check<'_> {
    pub(super) fn admin(&mut self, file: &File) -> Option<Admin> {
        let admin = &file.admin.given()?.value;
        let (bind, token) = (&admin.bind, &admin.token);
        if !bind.value.0.ip().is_loopback() && token.is_absent() {
            self.problem(Problem::at(
                bind.span.clone(),
                "an admin address that others can reach needs a token",
                "add `token = { file = \"token\" }`, or bind to 127.0.0.1 or [::1]",
            ));
        }
        let socket = admin.socket.given();
        let token = token.given().map(|token| Secret(token.value.0.clone()));
        Some(Admin {
            bind: bind.value.0,
            token,
            socket: socket.map(|path| path.located(self.source.folder().join(&path.value.0))),
        })
    }

    /// Each address can be bound once, whoever binds it.
    pub(super) fn binds(&mut self, file: &File) {
        let admin = file.admin.given().map(|admin| &admin.value);
        let port = admin.map(|admin| admin.bind.located(ListenerBind::Ip(admin.bind.value.0)));
        let socket = admin.and_then(|admin| admin.socket.given());
        let socket = socket.map(|path| path.located(ListenerBind::Unix(path.value.0.clone())));
        let listeners = file.listeners().iter();
        let listeners = listeners.filter_map(|listener| listener.value.bind.as_ref());
        let listeners = listeners.flat_map(|bind| bind.value.0.iter().cloned());
        let binds = port.into_iter().chain(socket).chain(listeners);
        let mut seen: Vec<Located<ListenerBind>> = Vec::new();
        for bind in binds {
            match seen.iter().find(|first| collide(&first.value, &bind.value)) {
                Some(first) => self.taken(&bind, first.span.clone()),
                None => seen.push(bind),
            }
        }
    }

    fn taken(&mut self, bind: &Located<ListenerBind>, first: Span) {
        let (shown, remedy) = match &bind.value {
            ListenerBind::Ip(address) => (
                address.to_string(),
                "listen on each address once; 0.0.0.0 and [::] take every address of their family",
            ),
            ListenerBind::Unix(path) => (
                format!("unix:{}", path.display()),
                "listen on each address once",
            ),
        };
        let message = format!("the address {shown} is taken");
        let problem = Problem::at(bind.span.clone(), message, remedy);
        self.problems.push(problem.related(first, "by this one"));
    }
}

/// IPv4 and IPv6 stand side by side, even when both take every address.
fn collide(a: &ListenerBind, b: &ListenerBind) -> bool {
    let (ListenerBind::Ip(a), ListenerBind::Ip(b)) = (a, b) else {
        return a == b;
    };
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    let same = a.ip() == b.ip() || (any && a.is_ipv4() == b.is_ipv4());
    a.port() == b.port() && a.port() != 0 && same
}
