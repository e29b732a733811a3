//! Addresses as typed: to listen on, of a server, a network, and the host that a request names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::{Schema, json_schema};

use super::checked::Network;
use super::edge::unix_path;
use super::lookup::SERVICE;
use super::read::{Fault, FromText};

/// `IP:port` to listen on; port 0 lets the system choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bind(pub SocketAddr);

/// `host:port` of a server, `srv:NAME`, or `unix:PATH`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Address(pub String);

/// `IP` or `IP:port` of a DNS server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DnsServer(pub SocketAddr);

/// A host name, `*.` before it for all below it, or an IP address; lower case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Host(pub String);

impl FromText for Bind {
    fn form() -> String {
        "an IP address and port, such as \"0.0.0.0:80\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Bind, Fault> {
        text.parse().map(Bind).map_err(|_| bind_fault(text))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": ":[0-9]{1,5}$" })
    }
}

fn bind_fault(text: &str) -> Fault {
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        let remedy = format!("put brackets around it and add the port: \"[{text}]:80\"");
        return Fault::new("has no port", remedy);
    }
    if text.parse::<IpAddr>().is_ok() {
        return Fault::new("has no port", format!("add it: \"{text}:80\""));
    }
    let port = text.rsplit_once(':');
    match port.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?))) {
        Some(("" | "*", port)) => Fault::new(
            "has no IP address",
            format!("write \"0.0.0.0:{port}\" for all of IPv4, \"[::]:{port}\" for all of IPv6"),
        ),
        Some(("localhost", port)) => {
            Fault::new("has no IP address", format!("write \"127.0.0.1:{port}\""))
        }
        _ => Fault::new(
            "is no address to listen on",
            format!("write {}", Bind::form()),
        ),
    }
}

impl FromText for Address {
    fn form() -> String {
        "a host and port, such as \"10.0.0.7:8080\" or \"app.internal:80\", or \"srv:NAME\", or \"unix:PATH\""
            .to_owned()
    }

    fn from_text(text: &str) -> Result<Address, Fault> {
        if let Some(path) = unix_path(text) {
            return path.map(|_| Address(text.to_owned()));
        }
        if let Some(name) = text.strip_prefix(SERVICE) {
            return service(name).map(|()| Address(text.to_ascii_lowercase()));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return nonzero(address.port()).map(|()| Address(text.to_owned()));
        }
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            let remedy = format!("put brackets around it and add the port: \"[{text}]:80\"");
            return Err(Fault::new("has no port", remedy));
        }
        if text.contains("//") {
            let remedy = "write host and port alone, such as \"app.internal:80\"";
            return Err(Fault::new("is a URL", remedy));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(Fault::new("has no port", format!("add it: \"{text}:80\"")));
        };
        let Ok(port) = port.parse::<u16>() else {
            return Err(Fault::new(
                format!("has no port but {port:?}"),
                "write a number from 1 to 65535 after the colon",
            ));
        };
        nonzero(port)?;
        match is_host_name(host) || host.parse::<Ipv4Addr>().is_ok() {
            true => Ok(Address(text.to_ascii_lowercase())),
            false => Err(Fault::new(
                "names no host",
                "write an IPv4 address, an IPv6 address in brackets, or a host name",
            )),
        }
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^unix:.|^srv:.|^.+:[0-9]{1,5}$" })
    }
}

fn service(name: &str) -> Result<(), Fault> {
    match name.rsplit_once(':') {
        Some((name, _)) => Err(Fault::new(
            "has a port, which is for the SRV records to tell",
            format!("write \"srv:{name}\""),
        )),
        None if is_host_name(name) => Ok(()),
        None => Err(Fault::new(
            "names no service",
            "write \"srv:\" and the name of SRV records, such as \"srv:_http._tcp.app.internal\"",
        )),
    }
}

fn nonzero(port: u16) -> Result<(), Fault> {
    match port {
        0 => Err(Fault::new(
            "has port 0",
            "write the port that the server listens on",
        )),
        _ => Ok(()),
    }
}

/// RFC 1123 section 2.1, with `_`, which container networks use. A name of digits alone at its end is a broken address.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        let fits = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or("");
    name.len() <= 253 && name.split('.').all(label) && !last.bytes().all(|c| c.is_ascii_digit())
}

impl FromText for DnsServer {
    fn form() -> String {
        "an IP address, with a port where that is not 53, such as \"10.0.0.2\"".to_owned()
    }

    fn from_text(text: &str) -> Result<DnsServer, Fault> {
        let address = text.parse::<SocketAddr>().ok();
        let bare = || Some(SocketAddr::new(text.parse().ok()?, 53));
        match address.or_else(bare).filter(|address| address.port() != 0) {
            Some(address) => Ok(DnsServer(address)),
            None => Err(Fault::new(
                "is no address of a DNS server",
                format!("write {}", Self::form()),
            )),
        }
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f.:]+$|^\\[[0-9A-Fa-f:.]+\\]:[0-9]{1,5}$" })
    }
}

impl FromText for Host {
    fn form() -> String {
        "a host name such as \"example.com\" or \"*.example.com\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Host, Fault> {
        let lower = text.to_ascii_lowercase();
        // A fully qualified name ends with a dot; clients leave it out.
        let lower = lower.strip_suffix('.').unwrap_or(&lower);
        let name = lower.strip_prefix("*.").unwrap_or(lower);
        let bracketed = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        let is_address = match bracketed {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => name.parse::<Ipv4Addr>().is_ok(),
        };
        if (is_host_name(name) && !name.ends_with('.')) || (is_address && name == lower) {
            return Ok(Host(lower.to_owned()));
        }
        Err(host_fault(text))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(\\*\\.)?[A-Za-z0-9_.-]+$|^\\[[0-9A-Fa-f:.]+\\]$" })
    }
}

fn host_fault(text: &str) -> Fault {
    if text == "*" {
        return Fault::new("is no host", "leave `host` out: the route then takes any");
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.parse::<u16>().is_ok()
        && !host.contains(':')
    {
        return Fault::new(
            "has a port",
            format!("write the host alone, {host:?}; requests to any port match"),
        );
    }
    if text.contains('*') {
        return Fault::new(
            "has a `*` that is not its first label",
            "write \"*.example.com\" for all names below example.com",
        );
    }
    Fault::new("is no host name", format!("write {}", Host::form()))
}

impl FromText for Network {
    fn form() -> String {
        "a network such as \"10.0.0.0/8\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Network, Fault> {
        let no_network = || Fault::new("is no network", format!("write {}", Network::form()));
        let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().map_err(|_| no_network())?;
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            let remedy = format!("write it as IPv4, such as \"{v4}\"; clients are known by that");
            return Err(Fault::new("is IPv4 in the form of IPv6", remedy));
        }
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match text.contains('/') {
            true => prefix.parse().map_err(|_| no_network())?,
            false => bits,
        };
        if prefix > bits {
            let remedy = format!("write a prefix from 0 to {bits}");
            return Err(Fault::new("has too long a prefix", remedy));
        }
        let network = masked(address, prefix);
        if network != address {
            return Err(Fault::new(
                format!("has bits beyond its prefix of {prefix}"),
                format!(
                    "write \"{network}/{prefix}\" for the network, \"{address}\" for the address alone"
                ),
            ));
        }
        Ok(Network { address, prefix })
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$" })
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}
