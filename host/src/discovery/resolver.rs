//! One look-up: /etc/hosts, then DNS. The only user of hickory, which is asked without its cache: when to ask again is
//! decided by `names`.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, Resolver, TokioResolver};
use tokio::sync::Semaphore;

use crate::config::checked::{Dns, Family};
use crate::config::lookup::{Found, Lookup};

/// How often the system's files are looked at for changes, at most.
const LOOK: Duration = Duration::from_secs(1);

const FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// Look-ups under way at a time.
const MOST_AT_ONCE: usize = 64;

/// Hosts of a service that are looked up, and how many of them at a time.
const MOST_HOSTS: usize = 256;
const HOSTS_AT_ONCE: usize = 8;

/// Servers of one answer, however many it has; a pool takes no more of a name.
const MOST_FOUND: usize = 4_096;

/// Tries of one question.
const RETRIES: usize = 1;

/// The largest weight of a server; larger ones of a service are scaled down to it.
const MOST_WEIGHT: u32 = 256;

/// An answer, in order and without repetition.
#[derive(Debug)]
pub struct Answer {
    pub found: Vec<Found>,
    pub ttl: Duration,
}

/// Why there is none.
#[derive(Debug)]
pub enum NoAnswer {
    /// The name does not exist, or has no such records.
    Missing(String),
    /// DNS did not say.
    Failed(String),
}

/// How names are looked up under these settings.
pub struct Asker {
    dns: Arc<Dns>,
    permits: Semaphore,
    state: Mutex<State>,
}

struct State {
    known: Result<Known, String>,
    stamps: [Option<SystemTime>; 2],
    looked: Instant,
}

#[derive(Clone)]
struct Known {
    resolver: TokioResolver,
    hosts: Arc<Hosts>,
}

impl Asker {
    pub fn new(dns: Arc<Dns>) -> Asker {
        let state = State {
            known: Known::read(&dns),
            stamps: stamps(),
            looked: Instant::now(),
        };
        Asker {
            dns,
            permits: Semaphore::new(MOST_AT_ONCE),
            state: Mutex::new(state),
        }
    }

    pub async fn ask(&self, lookup: &Lookup) -> Result<Answer, NoAnswer> {
        let permit = self.permits.acquire().await;
        let _permit = permit.expect("it is never closed");
        let known = self.known().map_err(NoAnswer::Failed)?;
        match lookup {
            Lookup::Host { name, port } => {
                let (addresses, ttl) = self.host(&known, name).await?;
                let found = addresses.into_iter().map(|ip| Found {
                    address: SocketAddr::new(ip, *port),
                    weight: None,
                    backup: false,
                });
                Ok(Answer {
                    found: in_order(found),
                    ttl,
                })
            }
            Lookup::Service(name) => self.service(&known, name).await,
        }
    }

