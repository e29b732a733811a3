//! `[[pool]]` sections and their servers.

use std::path::Path;
use std::sync::Arc;

use super::health::{self, passive};
use super::uses::{Uses, shipped};
use super::{Check, ROUND_ROBIN, WEIGHTED, refuse_twice};
use crate::base::ids::PluginIndex;
use crate::config::checked::{
    Config, Discovered, HttpVersion, PluginUse, Pool, PoolTimeouts, ProbeKind, ProxyOut, Server,
};
use crate::config::lookup::SERVICE;
use crate::config::problem::{Located, Problem, Problems};
use crate::config::servers_file;
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
        let servers = self.servers(written);
        let discovered = self.discovered(written, &servers);
        self.check_http2(written);
        self.check_grpc_probe(written);
        self.check_probed_port(written);
        self.check_watched(written);
        let timeouts = &written.timeouts.value;
        Pool {
            name: name.to_owned(),
            balancer: self.balancer(written, name, (&servers, discovered.as_ref()), uses),
            balancer_by_default: written.balancer.is_absent(),
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
                .map(|h| Arc::new(self.probe(&h.value, written.http.value == HttpVersion::Http2))),
            judge: self.judge(written, name, uses),
            prober: self.prober(written, name, uses),
            passive: written.passive.given().map(|p| Arc::new(passive(&p.value))),
            slow_start: written.slow_start.value.0,
            panic_threshold: written.panic_threshold.value.0,
            proxy_protocol: written.proxy_protocol.value,
            on_marked_down: written.on_marked_down.value,
            servers: match &discovered {
                None => servers,
                // Names stand for nothing yet.
                Some(discovered) => discovered
                    .own
                    .iter()
                    .chain(&discovered.listed)
                    .cloned()
                    .collect(),
            },
            discovered,
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
    }

    fn check_grpc_probe(&mut self, written: &written::Pool) {
        let probe = written.health.given();
        let probe = probe.filter(|probe| health::kind(&probe.value) == ProbeKind::Grpc);
        if let Some(probe) = probe.filter(|_| written.http.value != HttpVersion::Http2) {
            self.problem(Problem::at(
                probe.span.clone(),
                "gRPC is spoken over HTTP/2 alone",
                "write http = \"h2\" in the pool, or another type in `health`",
            ));
        }
    }

    /// What only makes sense where somebody finds servers down.
    fn check_watched(&mut self, written: &written::Pool) {
        if written.health.given().is_some() || written.passive.given().is_some() {
            return;
        }
        let slow_start = &written.slow_start;
        let panic = &written.panic_threshold;
        for (set, span, key) in [
            (
                !slow_start.value.0.is_zero(),
                &slow_start.span,
                "slow-start",
            ),
            (panic.value.0 > 0, &panic.span, "panic-threshold"),
        ] {
            if set {
                self.problem(Problem::at(
                    span.clone(),
                    format!("`{key}` has no effect: nobody finds out whether a server is up"),
                    "add `health` or `passive`, or leave it out",
                ));
            }
        }
    }

    fn check_probed_port(&mut self, written: &written::Pool) {
        let port = written
            .health
            .given()
            .and_then(|probe| probe.value.port.given());
        let mut servers = written
            .servers
            .given()
            .into_iter()
            .flat_map(|list| &list.value);
        let is_unix = |server: &Located<written::Server>| {
            let address = server.value.address.as_ref();
            address.is_some_and(|address| address.value.0.starts_with("unix:"))
        };
        if let (Some(port), true) = (port, servers.any(is_unix)) {
            self.problem(Problem::at(
                port.span.clone(),
                "a Unix socket has no other port to be probed on",
                "leave out `port`, or give these servers a pool of their own",
            ));
        }
    }

    fn judge(&mut self, written: &written::Pool, pool: &str, uses: &mut Uses) -> Option<PluginUse> {
        let plugin = written.health.given()?.value.plugin.given()?;
        self.plugin_use(plugin, pool, uses)
    }

    fn prober(
        &mut self,
        written: &written::Pool,
        pool: &str,
        uses: &mut Uses,
    ) -> Option<PluginUse> {
        let plugin = written.health.given()?.value.prober.given()?;
        self.plugin_use(plugin, pool, uses)
    }

    fn servers(&mut self, written: &written::Pool) -> Vec<Server> {
        let Some(list) = written.servers.given() else {
            self.check_for_servers(written);
            return Vec::new();
        };
        let mut listed = Listed {
            folder: self.source.folder(),
            problems: self.problems,
        };
        listed.servers(&list.value)
    }

    /// They have to come from somewhere.
    fn check_for_servers(&mut self, written: &written::Pool) {
        // A key that is there under a wrong name is not missing too.
        let meant = |p: &Problem| {
            let here = p.span.as_ref().is_some_and(|span| {
                written.span.start <= span.start && span.end <= written.span.end
            });
            here && p.message.starts_with("unknown key") && p.remedy.contains("`servers`")
        };
        let told = self.problems.list.iter().any(meant);
        if written.servers.is_absent() && written.servers_file.is_absent() && !told {
            self.problem(Problem::at(
                written.span.clone(),
                "[[pool]] lacks `servers`",
                "add `servers`: a list, each item a server as a table; or `servers-file`",
            ));
        }
    }

    fn discovered(&mut self, written: &written::Pool, own: &[Server]) -> Option<Discovered> {
        let folder = self.source.folder();
        let file = written.servers_file.given();
        let file = file.map(|file| file.located(folder.join(&file.value.value)));
        let listed = file
            .as_ref()
            .map(|file| servers_file::read(&file.value, folder, own));
        let listed = listed.map(|read| {
            read.unwrap_or_else(|problems| {
                self.problems.adopt(problems);
                Vec::new()
            })
        });
        let named = own.iter().any(|server| server.lookup().is_some());
        (named || file.is_some()).then(|| Discovered {
            own: own.to_vec(),
            listed: listed.unwrap_or_default(),
            file: file.map(|file| file.value),
            most: written.max_addresses.value.0 as usize,
        })
    }

    /// As HAProxy's `roundrobin`, what is used by default honours weights.
    fn balancer(
        &mut self,
        written: &written::Pool,
        pool: &str,
        (servers, discovered): (&[Server], Option<&Discovered>),
        uses: &mut Uses,
    ) -> PluginUse {
        let grow = !written.slow_start.value.0.is_zero();
        // Weights that are yet to come.
        let told = discovered.is_some_and(|discovered| {
            let services = |server: &Server| server.address.starts_with(SERVICE);
            discovered.file.is_some() || discovered.own.iter().any(services)
        });
        // A judge gives shares of the weight.
        let judged = written.health.given();
        let judged = judged.is_some_and(|health| health.value.plugin.given().is_some());
        let default = if differ(servers) || grow || told || judged {
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
            value: PluginIndex(0),
            span: written.span.clone(),
        })
    }
}

