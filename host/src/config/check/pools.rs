//! `[[pool]]` sections and their servers.

use std::sync::Arc;

use super::health::passive;
use super::uses::Uses;
use super::{Check, ROUND_ROBIN, WEIGHTED, refuse_twice};
use crate::config::checked::{
    HttpVersion, PluginUse, Pool, PoolTimeouts, ProbeKind, ProxyOut, Server,
};
use crate::config::problem::{Located, Problem};
use crate::config::written::{self, File};

impl Check<'_> {
    pub(super) fn written_pools(&mut self, file: &File, uses: &mut Uses) -> Vec<Pool> {
        let sections = file.pool.value.0.iter();
        sections
            .map(|section| self.written_pool(&section.value, uses))
            .collect()
    }

    fn written_pool(&mut self, written: &written::Pool, uses: &mut Uses) -> Pool {
        let name = written.name.as_ref().map_or("", |name| &name.value.0);
        let servers = self.servers(written, name);
        self.check_http2(written);
        let timeouts = &written.timeouts.value;
        Pool {
            name: name.to_owned(),
            balancer: self.balancer(written, name, &servers, uses),
            sticky: written
                .sticky
                .given()
                .and_then(|plugin| self.plugin_use(plugin, name, uses)),
            timeouts: PoolTimeouts {
                connect: timeouts.connect.value.0,
                send: timeouts.send.value.0,
                first_byte: timeouts.first_byte.value.0,
                between_bytes: timeouts.between_bytes.value.0,
                queue: timeouts.queue.value.0,
                total: timeouts.total.value.0,
            },
            retries: written.retries.value.0 as u32,
            retry: Arc::new(self.retry(written)),
            when_full: written.when_full.value,
            max_queue: written.max_queue.value.0 as usize,
            http: written.http.value,
            health: written
                .health
                .given()
                .map(|h| Arc::new(self.probe(&h.value))),
            judge: self.judge(written, name, uses),
            passive: written.passive.given().map(|p| Arc::new(passive(&p.value))),
            slow_start: written.slow_start.value.0,
            panic_threshold: written.panic_threshold.value.0,
            proxy_protocol: written.proxy_protocol.value,
            on_marked_down: written.on_marked_down.value,
            servers,
            tls: self.pool_tls(written),
            span: written.span.clone(),
        }
    }

    /// What does not go together with HTTP/2 towards servers.
    fn check_http2(&mut self, written: &written::Pool) {
        if written.http.value != HttpVersion::Http2 {
            return;
        }
        if written.proxy_protocol.value != ProxyOut::Off {
            self.problem(Problem::at(
                written.proxy_protocol.span.clone(),
                "a PROXY line tells of one client, and over h2 requests of several share a connection",
                "take out `proxy-protocol`, or write http = \"1.1\"",
            ));
        }
        let probe = written
            .health
            .given()
            .filter(|probe| probe.value.r#type.value == ProbeKind::Http);
        if let Some(probe) = probe {
            self.problem(Problem::at(
                probe.span.clone(),
                "probes of the type http speak HTTP/1.1, which servers of h2 need not",
                "write type = \"tcp\" in `health`",
            ));
        }
    }

    fn judge(&mut self, written: &written::Pool, pool: &str, uses: &mut Uses) -> Option<PluginUse> {
        let plugin = written.health.given()?.value.plugin.given()?;
        self.plugin_use(plugin, pool, uses)
    }

    fn servers(&mut self, written: &written::Pool, pool: &str) -> Vec<Server> {
        let Some(list) = &written.servers else {
            return Vec::new();
        };
        let names = list.value.iter().filter_map(|written| {
            let name = server_name(&written.value)?;
            let message = format!("the server name {:?} is taken in pool {pool:?}", name.value);
            Some((name.value.clone(), name.located(message)))
        });
        let remedy = "give each server of a pool a `name` of its own; without one it is called by its address";
        refuse_twice(names, remedy, self.problems);
        list.value
            .iter()
            .map(|written| self.server(&written.value))
            .collect()
    }

    fn server(&self, written: &written::Server) -> Server {
        let labels = written.labels.value.0.iter();
        let address = written.address.as_ref().map_or("", |a| &a.value.0);
        Server {
            name: server_name(written).map_or(String::new(), |name| name.value),
            address: match address.strip_prefix("unix:") {
                Some(path) => format!("unix:{}", self.source.folder().join(path).display()),
                None => address.to_owned(),
            },
            weight: written.weight.value.0 as u32,
            backup: written.backup.value,
            max_connections: written
                .max_connections
                .given()
                .map_or(0, |most| most.value.0 as u32),
            labels: labels
                .map(|(key, text)| (key.value.clone(), text.value.value.clone()))
                .collect(),
        }
    }

    /// As HAProxy's `roundrobin`, what is used by default honours weights.
    fn balancer(
        &mut self,
        written: &written::Pool,
        pool: &str,
        servers: &[Server],
        uses: &mut Uses,
    ) -> PluginUse {
        let differ = servers
            .windows(2)
            .any(|pair| pair[0].weight != pair[1].weight);
        let grow = !written.slow_start.value.0.is_zero();
        let default = if differ || grow {
            WEIGHTED
        } else {
            ROUND_ROBIN
        };
        if written.balancer.is_absent() {
            return self.default_use(default, &written.span, uses);
        }
        let written_use = written.balancer.given();
        let plugin = written_use.and_then(|name| self.plugin_use(name, pool, uses));
        // None is reported, and this stands for nothing.
        plugin.unwrap_or_else(|| Located {
            value: crate::base::ids::PluginIndex(0),
            span: written.span.clone(),
        })
    }
}

fn server_name(written: &written::Server) -> Option<Located<String>> {
    if let Some(name) = written.name.given() {
        return Some(name.located(name.value.0.clone()));
    }
    let address = written.address.as_ref()?;
    let absent = written.name.is_absent();
    absent.then(|| address.located(address.value.0.clone()))
}
