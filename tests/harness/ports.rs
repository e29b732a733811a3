//! Ports that a proxy is told to bind. They lie below the range from which the kernel takes ports for outgoing connections,
//! so that no client of a busy test can be sitting on one, and each is claimed by an abstract socket name, so that tests in
//! other processes take others.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port on 127.0.0.1 that is nobody else's while this lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: UnixListener,
}

impl Port {
    pub fn free() -> Port {
        (0..COUNT)
            .find_map(|_| claim(candidate()))
            .expect("one of 20,000 ports is free")
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

fn candidate() -> u16 {
    let spread = (std::process::id() as u16).wrapping_mul(7919);
    let step = NEXT.fetch_add(1, Ordering::Relaxed);
    FIRST + spread.wrapping_add(step) % COUNT
}

fn claim(number: u16) -> Option<Port> {
    let name = UnixAddress::from_abstract_name(format!("tidegate-tests-port-{number}")).ok()?;
    let claim = UnixListener::bind_addr(&name).ok()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
    Some(Port {
        number,
        _claim: claim,
    })
}
