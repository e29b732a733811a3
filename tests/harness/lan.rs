//! A network of the test's own: hosts that are network namespaces, on one switch. What happens there reaches nobody else, so
//! that fixed addresses and ports are free.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Gone, with its hosts, when it is dropped. What runs on a host has to end before.
pub struct Lan {
    switch: String,
    hosts: Vec<String>,
}

/// A host of a [`Lan`]. Its interface is called eth0.
#[derive(Clone)]
pub struct Host {
    namespace: String,
    switch: String,
}

impl Lan {
    /// Hosts with these names (a letter or two) and addresses, in one network of 24 bits.
    #[track_caller]
    pub fn new(hosts: &[(&str, Ipv4Addr)]) -> Lan {
        static LANS: AtomicU32 = AtomicU32::new(0);
        let number = LANS.fetch_add(1, Relaxed);
        let prefix = format!("tg{}-{number}", std::process::id());
        let mut lan = Lan {
            switch: format!("{prefix}-switch"),
            hosts: Vec::new(),
        };
        add(&lan.switch);
        ip(&["-n", &lan.switch, "link", "add", "switch", "type", "bridge"]);
        ip(&["-n", &lan.switch, "link", "set", "switch", "up"]);
        for (name, address) in hosts {
            lan.attach(&format!("{prefix}-{name}"), name, *address);
        }
        lan
    }

    #[track_caller]
    fn attach(&mut self, host: &str, port: &str, address: Ipv4Addr) {
        let switch = self.switch.clone();
        add(host);
        self.hosts.push(host.to_owned());
        let peer = ["peer", "name", "eth0", "netns", host];
        let veth = ["-n", &switch, "link", "add", "name", port, "type", "veth"];
        ip(&[&veth[..], &peer[..]].concat());
        ip(&[
            "-n", &switch, "link", "set", "dev", port, "master", "switch", "up",
        ]);
        ip(&["-n", host, "link", "set", "lo", "up"]);
        let address = format!("{address}/24");
        ip(&["-n", host, "address", "add", &address, "dev", "eth0"]);
        ip(&["-n", host, "link", "set", "eth0", "up"]);
    }

    /// The host of that name.
    #[track_caller]
    pub fn host(&self, name: &str) -> Host {
        let end = format!("-{name}");
        let namespace = self.hosts.iter().find(|host| host.ends_with(&end));
        Host {
            namespace: namespace.expect("a host of the network").clone(),
            switch: self.switch.clone(),
        }
    }
}

impl Host {
    /// A program that runs there.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(program);
        command
    }

    /// Runs a part of the test there. Sockets that it opens belong to the host wherever they are used.
    #[track_caller]
    pub fn run<T: Send>(&self, part: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.namespace))
            .expect("the host is there");
        thread::scope(|scope| {
            let there = scope.spawn(move || {
                use std::os::fd::AsFd;
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), network).expect("it can be entered");
                part()
            });
            there
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Whether the host has that address now.
    pub fn has(&self, address: Ipv4Addr) -> bool {
        let shown = Command::new("ip")
            .args(["-n", &self.namespace, "-4", "-o", "address", "show"])
            .output()
            .expect("ip runs");
        let wanted = format!(" {address}/");
        String::from_utf8_lossy(&shown.stdout).contains(&wanted)
    }

    /// Cuts it off from the others, which it isn't told, or puts it back.
    #[track_caller]
    pub fn connect(&self, connected: bool) {
        let port = self.namespace.rsplit('-').next().expect("a name");
        let to: &[&str] = if connected {
            &["master", "switch"]
        } else {
            &["nomaster"]
        };
        let set = ["-n", &self.switch, "link", "set", "dev", port];
        ip(&[&set[..], to].concat());
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for namespace in self.hosts.iter().chain([&self.switch]) {
            let _ = Command::new("ip")
                .args(["netns", "del", namespace])
                .status();
        }
    }
}

#[track_caller]
fn add(namespace: &str) {
    ip(&["netns", "add", namespace]);
}

#[track_caller]
fn ip(arguments: &[&str]) {
    let ran = Command::new("ip").args(arguments).output();
    let ran = ran.unwrap_or_else(|e| panic!("ip {arguments:?}: {e}"));
    assert!(
        ran.status.success(),
        "ip {arguments:?}: {} (networks need root: run the tests as root, or in `unshare --map-root-user --net --mount`)",
        String::from_utf8_lossy(&ran.stderr)
    );
}