    /// Looks whether the system's files have changed first.
    fn known(&self) -> Result<Known, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() > LOOK {
            state.looked = Instant::now();
            let stamps = stamps();
            if stamps != state.stamps {
                state.stamps = stamps;
                state.known = Known::read(&self.dns);
            }
        }
        state.known.clone()
    }

    async fn host(&self, known: &Known, name: &str) -> Result<(Vec<IpAddr>, Duration), NoAnswer> {
        if let Some(addresses) = self.in_hosts(known, name) {
            return Ok((addresses, self.dns.max_ttl));
        }
        use RecordType::{A, AAAA};
        let of = |kind| self.addresses(known, name, kind);
        match self.dns.family {
            Family::Ipv4 => of(A).await,
            Family::Ipv6 => of(AAAA).await,
            Family::Ipv4First => first(of(A).await, of(AAAA)).await,
            Family::Ipv6First => first(of(AAAA).await, of(A)).await,
            Family::Both => {
                let (v4, v6) = tokio::join!(of(A), of(AAAA));
                both(v4, v6)
            }
        }
    }

    async fn addresses(
        &self,
        known: &Known,
        name: &str,
        kind: RecordType,
    ) -> Result<(Vec<IpAddr>, Duration), NoAnswer> {
        let records = self.records(known, name, kind).await?;
        let addresses = addresses(&records);
        match addresses.is_empty() {
            true => Err(NoAnswer::Missing(format!("no {kind} record"))),
            false => Ok((addresses, ttl(&records))),
        }
    }

    /// As /etc/hosts has it. None: it doesn't.
    fn in_hosts(&self, known: &Known, name: &str) -> Option<Vec<IpAddr>> {
        let mut full = Name::from_utf8(name).ok()?;
        full.set_fqdn(true);
        let of = |kind| -> Vec<IpAddr> {
            let lookup = known
                .hosts
                .lookup_static_host(&Query::query(full.clone(), kind));
            addresses(lookup.iter().flat_map(|lookup| lookup.answers()))
        };
        let (v4, v6) = (of(RecordType::A), of(RecordType::AAAA));
        let wanted = match self.dns.family {
            Family::Ipv4 => v4,
            Family::Ipv6 => v6,
            Family::Ipv4First if v4.is_empty() => v6,
            Family::Ipv4First => v4,
            Family::Ipv6First if v6.is_empty() => v4,
            Family::Ipv6First => v6,
            Family::Both => [v4, v6].concat(),
        };
        (!wanted.is_empty()).then_some(wanted)
    }

    async fn service(&self, known: &Known, name: &str) -> Result<Answer, NoAnswer> {
        let records = self.records(known, name, RecordType::SRV).await?;
        let services: Vec<&SRV> = records
            .iter()
            .filter_map(|record| match &record.data {
                // RFC 2782: a target of "." means that there is no such service.
                RData::SRV(service) if !service.target.is_root() => Some(service),
                _ => None,
            })
            .take(MOST_HOSTS)
            .collect();
        let mut ttl = ttl(&records);
        let mut found = Vec::new();
        let mut failure = None;
        let mut hosts = Vec::with_capacity(services.len());
        for some in services.chunks(HOSTS_AT_ONCE) {
            let some = some.iter().map(|service| async move {
                let host = service.target.to_utf8();
                self.host(known, &host).await
            });
            hosts.extend(futures_util::future::join_all(some).await);
        }
        let weigh = Weigh::of(&services);
        for (service, host) in services.iter().zip(hosts) {
            match host {
                Ok((addresses, its_ttl)) => {
                    ttl = ttl.min(its_ttl);
                    found.extend(addresses.into_iter().map(|ip| weigh.found(service, ip)));
                }
                Err(NoAnswer::Missing(words)) => {
                    failure
                        .get_or_insert(NoAnswer::Missing(format!("{}: {words}", service.target)));
                }
                // A part would pass for the whole, and the rest of the servers would go.
                Err(NoAnswer::Failed(words)) => {
                    return Err(NoAnswer::Failed(format!("{}: {words}", service.target)));
                }
            }
        }
        match failure {
            _ if !found.is_empty() => Ok(Answer {
                found: in_order(found.into_iter()),
                ttl,
            }),
            Some(failure) => Err(failure),
            None => Err(NoAnswer::Missing("no SRV record".to_owned())),
        }
    }

    async fn records(
        &self,
        known: &Known,
        name: &str,
        kind: RecordType,
    ) -> Result<Vec<Record>, NoAnswer> {
        // Two tries of as many servers as there are, and something for going from one to the next.
        let most = self.dns.timeout * 4;
        match tokio::time::timeout(most, known.resolver.lookup(name, kind)).await {
            Ok(Ok(lookup)) => Ok(lookup.answers().to_vec()),
            Ok(Err(error)) => Err(words(&error, kind)),
            Err(_) => Err(NoAnswer::Failed(format!("no answer within {most:?}"))),
        }
    }
}

impl Known {
    fn read(dns: &Dns) -> Result<Known, String> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = if dns.servers.is_empty() {
            Resolver::builder(provider).map_err(|error| format!("/etc/resolv.conf: {error}"))?
        } else {
            let servers = dns.servers.iter().map(server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Resolver::builder_with_config(config, provider)
        };
        settle(builder.options_mut(), dns);
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(Known {
            resolver,
            hosts: Arc::new(Hosts::from_system().unwrap_or_default()),
        })
    }
}

