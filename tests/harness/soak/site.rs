//! The proxy under test, its servers and its configurations: every mode and protocol that is cheap to speak.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::watch::Held;
use crate::binary;
use crate::message::Message;
use crate::origin::{Origin, reply};
use crate::ports::Port;
use crate::process::Signal;
use crate::proxy::{Proxy, Setup, TOKEN};
use crate::raw::Raw;
use crate::tls::Authority;
use crate::wait::within;

/// The pool's servers. The last one is never killed, so that there is always one; it is drained instead.
pub const SERVERS: [&str; 4] = ["a", "b", "c", "d"];

/// Bytes of `/big`.
pub const BIG: usize = 200_000;

pub struct Place {
    proxy: Proxy,
    /// Of `SERVERS`, and one that comes and goes.
    ports: Vec<Port>,
    servers: Vec<Option<Origin>>,
    _extra: Origin,
    echo: Raw,
    authority: Arc<Authority>,
}

/// Where clients go.
#[derive(Clone)]
pub struct Targets {
    pub web: SocketAddr,
    pub tls: SocketAddr,
    pub tcp: SocketAddr,
    pub authority: Arc<Authority>,
}

impl Place {
    #[track_caller]
    pub fn start() -> Place {
        let authority = Arc::new(Authority::new("soak"));
        let ports: Vec<Port> = (0..=SERVERS.len()).map(|_| Port::free()).collect();
        let serve = |(name, port): (&&str, &Port)| Some(server(name, port));
        let servers = SERVERS.iter().zip(&ports).map(serve).collect();
        let extra = server("extra", &ports[SERVERS.len()]);
        let echo = Raw::serving(echo);
        let setup = Setup::new(config(&ports, echo.address(), 0));
        // One of its own: what is compiled is compiled here, and nothing stays.
        let cache = setup.path().join("cache");
        let certificate = authority.issue(&["site.example"]).bundle();
        let setup = setup
            .env("XDG_CACHE_HOME", cache.display().to_string())
            .file("site.pem", certificate);
        // What compiling all of them takes, an allocator gives back a while later only: it would hide what grows.
        let (code, _, said) = setup.run("check");
        assert_eq!(code, 0, "{said}");
        Place {
            proxy: setup.start(),
            ports,
            servers,
            _extra: extra,
            echo,
            authority,
        }
    }

    pub fn process(&self) -> u32 {
        self.proxy.process().pid()
    }

    pub fn held(&self) -> Held {
        Held::of(self.process())
    }

    pub fn targets(&self) -> Targets {
        Targets {
            web: self.proxy.address("web"),
            tls: self.proxy.address("tls"),
            tcp: self.proxy.address("tcp"),
            authority: self.authority.clone(),
        }
    }

    pub fn extra(&self) -> SocketAddr {
        self.ports[SERVERS.len()].address()
    }

    pub fn kill(&mut self, server: usize) {
        if let Some(origin) = self.servers[server].take() {
            origin.stop();
        }
    }

    pub fn restart(&mut self, at: usize) {
        self.servers[at].get_or_insert_with(|| server(SERVERS[at], &self.ports[at]));
    }

    pub fn swap(&self, wasm: &[u8]) -> Result<(), String> {
        let answer = self.proxy.swap("chooser", wasm);
        match answer.status() {
            200 => Ok(()),
            _ => Err(answer.text()),
        }
    }

    /// Another configuration, which the proxy notices by itself.
    pub fn write(&mut self, variant: u32) -> Result<(), String> {
        let config = config(&self.ports, self.echo.address(), variant);
        self.one_generation_more(|place| place.proxy.write_config(config))
    }

    pub fn hang_up(&mut self) -> Result<(), String> {
        self.one_generation_more(|place| place.proxy.signal(Signal::HUP))
    }

    fn one_generation_more(&mut self, act: impl FnOnce(&mut Place)) -> Result<(), String> {
        let before = self.proxy.generation();
        act(self);
        let limit = Duration::from_secs(30);
        let came = within(limit, || (self.proxy.generation() > before).then_some(()));
        came.ok_or_else(|| format!("no generation after {before}"))
    }

