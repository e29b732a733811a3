//! `tidegate run`. Signals and drain are `app`'s.

use std::path::Path;

use crate::control::Control;

use super::terminal::Failure;
use super::{Host, check};

pub fn run(host: &Host, path: &Path) -> Result<(), Failure> {
    let config = check::load(path)?;
    let level = std::env::var("TIDEGATE_LOG").unwrap_or_else(|_| config.log.level.clone());
    (host.start_log)(&level);
    (host.run)(config, Box::new(tell)).map_err(Failure::of_texts)
}

fn tell(control: &Control) {
    let status = control.status();
    tracing::info!(
        version = status.version,
        workers = status.workers,
        config = status.config,
        "running"
    );
}
