//! Flags and exit codes.

use std::process::ExitCode;

use tidegate::{app, cli};

fn main() -> ExitCode {
    cli::main(&cli::Host {
        start_log: app::start_log,
        run: |config, ready| app::run(config, ready).map_err(|failure| failure.0),
        check: app::check,
        plugins: |live| app::plugin_runtime(live).map_err(|failure| failure.0),
    })
}
