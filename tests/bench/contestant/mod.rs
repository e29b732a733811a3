//! The proxies that are measured: which there are, and how one is started for a setup.
//!
//! Each is configured as an operator would who wants speed: connections to servers kept and shared, no access log, limits
//! that are never reached. Before anything is measured, `proof` shows that it does what the others do.

mod haproxy;
mod nginx;
pub mod origin;
mod proof;
mod tidegate;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_tests::{Authority, Port};

use crate::machine::{self, Cpus};
use crate::options::Options;
use crate::process::Running;
use crate::scenario::{Logic, Setup};
use origin::Origin;

pub use tidegate::{own_plugin, swap};

pub struct Contestant {
    /// In the table: `haproxy`, `nginx`, `tidegate`, and `former`, `former-2` … for the builds that it is held against.
    pub name: String,
    pub program: Program,
    path: PathBuf,
    /// What it says of itself.
    pub version: String,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Program {
    Haproxy,
    Nginx,
    Tidegate,
}

/// A started proxy.
pub struct Proxy {
    pub running: Running,
    admin: Port,
    program: Program,
    authority: Option<Authority>,
}

/// Those that take part, HAProxy first; and why others don't.
pub fn all(options: &Options) -> Result<(Vec<Contestant>, Vec<String>), String> {
    let (mut present, mut missing) = (Vec::new(), Vec::new());
    for (name, program) in [("haproxy", Program::Haproxy), ("nginx", Program::Nginx)] {
        match machine::program(name) {
            _ if options.without.iter().any(|other| other == name) => {}
            Some(path) => present.push(Contestant::new(name.to_owned(), program, path)?),
            None => missing.push(format!("{name} is not installed")),
        }
    }
    for (number, path) in options.proxies.iter().enumerate() {
        let name = match number {
            0 => "tidegate".to_owned(),
            1 => "former".to_owned(),
            more => format!("former-{more}"),
        };
        present.push(Contestant::new(name, Program::Tidegate, path.clone())?);
    }
    Ok((present, missing))
}

impl Contestant {
    fn new(name: String, program: Program, path: PathBuf) -> Result<Contestant, String> {
        let flag = match program {
            Program::Tidegate => "--version",
            _ => "-v",
        };
        let output = Command::new(&path)
            .arg(flag)
            .output()
            .map_err(|e| format!("{}: {e}", path.display()))?;
        // nginx tells its version on standard error.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let version = said.lines().next().unwrap_or("").trim();
        Ok(Contestant {
            name,
            program,
            version: format!("{version} ({})", path.display()),
            path,
        })
    }

    /// Why it takes no part, if so.
    pub fn unfit(&self, setup: &Setup) -> Option<String> {
        let lacks = |module| self.program == Program::Nginx && !Path::new(module).exists();
        if setup.logic == Logic::Own && lacks(nginx::NJS) {
            return Some("nginx has no njs module here".into());
        }
        (setup.tcp && lacks(nginx::STREAM)).then(|| "nginx has no stream module here".into())
    }

    pub fn start(&self, setup: &Setup, origin: &Origin, cpus: &Cpus) -> Result<Proxy, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let (port, admin) = (Port::free(), Port::free());
        let authority = setup.tls.then(|| Authority::new("bench"));
        let place = Place {
            folder: folder.path(),
            port: port.number(),
            admin: admin.number(),
            servers: origin.servers(setup.servers),
        };
        if let Some(authority) = &authority {
            place.certify(authority, setup.more_certificates)?;
        }
        let command = match self.program {
            Program::Haproxy => haproxy::command(&self.path, setup, &place)?,
            Program::Nginx => nginx::command(&self.path, setup, &place)?,
            Program::Tidegate => tidegate::command(&self.path, setup, &place)?,
        };
        let running = Running::start(&command, &cpus.proxy(setup.workers), port, folder)?;
        let proxy = Proxy {
            running,
            admin,
            program: self.program,
            authority,
        };
        proof::of(&proxy, setup).map_err(|words| format!("{}: {words}", self.name))?;
        Ok(proxy)
    }
}

impl Proxy {
    pub fn port(&self) -> u16 {
        self.running.port().number()
    }

    /// Whose certificate it has. None: it speaks no TLS.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// Where it speaks HTTP/2 in clear text, on the same port.
    pub fn http2_host(&self) -> &'static str {
        match self.program {
            Program::Nginx => nginx::HTTP2_HOST,
            Program::Haproxy | Program::Tidegate => "127.0.0.1",
        }
    }

    /// Open connections from clients, for each worker.
    pub fn spread(&self, workers: u32) -> Result<Vec<u64>, String> {
        match self.program {
            Program::Haproxy => haproxy::spread(self.running.folder()),
            // Its master holds none.
            Program::Nginx => Ok(self.running.connections()),
            Program::Tidegate => tidegate::spread(self.admin.address(), workers),
        }
    }

    pub fn admin(&self) -> &Port {
        &self.admin
    }
}

/// Where chains with their keys lie, beside the configuration, where there is TLS.
const CERTIFICATES: &str = "certificates";

/// Where a contestant lives, and its servers.
struct Place<'a> {
    folder: &'a Path,
    port: u16,
    admin: u16,
    servers: Vec<String>,
}

impl Place<'_> {
    /// Issues the certificate that clients ask for, and so many others.
    fn certify(&self, authority: &Authority, more: u32) -> Result<(), String> {
        let folder = self.folder.join(CERTIFICATES);
        fs::create_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let names = (1..=more).map(other_host);
        for host in names.chain([HOST.to_owned()]) {
            let bundle = authority.issue(&[&host]).bundle();
            fs::write(self.certificate(&host), bundle).map_err(|e| format!("{host}: {e}"))?;
        }
        Ok(())
    }

    fn certificates(&self) -> String {
        self.folder.join(CERTIFICATES).display().to_string()
    }

    fn certificate(&self, host: &str) -> String {
        format!("{}/{host}.pem", self.certificates())
    }

    fn write(&self, name: &str, text: &str) -> Result<String, String> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path.display().to_string())
    }
}

/// Whom clients ask for.
pub const HOST: &str = "bench.example";

/// Whose certificates lie beside that.
fn other_host(number: u32) -> String {
    format!("other-{number}.example")
}

/// The two headers that one header filter sets: the client's address, and a constant.
fn filter_headers(filter: u32) -> [String; 2] {
    [format!("x-edge-{filter}"), format!("x-zone-{filter}")]
}
