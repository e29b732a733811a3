//! What may be asked of a running proxy, and how it is answered. A config edit, a new `.wasm`, a signal and an admin call
//! all become a `Change`.

use std::time::Duration;

use crate::base::ids::Generation;
use crate::upstream::vitals::Wanted;

#[derive(Debug)]
pub enum Change {
    /// Read the config file, and every file that it names, again.
    Reload,
    /// Run these bytes as the plugin of that name. They stay across reloads until the plugin's own file or
    /// `[[plugin]]` entry changes.
    Plugin { name: String, wasm: Vec<u8> },
    /// What is wanted of a server from now on. It stays across reloads, and ends with the process.
    Server {
        pool: String,
        server: String,
        wanted: Wanted,
    },
    /// Run what a generation ran, as a new one: its configuration and its plugins' code. A reload then reads the file that
    /// there is.
    Rollback { to: Generation },
}

/// Every worker runs the new generation.
#[derive(Clone, Debug)]
pub struct Applied {
    pub generation: Generation,
    /// From the order to the last worker's word.
    pub took: Duration,
    /// The plugins whose instances are new.
    pub plugins: Vec<String>,
}

/// Nothing has changed. What ran before runs on.
#[derive(Clone, Debug)]
pub struct Rejected {
    pub cause: Cause,
    /// Each whole, with place, caret and remedy where there is one.
    pub problems: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// What was given is wrong.
    Invalid,
    /// There is no plugin of that name.
    UnknownPlugin,
    /// That generation is not kept, or never was.
    UnknownGeneration,
    /// There is no server of that name in that pool, or no such pool.
    UnknownServer,
    /// The proxy is on its way out.
    Draining,
    /// The system refused: an address in use, no memory, a worker that is gone.
    System,
}

impl Rejected {
    pub fn new(cause: Cause, problem: impl Into<String>) -> Rejected {
        Rejected {
            cause,
            problems: vec![problem.into()],
        }
    }
}