/// A list of servers, in whichever file.
pub(in crate::config) struct Listed<'a> {
    /// Where relative paths start.
    pub folder: &'a Path,
    pub problems: &'a mut Problems,
}

impl Listed<'_> {
    pub(in crate::config) fn servers(&mut self, list: &[Located<written::Server>]) -> Vec<Server> {
        let names = list.iter().filter_map(|written| {
            let name = server_name(&written.value)?;
            let message = format!("the server name {:?} is taken in this pool", name.value);
            Some((name.value.clone(), name.located(message)))
        });
        refuse_twice(names, NAME_IT, self.problems);
        list.iter()
            .map(|written| server(&written.value, self.folder))
            .collect()
    }
}

const NAME_IT: &str =
    "give each server of a pool a `name` of its own; without one it is called by its address";

/// Reports servers of another file whose names the configuration has given.
pub(in crate::config) fn refuse_taken(
    list: &[Located<written::Server>],
    own: &[Server],
    problems: &mut Problems,
) {
    let names = list
        .iter()
        .filter_map(|written| server_name(&written.value));
    for name in names {
        if own.iter().any(|server| server.name == name.value) {
            let message = format!(
                "the server name {:?} is taken by one of the pool's own `servers`",
                name.value
            );
            problems.push(Problem::at(name.span, message, NAME_IT));
        }
    }
}

/// A server as it was written; relative paths begin at `folder`.
pub(in crate::config) fn server(written: &written::Server, folder: &Path) -> Server {
    let labels = written.labels.value.0.iter();
    let address = written.address.as_ref().map_or("", |a| &a.value.0);
    Server {
        name: server_name(written).map_or(String::new(), |name| name.value),
        address: match address.strip_prefix("unix:") {
            Some(path) => format!("unix:{}", folder.join(path).display()),
            None => address.to_owned(),
        },
        resolved_from: None,
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

/// What a pool balances by that names nothing, once its servers have changed at run time: weights are honoured.
pub(in crate::config) fn weigh_by_default(config: &mut Config, pool: usize) {
    let pool = &mut config.pools[pool];
    if !pool.balancer_by_default || !differ(&pool.servers) {
        return;
    }
    let mut plugins = config.plugins.iter();
    let known = plugins.position(|plugin| plugin.name == WEIGHTED);
    let index = known.unwrap_or_else(|| {
        config.plugins.push(shipped(WEIGHTED, &pool.span));
        config.plugins.len() - 1
    });
    pool.balancer.value = PluginIndex(index as u32);
}

fn differ(servers: &[Server]) -> bool {
    let mut pairs = servers.windows(2);
    pairs.any(|pair| pair[0].weight != pair[1].weight)
}

fn server_name(written: &written::Server) -> Option<Located<String>> {
    if let Some(name) = written.name.given() {
        return Some(name.located(name.value.0.clone()));
    }
    let address = written.address.as_ref()?;
    let absent = written.name.is_absent();
    absent.then(|| address.located(address.value.0.clone()))
}
