//! `tidegate check`: everything that is wrong with a config, at once.

use std::path::Path;

use crate::config::{self, Config};
use crate::shipped;

use super::Host;
use super::terminal::{Failure, Progress, print};

pub fn check(host: &Host, path: &Path) -> Result<(), Failure> {
    // What plugins and the runtime log meanwhile belongs beside the verdict.
    (host.start_log)("warn");
    let config = load(path)?;
    let summary = summary(&config);
    let progress = Progress::new("loading plugins");
    let result = (host.check)(config);
    drop(progress);
    result.map_err(|problems| Failure::of_problems(&problems))?;
    print(&format!("{}: fine: {summary}\n", path.display()))
}

pub fn load(path: &Path) -> Result<Config, Failure> {
    let shipped: Vec<&str> = shipped::names().collect();
    config::load(path, &shipped).map_err(|problems| Failure::of_problems(&problems))
}

fn summary(config: &Config) -> String {
    let servers = config.pools.iter().map(|pool| pool.servers.len()).sum();
    [
        counted(config.listeners.len(), "listener"),
        counted(config.routes.len(), "route"),
        counted(config.pools.len(), "pool"),
        counted(servers, "server"),
        counted(config.plugins.len(), "plugin"),
    ]
    .join(", ")
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
