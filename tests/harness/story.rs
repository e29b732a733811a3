//! Follows a document as a reader would: runs its `sh` blocks in order, in a copy of its folder, and compares what they print with the
//! `text` block that follows.
//!
//! - A block that is one `tidegate run` or `tidegate demo` is a terminal of its own: it goes on until the story ends, or until
//!   another one wants its addresses.
//! - A block whose fence says ```` ```rust file=src/lib.rs ```` (any language) is what the reader saves under that name.
//! - `cargo run --release -- demo` and the like run the binary under test.
//!
//! Fixed addresses of the document, `127.0.0.1:8080`, become free ones, the same everywhere in the story.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::binary;
use crate::client::Client;
use crate::document::{Block, Document, matches};
use crate::ports::Port;
use crate::process::Process;
use crate::wait::wait_for;

pub struct Story {
    home: TempDir,
    /// Where the reader's shell is.
    at: PathBuf,
    ports: BTreeMap<u16, Place>,
    terminals: Vec<Terminal>,
    /// What the shell remembers: `export NAME=value` lines.
    exports: Vec<String>,
}

/// What stands for a port of the document.
enum Place {
    Ours(Port),
    /// Something of the test's own listens on this very port.
    Real,
}

/// Stories share a target folder, so that the SDK's dependencies are compiled once. Cargo tells crates in it apart by their path
/// within their workspace, which is the same in every story, and its lock doesn't last through `cargo test`: one at a time.
static CARGO: Mutex<()> = Mutex::new(());

struct Terminal {
    binds: Vec<SocketAddr>,
    process: Process,
}

impl Story {
    /// In an empty folder.
    pub fn new() -> Story {
        let home = tempfile::Builder::new()
            .prefix("tidegate-story-")
            .tempdir()
            .expect("a temporary folder");
        let at = home.path().to_owned();
        Story {
            home,
            at,
            ports: BTreeMap::new(),
            terminals: Vec::new(),
            exports: Vec::new(),
        }
    }

    /// In a copy of this folder. Crates in it that depend on the SDK by path find it.
    pub fn of(folder: &Path) -> Story {
        let mut story = Story::new();
        let home = story.at.clone();
        story.copy(folder, &home);
        story
    }

    /// Runs the document's blocks, from its beginning to its end; panics at the first that is not as it says.
    #[track_caller]
    pub fn follow(&mut self, document: &Document) {
        let mut printed = None;
        for block in &document.blocks {
            match (block.language.as_str(), block.file()) {
                (_, Some(file)) => self.save(file, &block.text),
                ("sh", None) if is_server(&block.text) => self.open(block),
                ("sh", None) => printed = Some(self.run(block)),
                ("text", None) => {
                    let seen = printed
                        .take()
                        .unwrap_or_else(|| panic!("line {}: nothing was printed", block.line));
                    let expected = self.place(&block.text);
                    assert!(
                        matches(&expected, &seen),
                        "line {}: expected\n{expected}\ngot\n{seen}",
                        block.line
                    );
                }
                _ => {}
            }
        }
    }

    /// Starts what the reader has running beside.
    #[track_caller]
    pub fn beside(&mut self, command: &str) {
        self.open(&Block {
            language: "sh".into(),
            text: command.to_owned(),
            line: 0,
        });
    }

    /// The port is meant as written: what listens there runs already.
    pub fn keep(&mut self, port: u16) {
        self.ports.insert(port, Place::Real);
    }

    /// Copies a file into the story's folder, its addresses replaced.
    pub fn bring(&mut self, file: &Path) {
        let name = file.file_name().expect("a file has a name");
        let to = self.home.path().join(name);
        self.copy_file(file, &to);
    }

