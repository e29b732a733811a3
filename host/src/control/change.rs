//! What may be asked of a running proxy, and how it is answered. A config edit, a new `.wasm`, a signal and an admin call
//! all become a `Change`.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::ids::Generation;
use crate::config::edits::{Unfit, Weight};
use crate::upstream::vitals::Wanted;

#[derive(Debug)]
pub enum Change {
    /// Read the config file, and every file that it names, again.
    Reload,
    /// Run these bytes as the plugin of that name. They stay across reloads until the plugin's own file or
    /// `[[plugin]]` entry changes.
    Plugin { name: String, wasm: Vec<u8> },
    /// What is wanted of a server from now on, where it is another state, and another weight. Both stay across reloads, the weight
    /// until the file says something else of the server, and end with the process.
    Server {
        pool: String,
        server: String,
        wanted: Option<Wanted>,
        weight: Option<Weight>,
    },
    /// Add a server, as the file would have it, to a pool, in this state. It stays until the file has one of that name, and ends
    /// with the process.
    Add {
        pool: String,
        server: Map<String, Value>,
        wanted: Wanted,
    },
    /// Take a server out of its pool; what is in flight there ends as it began. It stays out until the file says something else of
    /// it, and at most as long as the process.
    Remove { pool: String, server: String },
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
    UnknownPool,
    /// There is no server of that name in that pool.
    UnknownServer,
    /// The proxy is on its way out.
    Draining,
    /// The system refused: an address in use, no memory, a worker that is gone.
    System,
}

impl From<Unfit> for Rejected {
    fn from(unfit: Unfit) -> Rejected {
        match unfit {
            Unfit::NoPool(problem) => Rejected::new(Cause::UnknownPool, problem),
            Unfit::NoServer(problem) => Rejected::new(Cause::UnknownServer, problem),
            Unfit::Wrong(problem) => Rejected::new(Cause::Invalid, problem),
        }
    }
}

impl Rejected {
    pub fn new(cause: Cause, problem: impl Into<String>) -> Rejected {
        Rejected {
            cause,
            problems: vec![problem.into()],
        }
    }
}
