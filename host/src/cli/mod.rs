//! The commands: what `main` calls. Each ends with 0 (fine), 1 (a problem in what it was given) or 2 (wrong usage, which clap
//! tells). What starts a proxy lies on the floor above, so `main` hands it in as a [`Host`].

mod arguments;
mod check;
mod ctl;
mod demo;
mod plugin;
mod run;
mod terminal;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};

use crate::config::{self, Config, Problems};
use crate::control::Control;
use crate::plugin::Runtime;
use crate::upstream::LiveTable;

use arguments::{Arguments, Command};
use terminal::{Failure, print};

/// What the commands need from the floor above.
pub struct Host {
    /// What the process says of itself goes to standard error, at this level.
    pub start_log: fn(level: &str),
    /// Runs a proxy until it is told to leave and has drained; an error holds each problem whole.
    pub run: fn(Config, Ready) -> Result<(), Vec<String>>,
    /// All that can be told of a configuration without running it.
    pub check: fn(Config) -> Result<(), Problems>,
    /// A plugin runtime without a proxy.
    pub plugins: fn(Arc<LiveTable>) -> Result<Runtime, Vec<String>>,
}

/// Called once, when the first generation runs.
pub type Ready = Box<dyn FnOnce(&Control) + Send>;

/// Reads the command line, does what it says, tells what went wrong.
pub fn main(host: &Host) -> ExitCode {
    match obey(host, Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            ExitCode::from(1)
        }
    }
}

fn obey(host: &Host, command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(flags) => demo::demo(host, &flags),
        Command::Run(file) => run::run(host, &file.config),
        Command::Check(file) => check::check(host, &file.config),
        Command::Ctl(flags) => ctl::ctl(flags),
        Command::Plugin(flags) => plugin::plugin(host, flags.command),
        Command::Schema => schema(),
        Command::Completions { shell } => completions(shell),
    }
}

fn schema() -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&config::schema()).expect("a schema is plain JSON");
    print(&format!("{text}\n"))
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "tidegate", &mut script);
    print(&String::from_utf8_lossy(&script))
}
