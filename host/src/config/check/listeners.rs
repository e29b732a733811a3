//! `[[listener]]` sections.

use super::uses::Uses;
use super::{Check, ROUTER};
use crate::config::checked::{Bind, Http2, Listener, ListenerTimeouts, Mode, PluginUse, ProxyIn};
use crate::config::edge::ListenerBind;
use crate::config::problem::{Located, Problem};
use crate::config::written::{self, File};

impl Check<'_> {
    pub(super) fn written_listeners(&mut self, file: &File, uses: &mut Uses) -> Vec<Listener> {
        let none = file
            .listener
            .given()
            .is_some_and(|sections| sections.value.0.is_empty());
        if none || file.listener.is_absent() {
            self.problem(Problem::at(
                0..0,
                "the configuration has no listener",
                "add a [[listener]] with `name`, `bind` and `pool`; `tidegate demo` shows one at work",
            ));
        }
        let sections = file.listeners().iter();
        sections
            .map(|section| self.written_listener(file, &section.value, uses))
            .collect()
    }

    fn written_listener(
        &mut self,
        file: &File,
        written: &written::Listener,
        uses: &mut Uses,
    ) -> Listener {
        let name = written.name.as_ref().map_or("", |name| &name.value.0);
        let pool = written.pool.given().and_then(|pool| self.pool(pool));
        self.leads_somewhere(file, written);
        let connect = self.plugin_uses(&written.connect.value, name, uses);
        self.has_what_its_mode_serves(written);
        self.has_trusted_proxies(file, written);
        let timeouts = &written.timeouts.value;
        self.no_bind(written);
        Listener {
            name: name.to_owned(),
            bind: self.bind(written),
            mode: written.mode.value,
            proxy_protocol: written.proxy_protocol.value,
            tls_passthrough: written.tls_passthrough.value,
            connect,
            filters: self.plugin_uses(&written.filters.value, name, uses),
            router: self.router(file, written, name, uses),
            pool,
            abort_on_close: written.abort_on_close.value,
            max_connections: written.max_connections.given().map(|n| n.value.0 as usize),
            max_connections_per_client: written.max_connections_per_client.value.0 as u32,
            max_head: written.max_head.value.0 as usize,
            min_body_rate: written.min_body_rate.value.0,
            max_body: written.max_body.value.0,
            compression: written
                .compression
                .given()
                .map(|c| self.compression(&c.value)),
            error_pages: self.error_pages(&written.error_pages.value),
            tls: self.listener_tls(written),
            http2: http2(&written.http2.value),
            timeouts: ListenerTimeouts {
                handshake: timeouts.handshake.value.0,
                request_head: timeouts.request_head.value.0,
                idle: timeouts.idle.value.0,
                body: timeouts.body.value.0,
                rate_grace: timeouts.rate_grace.value.0,
                tunnel: timeouts.tunnel.value.0,
            },
        }
    }

    fn router(
        &mut self,
        file: &File,
        written: &written::Listener,
        name: &str,
        uses: &mut Uses,
    ) -> Option<PluginUse> {
        match written.router.given() {
            Some(router) => self.plugin_use(router, name, uses),
            None if written.router.is_absent()
                && written.mode.value == Mode::Http
                && !file.route.value.0.is_empty() =>
            {
                Some(self.default_use(ROUTER, &written.span, uses))
            }
            None => None,
        }
    }

    fn no_bind(&mut self, written: &written::Listener) {
        if let Some(bind) = written.bind.as_ref().filter(|bind| bind.value.0.is_empty()) {
            self.problem(Problem::at(
                bind.span.clone(),
                "a listener needs an address to listen on",
                "write bind = \"0.0.0.0:80\"",
            ));
        }
    }

    fn bind(&self, written: &written::Listener) -> Vec<Located<Bind>> {
        let mode = written.unix_mode.value.0;
        let all = written.bind.iter().flat_map(|bind| &bind.value.0);
        let at = |bind: &ListenerBind| match bind {
            ListenerBind::Ip(address) => Bind::Ip(*address),
            ListenerBind::Unix(path) => Bind::Unix {
                path: self.source.folder().join(path),
                mode,
            },
        };
        all.map(|bind| bind.located(at(&bind.value))).collect()
    }

    fn has_what_its_mode_serves(&mut self, written: &written::Listener) {
        let tcp = written.mode.value == Mode::Tcp;
        let mut refuse = |span: crate::config::problem::Span, key: &str| {
            self.problem(Problem::at(
                span,
                format!("`{key}` is of no use in tcp mode, which knows no requests"),
                "leave it out, or decide by a plugin in `connect`",
            ));
        };
        if let (true, Some(filter)) = (tcp, written.filters.value.first()) {
            refuse(filter.span.clone(), "filters");
        }
        if let (true, Some(router)) = (tcp, written.router.given()) {
            refuse(router.span.clone(), "router");
        }
        if let (true, Some(compression)) = (tcp, written.compression.given()) {
            refuse(compression.span.clone(), "compression");
        }
        for (set, span, key) in [
            (
                !written.error_pages.value.0.is_empty(),
                &written.error_pages.span,
                "error-pages",
            ),
            (
                written.max_body.value.0 > 0,
                &written.max_body.span,
                "max-body",
            ),
            (
                written.min_body_rate.value.0 > 0,
                &written.min_body_rate.span,
                "min-body-rate",
            ),
        ] {
            if tcp && set {
                refuse(span.clone(), key);
            }
        }
        if written.tls_passthrough.value && !tcp {
            self.problem(Problem::at(
                written.tls_passthrough.span.clone(),
                "`tls-passthrough` is for tcp mode",
                "add `mode = \"tcp\"`, or leave it out",
            ));
        }
        if let (true, Some(tls)) = (written.tls_passthrough.value, written.tls.given()) {
            self.problem(Problem::at(
                tls.span.clone(),
                "TLS can't both end here and pass through",
                "leave out `tls`, or `tls-passthrough`",
            ));
        }
    }

    /// A line that nobody may send would be a listener that nobody can use.
    fn has_trusted_proxies(&mut self, file: &File, written: &written::Listener) {
        let none = file.proxy.value.trusted_proxies.value.is_empty();
        if written.proxy_protocol.value == ProxyIn::Require && none {
            self.problem(Problem::at(
                written.proxy_protocol.span.clone(),
                "PROXY lines are required, but nobody's are believed",
                "name the proxies before this one: trusted-proxies = [\"10.0.0.0/8\"] under [proxy]",
            ));
        }
    }

    /// Without pool, router, route or filter every request would get a 404. A filter may answer all of them.
    fn leads_somewhere(&mut self, file: &File, written: &written::Listener) {
        let name = written.name.as_ref().map_or("", |name| &name.value.0);
        let takes = |route: &Located<written::Route>| match route.value.listeners.given() {
            Some(listeners) => listeners.value.0.iter().any(|l| l.value.value == name),
            None => true,
        };
        let tcp = written.mode.value == Mode::Tcp;
        let routed = !tcp && file.route.value.0.iter().any(takes);
        let filtered =
            !written.filters.value.is_empty() || tcp && !written.connect.value.is_empty();
        if written.pool.is_absent() && written.router.is_absent() && !routed && !filtered {
            let known = self.pools.list().next().unwrap_or("NAME");
            let remedy =
                format!("add `pool = \"{known}\"`, or a [[route]] that takes its requests");
            let message =
                format!("the listener {name:?} leads nowhere: it has no pool, route or filter");
            self.problem(Problem::at(written.span.clone(), message, remedy));
        }
    }
}

fn http2(written: &written::Http2) -> Option<Http2> {
    written.enabled.value.then_some(Http2 {
        max_concurrent_streams: written.max_concurrent_streams.value.0 as u32,
        initial_window: written.initial_window.value.0 as u32,
    })
}
