//! The binary under test, running with a configuration of the test's own in a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::client::{Client, get, send};
use crate::message::Message;
use crate::metrics::Metrics;
use crate::ports::Port;
use crate::process::{Process, Signal};
use crate::wait::{wait_for, wait_until, within};
use crate::{binary, wait};

/// What every proxy of the tests takes for changes.
pub const TOKEN: &str = "open-sesame";

/// A proxy to be: its configuration and the files beside it.
///
/// `"@NAME"` in the configuration becomes an address of 127.0.0.1 that is free, the same for the same name. Tables `[proxy]`,
/// `[admin]` and `[log]` that the text lacks are added: two workers, the admin port, a JSON access log on standard output.
pub struct Setup {
    config: String,
    folder: TempDir,
    ports: BTreeMap<String, Port>,
    /// Soft and hard; None: those of the tests.
    open_files: Option<(u32, u32)>,
    cold: bool,
    environment: Vec<(&'static str, String)>,
    socket: Option<TcpListener>,
}

/// A running proxy.
pub struct Proxy {
    setup: Setup,
    process: Process,
}

impl Setup {
    pub fn new(config: impl AsRef<str>) -> Setup {
        let folder = tempfile::Builder::new()
            .prefix("tidegate-")
            .tempdir()
            .expect("a temporary folder");
        let mut setup = Setup {
            config: String::new(),
            folder,
            ports: BTreeMap::new(),
            open_files: None,
            cold: false,
            environment: Vec::new(),
            socket: None,
        };
        setup.config(config);
        setup
    }

    /// With this very text as its configuration.
    pub fn exactly(config: &str) -> Setup {
        let setup = Setup::new("");
        setup.write("tidegate.toml", config);
        setup
    }

    /// Puts a file beside the configuration.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Setup {
        self.write(name, content);
        self
    }

    /// Under these limits of open files, the soft and the hard one.
    pub fn open_files(mut self, soft: u32, hard: u32) -> Setup {
        self.open_files = Some((soft, hard));
        self
    }

    /// With this in its environment.
    pub fn env(mut self, name: &'static str, value: impl Into<String>) -> Setup {
        self.environment.push((name, value.into()));
        self
    }

    /// With this socket, which listens already, handed over as systemd does it (sd_listen_fds(3)).
    pub fn socket(mut self, socket: &TcpListener) -> Setup {
        self.socket = Some(socket.try_clone().expect("another descriptor"));
        self
    }

    /// Keeps no compiled plugins, so that each load compiles.
    pub fn cold(mut self) -> Setup {
        self.cold = true;
        self
    }

    /// Starts the proxy and waits until it serves; panics with its log when it doesn't.
    #[track_caller]
    pub fn start(self) -> Proxy {
        let input = match &self.socket {
            Some(socket) => OwnedFd::from(socket.try_clone().expect("another descriptor")).into(),
            None => Stdio::null(),
        };
        let mut command = self.command("run");
        let process = Process::reading(input, command.current_dir(self.folder.path()));
        let mut proxy = Proxy {
            setup: self,
            process,
        };
        let up = within(Duration::from_secs(30), || {
            if let Some(status) = proxy.process.ended() {
                panic!(
                    "the proxy ended at its start: {status}\n{}",
                    proxy.stderr().join("\n")
                );
            }
            Client::try_connect(proxy.setup.address("admin")).ok()?;
            (get(proxy.setup.address("admin"), "/healthz").status() == 200).then_some(())
        });
        assert!(up.is_some(), "the proxy's /healthz did not become 200");
        proxy
    }

