//! The origin behind them all: a process of this bench's own, with answers of 1 KB, 64 KB and 1 MB, at as many loopback addresses
//! as a setup has servers, so that they are different servers to a proxy.

mod serve;

use tidegate_tests::{Client, Port};

use crate::machine::Cpus;
use crate::process::Running;

/// What a proxy's server was told, a line each; `proof` asks for it through the proxy.
pub const SEEN: &str = "/seen";

/// How many connections it has accepted.
const ACCEPTED: &str = "/accepted";

/// What the bench is called with to be the origin: this, a port, and how many servers it stands for.
pub const ROLE: &str = "origin";

pub struct Origin {
    pub running: Running,
}

/// The process itself.
pub fn serve(words: &[String]) -> Result<(), String> {
    let numbers: Vec<u32> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let [port, servers] = numbers[..] else {
        return Err(format!("{ROLE} PORT SERVERS is meant, not {words:?}"));
    };
    let port = u16::try_from(port).map_err(|e| e.to_string())?;
    serve::run(port, servers).map_err(|e| e.to_string())
}

impl Origin {
    /// With addresses for so many servers.
    pub fn start(servers: u32, cpus: &Cpus) -> Result<Origin, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let port = Port::free();
        let command = [
            program.display().to_string(),
            ROLE.to_owned(),
            port.number().to_string(),
            servers.to_string(),
        ];
        let running = Running::start(&command, &cpus.origin().to_string(), port, folder)?;
        Ok(Origin { running })
    }

    /// The addresses of the first so many.
    pub fn servers(&self, count: u32) -> Vec<String> {
        addresses(count, self.running.port().number())
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> Result<u64, String> {
        let request = format!("GET {ACCEPTED} HTTP/1.1\r\nhost: origin\r\n\r\n");
        let answer = Client::try_connect(self.running.port().address())
            .and_then(|mut client| client.try_ask(&request))
            .map_err(|e| format!("the origin's connections: {e}"))?;
        let text = answer.text();
        text.parse()
            .map_err(|_| format!("the origin's connections: {text}"))
    }
}

/// Of 127.1.0.0/16, 250 a subnet.
fn addresses(count: u32, port: u16) -> Vec<String> {
    (0..count)
        .map(|n| format!("127.1.{}.{}:{port}", n / 250, 1 + n % 250))
        .collect()
}

/// The headers that any setup may set, as this request's head has them.
fn told(head: &str) -> String {
    let mut names: Vec<String> = [
        "host",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-real-ip",
        "x-request-id",
        "x-pool",
    ]
    .map(str::to_owned)
    .into();
    names.extend((1..=3).flat_map(super::filter_headers));
    let value = |name: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        let mut own = fields.filter(|(own, _)| own.eq_ignore_ascii_case(name));
        own.next().map_or("", |(_, value)| value.trim())
    };
    let line = |name: &String| format!("{name}={}\n", value(name));
    names.iter().map(line).collect()
}