    /// The text with its addresses replaced.
    pub fn place(&mut self, text: &str) -> String {
        const HOST: &str = "127.0.0.1:";
        let mut placed = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(HOST) {
            let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, after) = after.split_at(digits);
            let port = match number.parse() {
                Ok(0) | Err(_) => number.to_owned(),
                Ok(known) => self.port(known).to_string(),
            };
            placed.push_str(&format!("{before}{HOST}{port}"));
            rest = after;
        }
        placed + rest
    }

    fn port(&mut self, written: u16) -> u16 {
        match self
            .ports
            .entry(written)
            .or_insert_with(|| Place::Ours(Port::free()))
        {
            Place::Ours(port) => port.number(),
            Place::Real => written,
        }
    }

    #[track_caller]
    fn run(&mut self, block: &Block) -> String {
        let text = self.place(&block.text);
        self.exports.extend(
            text.lines()
                .filter(|line| line.starts_with("export "))
                .map(str::to_owned),
        );
        let here = self.home.path().join(".pwd");
        let script = format!(
            "set -euo pipefail\n{}\n{text}\npwd > '{}'\n",
            self.exports.join("\n"),
            here.display()
        );
        let _turn = (script.contains("cargo ") || script.contains("plugin build"))
            .then(|| CARGO.lock().unwrap_or_else(PoisonError::into_inner));
        let output = self.shell(&script).output().expect("bash runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "line {}: {}\n{text}\n{printed}\n{}",
            block.line,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        if let Ok(path) = fs::read_to_string(&here) {
            self.at = PathBuf::from(path.trim());
        }
        printed
    }

    #[track_caller]
    fn open(&mut self, block: &Block) {
        let mut command = self.place(block.text.trim());
        if command.contains("demo") && !command.contains("--bind") {
            let flags = self.place(" --bind 127.0.0.1:8080 --admin 127.0.0.1:9901");
            command += &flags;
        }
        let binds = self.binds(&command);
        assert!(
            !binds.is_empty(),
            "line {}: nothing is bound by {command}",
            block.line
        );
        self.terminals
            .retain(|terminal| !terminal.binds.iter().any(|bind| binds.contains(bind)));
        // The server takes the shell's place, so that ending the one ends the other.
        let (before, server) = command.rsplit_once("&& ").unwrap_or(("true ", &command));
        let script = format!("{}\n{before}&& exec {server}", self.exports.join("\n"));
        let mut process = Process::start(&mut self.shell(&script));
        wait_for(&format!("line {}: `{command}` serves", block.line), || {
            assert!(
                process.ended().is_none(),
                "`{command}` ended:\n{}",
                process.stderr().join("\n")
            );
            binds
                .iter()
                .all(|bind| Client::try_connect(*bind).is_ok())
                .then_some(())
        });
        self.terminals.push(Terminal { binds, process });
    }

    /// Where the reader's shell is.
    pub fn folder(&self) -> &Path {
        &self.at
    }

    /// What the terminals printed so far.
    pub fn terminals(&self) -> Vec<String> {
        self.terminals
            .iter()
            .flat_map(|terminal| terminal.process.stdout())
            .collect()
    }

    /// The addresses that a server will listen on: of its command line, and of its config's `bind` lines.
    fn binds(&self, command: &str) -> Vec<SocketAddr> {
        let words: Vec<&str> = command.split_whitespace().collect();
        if words.contains(&"demo") {
            return words.iter().filter_map(|word| word.parse().ok()).collect();
        }
        let named = words
            .iter()
            .position(|word| *word == "-c")
            .and_then(|at| words.get(at + 1));
        let file = self.at.join(named.unwrap_or(&"tidegate.toml"));
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let bind = |line: &str| {
            line.trim()
                .strip_prefix("bind = \"")
                .and_then(|rest| rest.split('"').next()?.parse().ok())
        };
        text.lines().filter_map(bind).collect()
    }

    fn shell(&mut self, script: &str) -> Command {
        let binary = binary::tidegate();
        let folder = binary.parent().expect("the binary lies in a folder");
        let target = folder
            .parent()
            .expect("a profile's folder lies in the target folder");
        // What would build the binary anew, for minutes, is the binary under test.
        let script = script
            .replace("cargo run --release --", "tidegate")
            .replace("cargo install --locked --path host", "tidegate --version");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell
            .args(["-c", &script])
            .current_dir(&self.at)
            .env("PATH", format!("{}:{path}", folder.display()))
            .env("NO_COLOR", "1")
            .env("CARGO_TARGET_DIR", target.join("tests-plugins"))
            .env("XDG_CACHE_HOME", target.join("tests-cache"))
            .env(
                "TIDEGATE_ADMIN",
                format!("http://127.0.0.1:{}", self.port(9901)),
            )
            .env_remove("CARGO_MANIFEST_DIR")
            .env_remove("RUSTFLAGS");
        shell
    }

    fn save(&mut self, file: &str, text: &str) {
        let text = self.place(text);
        let path = self.at.join(file);
        fs::create_dir_all(path.parent().expect("a file lies in a folder"))
            .expect("a folder can be made");
        fs::write(path, text).expect("a file can be written");
    }

    fn copy(&mut self, from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder can be made");
        for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
            let entry = entry.expect("an entry");
            let (path, target) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() {
                self.copy(&path, &target);
            } else {
                self.copy_file(&path, &target);
            }
        }
    }

    fn copy_file(&mut self, from: &Path, to: &Path) {
        let Ok(text) = fs::read_to_string(from) else {
            fs::copy(from, to).expect("a file can be copied");
            return;
        };
        let mut text = self.place(&text);
        if from.ends_with("Cargo.toml") {
            let sdk = binary::root().join("sdk");
            text = text.replace("../../../sdk", &sdk.display().to_string()) + "\n[workspace]\n";
            fs::copy(
                binary::root().join("Cargo.lock"),
                to.with_file_name("Cargo.lock"),
            )
            .expect("as above");
        }
        fs::write(to, text).expect("a file can be written");
    }
}

impl Default for Story {
    fn default() -> Self {
        Story::new()
    }
}

/// One command, and it serves until it is ended.
fn is_server(text: &str) -> bool {
    let text = text.trim();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .count();
    let last = text.rsplit("&&").next().unwrap_or("").trim();
    let serves = |start: &str| last == start.trim_end() || last.starts_with(start);
    lines == 1
        && [
            "tidegate run ",
            "tidegate demo ",
            "cargo run --release -- demo ",
            "cargo run --release -- run ",
        ]
        .into_iter()
        .any(serves)
}