    /// Runs `tidegate COMMAND -c CONFIG` to its end: exit code, standard output, standard error.
    pub fn run(&self, command: &str) -> (i32, String, String) {
        let output = self
            .command(command)
            .current_dir(self.folder.path())
            .output()
            .expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The address that `"@NAME"` stands for.
    #[track_caller]
    pub fn address(&self, name: &str) -> SocketAddr {
        self.ports
            .get(name)
            .unwrap_or_else(|| panic!("no \"@{name}\" in the configuration"))
            .address()
    }

    fn command(&self, command: &str) -> Command {
        let mut before = String::new();
        if let Some((soft, hard)) = self.open_files {
            before += &format!("ulimit -Sn {soft} && ulimit -Hn {hard} && ");
        }
        if self.socket.is_some() {
            before += "export LISTEN_FDS=1 LISTEN_PID=$$ && exec 3<&0 0</dev/null && ";
        }
        let mut binary = match before.is_empty() {
            true => Command::new(binary::tidegate()),
            false => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("{before}exec \"$0\" \"$@\""));
                shell.arg(binary::tidegate());
                shell
            }
        };
        binary
            .arg(command)
            .arg("-c")
            .arg(self.config_path())
            .env("NO_COLOR", "1");
        // One folder of compiled plugins for all tests of this build.
        if self.cold {
            // A file is no folder.
            binary.env("XDG_CACHE_HOME", self.config_path());
        } else if let Some(target) = binary::tidegate().ancestors().nth(2) {
            binary.env("XDG_CACHE_HOME", target.join("tests-cache"));
        }
        binary.envs(self.environment.iter().map(|(name, value)| (name, value)));
        binary
    }

    fn config_path(&self) -> PathBuf {
        self.folder.path().join("tidegate.toml")
    }

    fn config(&mut self, text: impl AsRef<str>) {
        let mut text = text.as_ref().to_owned();
        for (table, lines) in [
            ("[proxy]", "workers = 2\n".to_owned()),
            (
                "[admin]",
                format!("bind = \"@admin\"\ntoken = \"{TOKEN}\"\n"),
            ),
            (
                "[log]",
                "access = \"stdout\"\nformat = \"json\"\n".to_owned(),
            ),
        ] {
            if !text.lines().any(|line| line.trim() == table) {
                text.push_str(&format!("\n{table}\n{lines}"));
            }
        }
        self.config = self.place(&text);
        self.write("tidegate.toml", &self.config);
    }

    /// Replaces `"@NAME"` by addresses.
    fn place(&mut self, text: &str) -> String {
        let mut placed = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("\"@") {
            let (name, after) = after.split_once('"').expect("a string ends");
            let port = self.ports.entry(name.to_owned()).or_insert_with(Port::free);
            placed.push_str(&format!("{before}\"{}\"", port.address()));
            rest = after;
        }
        placed + rest
    }

    /// A rename, so that nobody reads half a file.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join(name);
        let draft = self.folder.path().join(format!(".{name}.draft"));
        fs::write(&draft, content)
            .and_then(|()| fs::rename(&draft, &path))
            .expect("a file can be written");
    }
}

impl Proxy {
    /// With this configuration; see [`Setup`].
    #[track_caller]
    pub fn start(config: impl AsRef<str>) -> Proxy {
        Setup::new(config).start()
    }

    /// Where the listener bound to `"@NAME"` is.
    #[track_caller]
    pub fn address(&self, name: &str) -> SocketAddr {
        self.setup.address(name)
    }

