//! What is counted of handshakes, by listener. Written by all workers, once a handshake, which costs a thousand times as much.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustls::{HandshakeKind, ProtocolVersion};

/// Why a handshake failed, in the metric's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client closed the connection within it.
    Closed,
    Timeout,
    /// HTTP without TLS.
    PlainHttp,
    /// No version, cipher, or signature that both sides know.
    Incompatible,
    /// No application protocol (ALPN) that both sides know.
    NoProtocol,
    /// No certificate for the name, where `strict-sni` wants one.
    UnknownName,
    NoClientCertificate,
    BadClientCertificate,
    /// The client refused, most often our certificate.
    Alert,
    /// It spoke no TLS, or broke its rules.
    Invalid,
}

pub const REASONS: [(Reason, &str); 10] = [
    (Reason::Closed, "closed"),
    (Reason::Timeout, "timeout"),
    (Reason::PlainHttp, "plain-http"),
    (Reason::Incompatible, "incompatible"),
    (Reason::NoProtocol, "no-common-alpn"),
    (Reason::UnknownName, "unknown-name"),
    (Reason::NoClientCertificate, "no-client-certificate"),
    (Reason::BadClientCertificate, "bad-client-certificate"),
    (Reason::Alert, "client-alert"),
    (Reason::Invalid, "invalid"),
];

pub const VERSIONS: [&str; 2] = ["1.2", "1.3"];

/// Whether the session was resumed.
pub const RESUMED: [&str; 2] = ["false", "true"];

#[derive(Debug, Default)]
pub struct Counts {
    /// By version and by whether it was resumed.
    done: [[AtomicU64; RESUMED.len()]; VERSIONS.len()],
    failed: [AtomicU64; REASONS.len()],
    broken_files: AtomicU64,
}

impl Counts {
    pub fn done(&self, version: Option<ProtocolVersion>, kind: Option<HandshakeKind>) {
        let version = usize::from(version == Some(ProtocolVersion::TLSv1_3));
        let resumed = usize::from(kind == Some(HandshakeKind::Resumed));
        self.done[version][resumed].fetch_add(1, Relaxed);
    }

    pub fn failed(&self, reason: Reason) {
        self.failed[reason as usize].fetch_add(1, Relaxed);
    }

    pub fn file_was_broken(&self) {
        self.broken_files.fetch_add(1, Relaxed);
    }

    /// Version, whether resumed, how many.
    pub fn all_done(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let versions = VERSIONS.iter().zip(&self.done);
        versions.flat_map(|(version, kinds)| {
            let kinds = RESUMED.iter().zip(kinds);
            kinds.map(|(resumed, count)| (*version, *resumed, count.load(Relaxed)))
        })
    }

    /// By the reasons' words.
    pub fn all_failed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS
            .iter()
            .map(|(reason, word)| (*word, self.failed[*reason as usize].load(Relaxed)))
    }

    pub fn broken_files(&self) -> u64 {
        self.broken_files.load(Relaxed)
    }
}

impl Reason {
    pub fn word(self) -> &'static str {
        REASONS[self as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_place() {
        for (at, (reason, _)) in REASONS.iter().enumerate() {
            assert_eq!(at, *reason as usize);
        }
    }
}