fn settle(options: &mut ResolverOpts, dns: &Dns) {
    options.timeout = dns.timeout;
    options.attempts = RETRIES;
    options.cache_size = 0;
    options.preserve_intermediates = false;
    options.use_hosts_file = ResolveHosts::Never;
    options.max_active_requests = 1_024;
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

fn stamps() -> [Option<SystemTime>; 2] {
    FILES.map(|file| fs::metadata(file).ok()?.modified().ok())
}

fn ttl(records: &[Record]) -> Duration {
    let least = records.iter().map(|record| record.ttl).min();
    Duration::from_secs(u64::from(least.unwrap_or(0)))
}

fn addresses<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<IpAddr> {
    let addresses = records
        .into_iter()
        .filter_map(|record| record.data.ip_addr());
    addresses
        .map(|ip| ip.to_canonical())
        // What blocks names answers with these; a connection there would come to this host.
        .filter(|ip| !ip.is_unspecified() && !ip.is_multicast())
        .collect()
}

type Addresses = Result<(Vec<IpAddr>, Duration), NoAnswer>;

/// The other family is asked only where the dear one has nothing.
async fn first(dear: Addresses, other: impl Future<Output = Addresses>) -> Addresses {
    match dear {
        Err(NoAnswer::Missing(words)) => match other.await {
            Err(NoAnswer::Missing(_)) => Err(NoAnswer::Missing(words)),
            answer => answer,
        },
        answer => answer,
    }
}

fn both(v4: Addresses, v6: Addresses) -> Addresses {
    match (v4, v6) {
        (Ok(v4), Ok(v6)) => Ok(([v4.0, v6.0].concat(), v4.1.min(v6.1))),
        (Ok(one), Err(NoAnswer::Missing(_))) | (Err(NoAnswer::Missing(_)), Ok(one)) => Ok(one),
        // A part would pass for the whole.
        (Err(error), Ok(_)) | (_, Err(error)) => Err(error),
    }
}

/// How the weights and priorities of a service's records become a server's.
struct Weigh {
    best: u16,
    most: u32,
}

impl Weigh {
    fn of(services: &[&SRV]) -> Weigh {
        let priorities = services.iter().map(|service| service.priority);
        let weights = services.iter().map(|service| u32::from(service.weight));
        Weigh {
            best: priorities.min().unwrap_or(0),
            most: weights.max().unwrap_or(0),
        }
    }

    fn found(&self, service: &SRV, ip: IpAddr) -> Found {
        let weight = u32::from(service.weight);
        let scaled = match self.most > MOST_WEIGHT {
            true => weight * MOST_WEIGHT / self.most,
            false => weight,
        };
        Found {
            address: SocketAddr::new(ip, service.port),
            // RFC 2782: little is not none.
            weight: Some(scaled.max(1)),
            backup: service.priority > self.best,
        }
    }
}

/// One of each address: of several the one that is worth most.
fn in_order(found: impl Iterator<Item = Found>) -> Vec<Found> {
    let mut all: BTreeMap<SocketAddr, Found> = BTreeMap::new();
    for one in found {
        let known = all.entry(one.address).or_insert_with(|| one.clone());
        let worth = |found: &Found| (!found.backup, found.weight);
        if worth(&one) > worth(known) {
            *known = one;
        }
    }
    all.into_values().take(MOST_FOUND).collect()
}

fn words(error: &NetError, kind: RecordType) -> NoAnswer {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => NoAnswer::Missing("NXDOMAIN".to_owned()),
            ResponseCode::NoError => NoAnswer::Missing(format!("no {kind} record")),
            code => NoAnswer::Failed(format!("DNS answers: {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => {
            NoAnswer::Failed(format!("DNS answers: {code}"))
        }
        NetError::Timeout => NoAnswer::Failed("no answer in time".to_owned()),
        other => NoAnswer::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: u16, weight: u16, port: u16) -> SRV {
        SRV::new(
            priority,
            weight,
            port,
            Name::from_ascii("a.example.").unwrap(),
        )
    }

    fn weigh(records: &[SRV]) -> Vec<(Option<u32>, bool)> {
        let all: Vec<_> = records.iter().collect();
        let weigh = Weigh::of(&all);
        let ip = IpAddr::from([10, 0, 0, 1]);
        let found = records.iter().map(|record| weigh.found(record, ip));
        found.map(|found| (found.weight, found.backup)).collect()
    }

    #[test]
    fn records_of_a_service_weigh_as_they_say() {
        assert_eq!(
            weigh(&[record(10, 3, 1), record(10, 0, 2), record(20, 5, 3)]),
            [(Some(3), false), (Some(1), false), (Some(5), true)]
        );
        assert_eq!(
            weigh(&[record(0, 65_535, 1), record(0, 6_553, 2)]),
            [(Some(256), false), (Some(25), false)],
            "in proportion"
        );
    }

    #[test]
    fn an_address_that_is_told_twice_is_one_server() {
        let found = |port, weight, backup| Found {
            address: ([10, 0, 0, 1], port).into(),
            weight,
            backup,
        };
        let all = [
            found(2, Some(1), true),
            found(1, Some(1), false),
            found(2, Some(1), false),
            found(2, Some(9), true),
        ];
        let expected = [found(1, Some(1), false), found(2, Some(1), false)];
        assert_eq!(in_order(all.into_iter()), expected);
    }

    #[test]
    fn half_an_answer_is_none_unless_the_other_half_is_empty() {
        let ok = || Ok((vec![IpAddr::from([10, 0, 0, 1])], Duration::from_secs(5)));
        let missing = || Err(NoAnswer::Missing(String::new()));
        let failed = || Err(NoAnswer::Failed(String::new()));
        assert!(both(ok(), missing()).is_ok() && both(missing(), ok()).is_ok());
        assert!(both(ok(), failed()).is_err() && both(failed(), ok()).is_err());
        assert!(matches!(
            both(missing(), missing()),
            Err(NoAnswer::Missing(_))
        ));
    }
}
