//! What the process itself, or its machine, has run out of as it wanted a socket: open files, source ports, memory. It says nothing of
//! the peer, and is the operator's to mend.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rustix::io::Errno;

use crate::base::burst::Burst;

const OURS: &[Errno] = &[
    Errno::MFILE,
    Errno::NFILE,
    Errno::NOBUFS,
    Errno::NOMEM,
    Errno::ADDRNOTAVAIL,
];

/// No file, port or memory was left.
pub fn is_ours(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    OURS.iter().any(|own| number == Some(own.raw_os_error()))
}

/// Logs that a server could not be connected to for want of it: once a burst, over all workers.
pub fn tell(error: &io::Error) {
    static TOLD: Mutex<Burst> = Mutex::new(Burst::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.begins(Instant::now()) {
        let of_files = [Errno::MFILE, Errno::NFILE].map(|own| Some(own.raw_os_error()));
        let remedy = match error.raw_os_error() {
            number if of_files.contains(&number) => {
                "raise the limit of open files with `LimitNOFILE=` (systemd) or `ulimit -Hn`"
            }
            number if number == Some(Errno::ADDRNOTAVAIL.raw_os_error()) => {
                "widen `net.ipv4.ip_local_port_range`, or give the server further addresses"
            }
            _ => "the system is out of memory for sockets",
        };
        tracing::error!(%error, "no-socket: servers can't be connected to; {remedy}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_does_is_not_ours() {
        assert!(is_ours(&io::Error::from_raw_os_error(24)), "EMFILE");
        assert!(!is_ours(&io::Error::from_raw_os_error(111)), "ECONNREFUSED");
        assert!(!is_ours(&io::ErrorKind::UnexpectedEof.into()));
    }
}