    /// `http://…` of the listener bound to `"@web"`, with a path.
    #[track_caller]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("web"))
    }

    /// A GET to the listener `web`, on a connection of its own.
    #[track_caller]
    pub fn get(&self, path: &str) -> Message {
        get(self.address("web"), path)
    }

    /// A request, as text, to the listener `web`, on a connection of its own.
    #[track_caller]
    pub fn send(&self, request: &str) -> Message {
        send(self.address("web"), request)
    }

    /// The bodies of that many GETs: which origins answered.
    #[track_caller]
    pub fn origins(&self, path: &str, count: usize) -> Vec<String> {
        let mut client = Client::connect(self.address("web"));
        (0..count).map(|_| client.get(path).text()).collect()
    }

    /// A request to the admin port, with the token.
    #[track_caller]
    pub fn admin(&self, method: &str, path: &str, body: &[u8]) -> Message {
        let mut client = Client::connect(self.address("admin"));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n",
            self.address("admin"),
            body.len()
        );
        client
            .write(&[head.as_bytes(), body].concat())
            .expect("the admin port takes a request");
        client
            .read()
            .unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// `/api/v1/status`.
    #[track_caller]
    pub fn status(&self) -> serde_json::Value {
        let answer = self.admin("GET", "/api/v1/status", b"");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()
    }

    /// What the status has of a server of the first pool.
    #[track_caller]
    pub fn server(&self, name: &str) -> serde_json::Value {
        let status = self.status();
        let servers = status["pools"][0]["servers"].as_array();
        let found = servers.and_then(|all| all.iter().find(|known| known["name"] == name));
        found
            .unwrap_or_else(|| panic!("no {name} in {status}"))
            .clone()
    }

    #[track_caller]
    pub fn generation(&self) -> u64 {
        self.status()["generation"]
            .as_u64()
            .expect("the status has a generation")
    }

    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let answer = self.admin("GET", "/metrics", b"");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        Metrics {
            text: answer.text(),
        }
    }

    /// `PUT /api/v1/plugins/NAME`.
    #[track_caller]
    pub fn swap(&self, plugin: &str, wasm: &[u8]) -> Message {
        self.admin("PUT", &format!("/api/v1/plugins/{plugin}"), wasm)
    }

    /// Writes a new configuration, without telling the proxy.
    pub fn write_config(&mut self, config: impl AsRef<str>) {
        self.setup.config(config);
    }

    pub fn write_file(&self, name: &str, content: impl AsRef<[u8]>) {
        self.setup.write(name, content);
    }

    pub fn path(&self) -> &Path {
        self.setup.path()
    }

    /// `POST /api/v1/reload`.
    #[track_caller]
    pub fn reload(&self) -> Message {
        self.admin("POST", "/api/v1/reload", b"")
    }

    /// Writes this configuration and reloads it; panics when it is refused.
    #[track_caller]
    pub fn reconfigure(&mut self, config: impl AsRef<str>) {
        self.write_config(config);
        let answer = self.reload();
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn exit(&mut self) -> ExitStatus {
        self.process.exit(Duration::from_secs(40))
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn stdout(&self) -> Vec<String> {
        self.process.stdout()
    }

    pub fn stderr(&self) -> Vec<String> {
        self.process.stderr()
    }

    /// The access log's lines as JSON, once there are at least that many.
    #[track_caller]
    pub fn access_log(&self, lines: usize) -> Vec<serde_json::Value> {
        wait_for(&format!("{lines} lines of access log"), || {
            let seen = self.stdout();
            (seen.len() >= lines).then_some(seen)
        })
        .iter()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in access log line {line:?}"))
        })
        .collect()
    }

    /// The access log's line of that request. Lines of different workers come in no certain order.
    #[track_caller]
    pub fn logged(&self, target: &str) -> serde_json::Value {
        wait_for(&format!("the access log's line of {target}"), || {
            let lines = self.stdout();
            let mut values = lines
                .iter()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            values.find(|line| line["target"] == target)
        })
    }

    /// Returns once a line of the log holds all of these words.
    #[track_caller]
    pub fn wait_for_log(&self, words: &[&str]) -> String {
        let has = |line: &String| words.iter().all(|word| line.contains(word));
        wait_for(&format!("a log line with {words:?}"), || {
            self.stderr().into_iter().find(has)
        })
    }

    /// Returns once the configuration that serves is of that generation.
    #[track_caller]
    pub fn wait_for_generation(&self, generation: u64) {
        wait_until(&format!("generation {generation}"), || {
            self.generation() >= generation
        });
    }

    /// Returns once the admin port answers no more.
    pub fn gone(&self) -> bool {
        wait::within(Duration::from_secs(20), || {
            Client::try_connect(self.address("admin")).err()
        })
        .is_some()
    }
}
