//! TLS (rustls with aws-lc-rs), towards clients (`server`) and towards servers (`client`). Knows nothing of HTTP.
//!
//! All that costs (reading files, parsing certificates, building a configuration) is done when a candidate is built or a file
//! has changed, off the workers; what comes of it is shared by them behind an `Arc`, and a handshake only takes the pointer.
//!
//! `pem` reads files, `certificate` makes a usable certificate of them, `choice` picks one for a client's hello, `watched` tells
//! when a file has changed, `revocation` which clients' certificates are good no more. `sessions` is what outlives a generation: ticket keys, the session cache, the counters. `secured`
//! is the stream that the floors above read and write. `subject` writes a certificate's subject as text.

pub mod certificate;
mod choice;
pub mod client;
pub mod counts;
mod pem;
mod revocation;
mod secured;
pub mod server;
pub mod sessions;
mod subject;
mod watched;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

use crate::config::Problem;
use crate::config::problem::Span;

pub use client::{Client, Connector};
pub use server::Server;
pub use sessions::Sessions;

/// What makes the cryptography.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// What is wrong with a file that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Which file, and what is wrong with it.
    pub says: String,
    pub remedy: String,
    /// It can be used all the same: a certificate outside its time.
    pub usable: bool,
}

/// Flaws, each with the place that names the file.
pub type Flaws = Vec<(Span, Flaw)>;

impl Flaw {
    fn fatal(says: impl Into<String>, remedy: impl Into<String>) -> Flaw {
        Flaw {
            says: says.into(),
            remedy: remedy.into(),
            usable: false,
        }
    }

    pub fn at(self, span: &Span) -> Problem {
        Problem::at(span.clone(), self.says, self.remedy)
    }
}
