//! `[state]`: whether it can be meant, without asking Redis.

use super::Check;
use crate::config::checked::Shared;
use crate::config::problem::{Located, Problem};
use crate::config::source::{read_bounded, reason};
use crate::config::text::Text;
use crate::config::written::File;

/// Of a file with certificates.
const LARGEST_CA: u64 = 1 << 20;

impl Check<'_> {
    /// None: absent, or with a problem.
    pub(super) fn shared(&mut self, file: &File) -> Option<Shared> {
        let state = &file.state.given()?.value;
        let written = state.redis.as_ref()?;
        let mut redis = written.value.0.clone();
        if let Some(ca) = state.ca.given() {
            match &mut redis.tls {
                Some(tls) => tls.ca = self.certificates(ca),
                None => self.problem(Problem::at(
                    ca.span.clone(),
                    "`ca` has no meaning without TLS",
                    "write rediss:// in `redis`, or leave `ca` out",
                )),
            }
        }
        Some(Shared {
            redis,
            prefix: state.prefix.value.0.clone(),
            timeout: state.timeout.value.0,
            settle: state.settle.value.0,
            queue: usize::try_from(state.queue.value.0).unwrap_or(usize::MAX),
        })
    }

    pub(super) fn certificates(&mut self, path: &Located<Text>) -> Option<Vec<u8>> {
        let file = self.source.folder().join(&path.value.value);
        let read = read_bounded(&file, LARGEST_CA).map_err(|error| reason(&error));
        let read = read.and_then(|pem| {
            let begins = b"-----BEGIN CERTIFICATE-----";
            match pem.windows(begins.len()).any(|part| part == begins) {
                true => Ok(pem),
                false => Err("there is no certificate in it".to_owned()),
            }
        });
        match read {
            Ok(pem) => Some(pem),
            Err(why) => {
                let message = format!("{} can't be used: {why}", file.display());
                let remedy = "name a PEM file with certificates";
                self.problem(Problem::at(path.span.clone(), message, remedy));
                None
            }
        }
    }
}