    /// As logrotate does it.
    pub fn rotate(&self) -> Result<(), String> {
        let (log, old) = (self.proxy.path().join("access.log"), "access.log.1");
        let old = self.proxy.path().join(old);
        fs::rename(&log, &old).map_err(|e| format!("the access log: {e}"))?;
        self.proxy.signal(Signal::USR1);
        let opened = within(Duration::from_secs(20), || log.exists().then_some(()));
        fs::remove_file(old).map_err(|e| format!("the old access log: {e}"))?;
        opened.ok_or_else(|| "the access log was not opened anew".to_owned())
    }

    /// `tidegate ctl …`.
    pub fn ctl(&self, words: &[&str]) -> Result<(), String> {
        let admin = format!("http://{}", self.proxy.address("admin"));
        let output = Command::new(binary::tidegate())
            .arg("ctl")
            .args(words)
            .env("TIDEGATE_ADMIN", admin)
            .env("TIDEGATE_TOKEN", TOKEN)
            .output()
            .map_err(|e| e.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

fn config(ports: &[Port], echo: SocketAddr, variant: u32) -> String {
    let servers = SERVERS.iter().zip(ports).map(|(name, port)| {
        format!(
            "{{ name = \"{name}\", address = \"{}\", max-connections = 500 }}",
            port.address()
        )
    });
    let servers: Vec<_> = servers.collect();
    let filters = match variant % 2 {
        0 => "",
        _ => "filters = [\"security-headers\"]\n",
    };
    format!(
        r#"
[proxy]
workers = 2
watch = true
drain-timeout = "5s"

[log]
access = "./access.log"
format = "json"

[[plugin]]
name = "chooser"
shipped = "round-robin"

[[listener]]
name = "web"
bind = "@web"
pool = "app"
timeouts = {{ idle = "{idle}s" }}
{filters}
[[listener]]
name = "tls"
bind = "@tls"
pool = "app"
tls = {{ certificates = "site.pem" }}

[[listener]]
name = "tcp"
bind = "@tcp"
mode = "tcp"
pool = "echo"

[[listener]]
name = "inner"
bind = "@inner"
filters = [{{ plugin = "respond", status = 200, body = "inner\n" }}]

[[route]]
listeners = ["web"]
path = "/inner"
pool = "inner"

[[pool]]
name = "app"
balancer = "chooser"
retries = 3
health = {{ path = "/health", interval = "500ms", timeout = "5s", rise = 1, fall = 2 }}
passive = {{ max-fails = 3, window = "5s", eject = "1s" }}
sticky = {{ plugin = "sticky-cookie", cookie = "SERVERID" }}
servers = [{servers}]

[[pool]]
name = "inner"
http = "h2"
servers = [{{ name = "inner", address = "@inner" }}]

[[pool]]
name = "echo"
servers = [{{ name = "echo", address = "{echo}" }}]
"#,
        idle = 60 + variant % 7,
        servers = servers.join(", "),
    )
}

fn server(name: &str, port: &Port) -> Origin {
    let own = name.to_owned();
    Origin::on(port.address(), name, move |request, stream| {
        answer(&own, request, stream)
    })
}

fn answer(name: &str, request: &Message, stream: &mut TcpStream) -> io::Result<()> {
    let named = [("x-origin", name)];
    match (request.method(), request.target()) {
        ("POST", _) => reply(stream, 200, &named, &String::from_utf8_lossy(&request.body)),
        (_, "/big") => reply(stream, 200, &named, &"x".repeat(BIG)),
        (_, "/slow") => {
            thread::sleep(Duration::from_millis(30));
            reply(stream, 200, &named, name)
        }
        (_, "/socket") => {
            stream.write_all(
                b"HTTP/1.1 101 Switching\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n",
            )?;
            echo(stream.try_clone()?)?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        _ => reply(stream, 200, &named, name),
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read])?,
        }
    }
}
