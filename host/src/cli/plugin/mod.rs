//! `tidegate plugin …`: write, build and try plugins, without a proxy.

mod bench;
mod build;
mod cases;
mod drive;
mod fake;
mod got;
mod inspect;
mod kit;
mod new;
mod stage;
mod test;
mod want;

use std::path::Path;
use std::sync::Arc;

use crate::plugin::{Artifact, Runtime};
use crate::upstream::LiveTable;

use super::Host;
use super::arguments::PluginCommand;
use super::terminal::{Failure, failed};

pub use cases::HELP as CASES_HELP;

pub fn plugin(host: &Host, command: PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::New(flags) => new::new(&flags),
        PluginCommand::Build(flags) => build::build(host, &flags),
        PluginCommand::Inspect(flags) => inspect::inspect(host, &flags),
        PluginCommand::Test(flags) => test::test(host, &flags),
        PluginCommand::Bench(flags) => bench::bench(host, &flags),
    }
}

/// A runtime without a proxy, and the live counters that its plugins read.
fn runtime(host: &Host) -> Result<(Runtime, Arc<LiveTable>), Failure> {
    let live = LiveTable::with_capacity(1 << 14);
    let runtime = (host.plugins)(live.clone()).map_err(Failure::of_texts)?;
    Ok((runtime, live))
}

/// Reads, compiles and validates a `.wasm`.
fn load(runtime: &Runtime, file: &Path) -> Result<Arc<Artifact>, Failure> {
    let bytes = std::fs::read(file).map_err(failed(format_args!("read {}", file.display())))?;
    runtime
        .load(&bytes)
        .map_err(|error| Failure::new(format!("{}: {error}", file.display())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
