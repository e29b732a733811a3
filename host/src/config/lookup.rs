//! Addresses that are names, and what is asked of DNS for them: `app.internal:80`, or `srv:_http._tcp.app.internal`, where
//! the records tell the ports too.

use std::net::SocketAddr;

use super::checked::Server;

/// What stands before the name of a service.
pub const SERVICE: &str = "srv:";

/// What DNS is asked. Servers that ask the same share the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lookup {
    /// Addresses of a host; the port is the server's own.
    Host { name: String, port: u16 },
    /// SRV records (RFC 2782), and addresses of the hosts that they name.
    Service(String),
}

/// One of the servers that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub address: SocketAddr,
    /// From an SRV record, 1 to 256. None: the server's own.
    pub weight: Option<u32>,
    /// From an SRV record that others have precedence over.
    pub backup: bool,
}

impl Lookup {
    /// As an address of the file: `host:port`, or `srv:NAME`. None: it needs no look-up.
    pub fn of(address: &str) -> Option<Lookup> {
        if let Some(name) = address.strip_prefix(SERVICE) {
            return Some(Lookup::Service(name.to_owned()));
        }
        if address.starts_with("unix:") || address.parse::<SocketAddr>().is_ok() {
            return None;
        }
        let (name, port) = address.rsplit_once(':')?;
        Some(Lookup::Host {
            name: name.to_owned(),
            port: port.parse().ok()?,
        })
    }

    /// The name that is asked for.
    pub fn name(&self) -> &str {
        match self {
            Lookup::Host { name, .. } | Lookup::Service(name) => name,
        }
    }
}

impl Server {
    /// What is to be asked for it. None: its address is one.
    pub fn lookup(&self) -> Option<Lookup> {
        Lookup::of(&self.address)
    }

    /// The address as the file has it, whatever it was resolved to.
    pub fn written_address(&self) -> &str {
        self.resolved_from.as_deref().unwrap_or(&self.address)
    }

    /// Where TLS is to be spoken to, as `host:port`. For a service it is the name whose services are told of, not what DNS
    /// makes of it, since anybody may answer for that (RFC 6125, 6.2.1).
    pub fn tls_address(&self) -> String {
        let address = self.written_address();
        match address.strip_prefix(SERVICE) {
            None => address.to_owned(),
            Some(service) => {
                let labels = service
                    .split('.')
                    .skip_while(|label| label.starts_with('_'));
                format!("{}:0", labels.collect::<Vec<_>>().join("."))
            }
        }
    }

    /// One of the servers that its name stands for. It keeps its own name as long as DNS knows it.
    pub fn found_at(&self, found: &Found) -> Server {
        let service = self.address.starts_with(SERVICE);
        let place = match service {
            true => found.address.to_string(),
            false => found.address.ip().to_string(),
        };
        Server {
            name: format!("{}@{place}", self.name),
            address: found.address.to_string(),
            resolved_from: Some(self.address.clone()),
            weight: found.weight.unwrap_or(self.weight),
            backup: self.backup || found.backup,
            max_connections: self.max_connections,
            labels: self.labels.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_looked_up() {
        for address in ["10.0.0.7:80", "[::1]:80", "unix:/run/app.sock"] {
            assert_eq!(Lookup::of(address), None, "{address}");
        }
        let host = Lookup::Host {
            name: "app.internal".into(),
            port: 80,
        };
        assert_eq!(Lookup::of("app.internal:80"), Some(host));
        let service = Lookup::Service("_http._tcp.app".into());
        assert_eq!(Lookup::of("srv:_http._tcp.app"), Some(service));
    }

    #[test]
    fn a_server_of_a_name_is_called_by_both() {
        let server = |address: &str| Server {
            name: "web".into(),
            address: address.into(),
            resolved_from: None,
            weight: 3,
            backup: false,
            max_connections: 0,
            labels: Vec::new(),
        };
        let found = Found {
            address: "10.0.0.7:81".parse().unwrap(),
            weight: None,
            backup: false,
        };
        let host = server("app.internal:81").found_at(&found);
        assert_eq!(
            (&*host.name, &*host.address),
            ("web@10.0.0.7", "10.0.0.7:81")
        );
        assert_eq!((host.weight, &*host.tls_address()), (3, "app.internal:81"));
        let found = Found {
            weight: Some(9),
            backup: true,
            ..found
        };
        let service = server("srv:_http._tcp.app.internal").found_at(&found);
        assert_eq!((&*service.name, service.weight), ("web@10.0.0.7:81", 9));
        assert_eq!(&*service.tls_address(), "app.internal:0");
        assert!(service.backup);
    }
}
